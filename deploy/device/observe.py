"""Histograms of a model's inputs and outputs: on a device in use, and for the release's test samples.

Part of every release; needs numpy, and nothing of this project. The form of the statistics and their bins are
in docs/reference/on-the-device.md. Every inference is counted and timed. Which of them go into the histograms
is a matter of a budget: a share of the time that the model itself took, spent at random moments, so that no
rhythm of the input is mistaken for a shift.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import calendar
import math
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 64
LOWEST_US = 1.0
RATIO = 2.0 ** (1 / 8)
LATENCY_BINS = 256
SHARE = 0.02  # share of the inference time; with unmeasured parts the total stays under 3 %
MAX_CHANNELS = 32

_WINDOW_BYTES = 65_536  # raw tensors counted together: a NumPy call costs as much as 1,000 elements
_WINDOW_ROWS = 64
_LATENCIES = 2048
_QUANTIZED = ("int8", "uint8", "int16")


class Observer:
    """Counts what goes in and comes out of one model. Not for two threads at once.

    Args:
        manifest: the release's ``manifest.json``, parsed.
        digest: the release's; None if it is not known yet, as in the build that makes it.
        share: of the inference time that may go into histograms; None: every inference is observed.
        keep: raw samples to keep, each of those observed with the same chance.
        dated: whether ``since`` and ``until`` are written; a build leaves them out to be reproducible.
        seed: of the choice of moments; None: another one each time.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        *,
        digest: str | None = None,
        share: float | None = None,
        keep: int = 0,
        dated: bool = False,
        seed: int | None = None,
    ) -> None:
        self._about = {key: manifest[key] for key in ("name", "version", "target")}
        self._digest, self._share, self._keep, self._dated = digest, share, keep, dated
        contracts = [*manifest["inputs"], *manifest["outputs"]]
        row = sum(math.prod(c["shape"]) * np.dtype(c["dtype"]).itemsize for c in contracts)
        self._rows = max(1, min(_WINDOW_ROWS, _WINDOW_BYTES // row))
        self._inputs = [_Counter(c, self._rows, is_input=True) for c in manifest["inputs"]]
        self._outputs = [_Counter(c, self._rows, is_input=False) for c in manifest["outputs"]]
        self._filled = self._observed = self._folded = self._dated_at = 0
        self._counts = np.zeros(LATENCY_BINS, np.int64)
        self._since = self._until = now() if dated else None
        self._random = random.Random(seed)  # noqa: S311  no secret
        self.kept: list[tuple[NDArray[Any], ...]] = []
        self.offered = 0  # samples that had the chance to be kept
        self._latencies: list[float | None] = []
        self._spent = self._allowed = self._usual = self._cost = self._call = 0.0
        self._left, self._then = 1, 0
        if share is not None:
            self._call = self._time_a_call()

    def see(
        self,
        inputs: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
        latency_us: float | None = None,
        raw: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Count one inference.

        Args:
            inputs: the tensors as they were set, with the batch of 1.
            outputs: the tensors as they were got, likewise.
            latency_us: how long it took, in microseconds; None: not measured.
            raw: what may be kept; None: ``inputs``.
        """
        self._latencies.append(latency_us)
        self._left -= 1
        if self._left <= 0:
            self._pause(inputs, outputs, raw)

    def statistics(self) -> dict[str, Any]:
        """Return everything seen so far, in the form of ``statistics.json`` and ``baseline.json``."""
        self._fold()
        self._fold_latencies()
        if self._dated and self._folded > self._dated_at:
            self._dated_at, self._until = self._folded, now()
        return {
            "schema_version": 1,
            **self._about,
            "digest": self._digest,
            "since": self._since,
            "until": self._until,
            "inferences": self._folded,
            "observed": self._observed,
            "inputs": [counter.statistics() for counter in self._inputs],
            "outputs": [counter.statistics() for counter in self._outputs],
            "latency_us": {"lowest": LOWEST_US, "ratio": RATIO, "counts": self._counts.tolist()},
        }

    def _pause(self, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], raw: Any) -> None:
        """Observe this inference and wait again, unless only the wait for the next one was interrupted."""
        if len(self._latencies) >= _LATENCIES:
            self._fold_latencies()
        if self._then:
            self._left = min(self._then, _LATENCIES)
            self._then -= self._left
            return
        start = time.perf_counter()
        for counter, tensor in zip(self._inputs, inputs):
            counter.window[self._filled] = tensor.reshape(-1)
        for counter, tensor in zip(self._outputs, outputs):
            counter.window[self._filled] = tensor.reshape(-1)
        self._filled += 1
        self._observed += 1
        if self._keep:
            self._offer(inputs if raw is None else raw)
        if self._filled == self._rows:
            self._fold()
        self._left = 1
        if self._share is not None:
            self._then = self._wait() - 1
            taken = (time.perf_counter() - start) * 1e6
            self._spent += taken
            self._cost += (taken - self._cost) * (0.05 if self._cost else 1.0)

    def _wait(self) -> int:
        """Return after how many inferences to observe again: at random, with a mean that the budget sets."""
        share, latency_us = self._share or 0.0, self._latencies[-1] if self._latencies else None
        if latency_us is not None and math.isfinite(latency_us):
            self._usual += (latency_us - self._usual) * (0.1 if self._usual else 1.0)
        if not self._usual > 0:  # not measured: nothing is known of the budget
            return 1
        # Where counting alone costs more than the budget, a tenth of it still goes into histograms.
        room = max(share * self._usual - self._call, 0.1 * share * self._usual)
        mean = max(1.0, self._cost / room)
        debt = self._spent - self._allowed - room * len(self._latencies)
        gap = 1.0 if mean == 1 else 1 + math.log(1 - self._random.random()) / math.log1p(-1 / mean)
        return int(gap + max(0.0, debt / room))

    def _time_a_call(self) -> float:
        """Return the microseconds that ``see`` takes where it only counts."""
        self._left = _LATENCIES + 1
        start = time.perf_counter()
        for _ in range(_LATENCIES):
            self.see((), (), LOWEST_US)
        self._fold_latencies()
        taken = (time.perf_counter() - start) * 1e6
        self._left, self._folded, self._allowed = 1, 0, 0.0
        self._counts[:] = 0
        return taken / _LATENCIES

    def _offer(self, raw: Sequence[NDArray[Any]]) -> None:
        self.offered += 1
        if len(self.kept) < self._keep:
            self.kept.append(tuple(np.array(values) for values in raw))
        else:
            place = self._random.randrange(self.offered)
            if place < self._keep:
                self.kept[place] = tuple(np.array(values) for values in raw)

    def _fold(self) -> None:
        for counter in [*self._inputs, *self._outputs]:
            counter.fold(self._filled)
        self._filled = 0

    def _fold_latencies(self) -> None:
        if not self._latencies:
            return
        taken = np.array(self._latencies, np.float64)  # None is NaN there
        self._folded += taken.size
        measured = taken[np.isfinite(taken)]
        if self._share is not None:
            room = self._share * measured.sum() - self._call * taken.size
            self._allowed += max(float(room), 0.1 * self._share * float(measured.sum()))
        places = np.log2(np.maximum(measured, LOWEST_US) / LOWEST_US) * 8
        self._counts += np.bincount(
            np.minimum(places, LATENCY_BINS - 1).astype(np.intp), minlength=LATENCY_BINS
        )
        self._latencies = []


class _Counter:
    """The histograms of one input or output; its raw values wait in ``window`` (rows, elements)."""

    def __init__(self, contract: dict[str, Any], rows: int, *, is_input: bool) -> None:
        self.contract, self.is_input = contract, is_input
        shape = contract["shape"]
        dtype = np.dtype(contract["dtype"])
        elements = math.prod(shape)
        self.window = np.empty((rows, elements), dtype)
        quantized = contract["scale"] is not None and dtype.name in _QUANTIZED
        self.low, self.width = _range(contract, dtype, quantized=quantized)
        # 256 counts for each row pay only where a row has more elements than that.
        self.by_level = quantized and dtype.itemsize == 1 and elements >= 256
        self.offsets = np.arange(rows, dtype=np.intp)[:, np.newaxis] * 256
        self.levels = np.arange(256, dtype=np.int64)
        self.values, self.means, self.spreads = (np.zeros(BINS, np.int64) for _ in range(3))
        self.channels = shape[-1] if is_input and len(shape) > 1 and shape[-1] <= MAX_CHANNELS else 0
        self.by_channel = np.zeros(self.channels * BINS, np.int64)
        task = None if is_input else contract["task"]
        self.classes = shape[-1] if task == "classification" else 2 if task == "binary" else 0
        self.is_binary = task == "binary" and shape[-1] != 2
        self.answers = np.zeros(self.classes, np.int64)
        self.confidence = np.zeros(BINS, np.int64)

    def fold(self, rows: int) -> None:
        """Count the first ``rows`` of the window."""
        if not rows:
            return
        with np.errstate(invalid="ignore", over="ignore"):  # a float model may answer NaN
            self._fold(self.window[:rows])

    def _fold(self, raw: NDArray[Any]) -> None:
        means, spreads = self._moments_by_level(raw) if self.by_level else self._moments(raw)
        self.means += _histogram(means, self.low, self.width)
        self.spreads += _histogram(spreads, 0.0, self.width / 2)
        if self.channels:
            if self.channels == 1:
                each = means[:, np.newaxis]
            else:
                each = raw.reshape(len(raw), -1, self.channels).mean(axis=1, dtype=np.float64)
            places = _places(each, self.low, self.width) + np.arange(self.channels) * BINS
            self.by_channel += np.bincount(places.ravel(), minlength=self.by_channel.size)
        if self.classes:
            self._answers(raw)

    def _moments_by_level(self, raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        unsigned = raw.view(np.uint8) ^ np.uint8(0x80) if raw.dtype == np.int8 else raw
        counts = np.bincount((unsigned + self.offsets[: len(raw)]).ravel(), minlength=256 * len(raw))
        counts = counts.reshape(len(raw), 256)
        self.values += counts.sum(axis=0).reshape(BINS, -1).sum(axis=1)
        means = counts.dot(self.levels) / raw.shape[1]
        squares = counts.dot(self.levels * self.levels) / raw.shape[1]
        return means + self.low, np.sqrt(np.maximum(squares - means * means, 0.0))

    def _moments(self, raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        values = raw.astype(np.float64)
        self.values += _histogram(values, self.low, self.width)
        return values.mean(axis=1), values.std(axis=1)

    def _answers(self, raw: NDArray[Any]) -> None:
        real = raw.astype(np.float64)
        if self.contract["scale"] is not None:
            real = (real - self.contract["zero_point"]) * self.contract["scale"]
        if self.is_binary:
            sure = 1 / (1 + np.exp(-real)) if self.contract["logits"] else real
            answers = (sure > 0.5).astype(np.intp)
            top = np.maximum(sure, 1 - sure)
        else:
            real = real.reshape(-1, self.classes)
            answers = real.argmax(axis=1)
            top = real.max(axis=1)
            if self.contract["logits"]:
                top = 1 / np.exp(real - top[:, np.newaxis]).sum(axis=1)
        self.answers += np.bincount(answers.ravel(), minlength=self.classes)
        self.confidence += _histogram(top, 0.0, 1 / BINS)

    def statistics(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.contract["name"], "values": self.values.tolist()}
        if self.is_input:
            found |= {"means": self.means.tolist(), "spreads": self.spreads.tolist()}
            found["channels"] = self.by_channel.reshape(self.channels, BINS).tolist() if self.channels else []
        else:
            found["confidence"] = self.confidence.tolist() if self.classes else None
            found["classes"] = self.answers.tolist() if self.classes else None
        return found


def _range(contract: dict[str, Any], dtype: np.dtype[Any], *, quantized: bool) -> tuple[float, float]:
    """Return where the first bin begins and how wide each is."""
    if quantized or (contract.get("range") is None and dtype.kind in "iu"):
        limits = np.iinfo(dtype)
        low, high = float(limits.min), float(limits.max) + 1.0
    else:
        low, high = contract.get("range") or (-1.0, 1.0)
    return low, (high - low if high > low else 1.0) / BINS


def _places(values: NDArray[Any], low: float, width: float) -> NDArray[np.intp]:
    """Return each value's bin: those outside in the end bins, NaN in the first."""
    return np.fmin(np.fmax((values - low) / width, 0.0), BINS - 1).astype(np.intp)


def _histogram(values: NDArray[Any], low: float, width: float) -> NDArray[np.int64]:
    return np.bincount(_places(values, low, width).ravel(), minlength=BINS)


def now() -> str:
    """Return the time in UTC, as statistics have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def metrics(statistics: dict[str, Any], labels: Sequence[str] = (), errors: int = 0) -> str:
    """Return Prometheus' text of the statistics, for node_exporter's textfile collector.

    Args:
        statistics: as ``Observer.statistics`` or ``merge`` made them.
        labels: of the classes; where their number is another, a class is its number.
        errors: requests that were no sample of this model, since the start.
    """
    who = {"name": statistics["name"]}
    about = {key: statistics[key] or "" for key in ("name", "version", "target", "digest")}
    inferences, until = statistics["inferences"], statistics["until"]
    seconds = calendar.timegm(time.strptime(until, "%Y-%m-%dT%H:%M:%SZ")) if until else 0
    classes = [
        (
            "",
            {**who, "output": output["name"], "class": labels[i] if len(labels) == len(found) else str(i)},
            n,
        )
        for output in statistics["outputs"]
        for found in [output["classes"] or []]
        for i, n in enumerate(found)
    ]
    families: list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]] = [
        ("info", "gauge", "The release that runs", [("", about, 1)]),
        ("inferences_total", "counter", "Inferences", [("", who, inferences)]),
        ("errors_total", "counter", "Requests refused", [("", who, errors)]),
        ("observed_ratio", "gauge", "Share of the inferences that went into the histograms",
         [("", who, statistics["observed"] / max(1, inferences))]),
        ("last_inference_timestamp_seconds", "gauge", "When it last answered", [("", who, seconds)]),
        ("latency_seconds", "summary", "Time of an inference", _summary(statistics["latency_us"], who)),
        ("class_total", "counter", "Answers by class, of the observed inferences", classes),
    ]  # fmt: skip
    lines = []
    for name, kind, text, samples in families:
        lines += [f"# HELP edge_model_{name} {text}.", f"# TYPE edge_model_{name} {kind}"]
        for suffix, names, value in samples:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in names.items())
            lines.append(f"edge_model_{name}{suffix}{{{pairs}}} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _summary(latency: dict[str, Any], who: dict[str, str]) -> list[tuple[str, dict[str, str], float]]:
    """Return the quantiles of the latency, the sum of all and their number."""
    rows = [("", {**who, "quantile": str(share)}, seconds) for share, seconds in quantiles(latency).items()]
    counts = np.array(latency["counts"])
    return [*rows, ("_sum", who, float(counts @ _middles(latency))), ("_count", who, int(counts.sum()))]


def quantiles(latency: dict[str, Any]) -> dict[float, float]:
    """Return seconds by quantile: those of p50, p90 and p99 that there are enough inferences for."""
    counts = np.array(latency["counts"])
    reached, total = counts.cumsum(), int(counts.sum())
    return {
        share: float(_middles(latency)[np.searchsorted(reached, share * total)])
        for share, least in ((0.5, 1), (0.9, 64), (0.99, 662))
        if total >= least
    }


def _middles(latency: dict[str, Any]) -> NDArray[Any]:
    """Return the centre of each bin, in seconds."""
    places = np.arange(len(latency["counts"])) + 0.5
    centres: NDArray[Any] = latency["lowest"] * latency["ratio"] ** places / 1e6
    return centres
