"""Detect drift of inputs and outputs on devices, compared with the release's test samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from deploy.errors import DeployError
from deploy.monitor import measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from deploy.monitor.statistics import Null, Statistics

    Needed = Callable[[float], int | None]

Verdict = Literal["same", "drifted", "not enough samples"]

FALSE_ALARMS = 0.05
"""False-alarm probability of a whole comparison."""
KS_FLOOR, KS_LARGE = 0.085, 0.25
"""Smallest change that 500 samples can distinguish from chance among nine comparisons."""
PSI_FLOOR, PSI_LARGE = 0.1, 0.25
"""Usual limits of the PSI for a moderate and a large shift (Siddiqi 2006)."""
RATIO_FLOOR, RATIO_LARGE = 1.2, 1.5
LATENCY_QUANTILES = (0.5, 0.95)


@dataclass(frozen=True)
class Item:
    """One comparison.

    Attributes:
        tensor: the input's or output's name; "latency".
        what: "values", "means", "spreads", "channel 2", "confidence", "classes", "p50".
        measure: how ``size`` is measured: KS and PSI are 0 if nothing moved, a ratio is 1.
        size: size of the change.
        floor: smallest relevant change.
        large: smallest large change.
        p_value: probability of such a change by chance; None for a ratio, which has an interval.
        significant: whether that is below this item's share of the false-alarm probability.
        samples: number of compared samples.
        needed: samples from which a move of ``floor`` is significant; None: the baseline has too few.
        low, high: confidence interval of a ratio.
    """

    tensor: str
    side: Literal["input", "output", "latency"]
    what: str
    measure: Literal["KS", "PSI", "ratio"]
    size: float
    floor: float
    large: float
    p_value: float | None
    significant: bool
    samples: int
    needed: int | None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> Verdict:
        """ "drifted" if significant and relevant; "same" if a relevant change would be found."""
        if self.significant and self.size >= self.floor:
            return "drifted"
        enough = self.needed is not None and self.samples >= self.needed
        return "same" if enough else "not enough samples"


@dataclass(frozen=True)
class AccuracyEstimate:
    """A classifier's accuracy as its confidence suggests it, without a label: an estimate.

    Attributes:
        output: its name.
        tested: on the release's test samples, with labels.
        thresholded: the share of answers above the confidence above which as many test answers lie as were
            right (average thresholded confidence, Garg et al. 2022).
        averaged: ``tested`` and the change of the mean confidence (Guillory et al. 2021).
    """

    output: str
    tested: float
    thresholded: float
    averaged: float


@dataclass(frozen=True)
class Drift:
    """Result of a comparison: all items, and the estimated accuracy.

    Attributes:
        alpha: false alarms that each item is allowed: its share of those of the whole comparison.
    """

    samples: int
    baseline_samples: int
    alpha: float
    items: tuple[Item, ...]
    estimates: tuple[AccuracyEstimate, ...]

    @property
    def verdict(self) -> Verdict:
        """Drifted where anything is; the same only where everything is."""
        found = [item.verdict for item in self.items]
        if "drifted" in found:
            return "drifted"
        return "not enough samples" if "not enough samples" in found or not found else "same"

    @property
    def needed(self) -> int | None:
        """Samples from which every item can be judged; None if the baseline has too few for one."""
        needs = [item.needed for item in self.items]
        known = [need for need in needs if need is not None]
        return max(known, default=1) if len(known) == len(needs) else None


def compare(
    baseline: Statistics,
    seen: Statistics,
    before: Statistics | None = None,
    *,
    false_alarms: float = FALSE_ALARMS,
) -> Drift:
    """Compare what was seen with the release's baseline.

    Args:
        baseline: of the release.
        seen: on devices.
        before: seen on the same devices earlier, where latencies are to be compared: a build has none.
        false_alarms: how often the same inputs may be called drifted.

    Raises:
        DeployError: they are of different models.
    """
    check_same_model(baseline, seen)
    if before is not None:
        check_same_model(baseline, before, "the earlier statistics")
    tests = list(_tests(baseline, seen)) if baseline.observed and seen.observed else []
    latency = _latency_samples(before, seen)
    alpha = false_alarms / max(len(tests) + (len(LATENCY_QUANTILES) if latency else 0), 1)
    items = [test(alpha=alpha) for test in tests]
    if before is not None and latency:
        items += [compare_latency(before, seen, quantile, alpha) for quantile in LATENCY_QUANTILES]
    estimates = tuple(_estimates(baseline, seen)) if tests else ()
    return Drift(seen.observed, baseline.observed, alpha, tuple(items), estimates)


def check_same_model(baseline: Statistics, seen: Statistics, where: str = "the statistics") -> None:
    """Refuse statistics of other tensors, or in other bins.

    Raises:
        DeployError: names, channels, classes or bins differ.
    """
    forms = [
        (
            [(one.name, len(one.channels)) for one in found.inputs],
            [(one.name, len(one.classes or ()), one.confidence is None) for one in found.outputs],
            (found.latency_us.lowest, found.latency_us.ratio, len(found.latency_us.counts)),
        )
        for found in (baseline, seen)
    ]
    if forms[0] != forms[1]:
        msg = f"{where}: of other inputs, outputs or bins than the release; give those of its devices"
        raise DeployError(msg)


def compare_latency(before: Statistics, seen: Statistics, quantile: float, alpha: float) -> Item:
    """How a quantile of the latencies moved; the interval takes inferences as independent."""
    a, b = before.latency_us, seen.latency_us
    ratio, low, high = measures.quantile_ratio(a.counts, b.counts, quantile, a.ratio, alpha)
    return Item(
        tensor="latency",
        side="latency",
        what=f"p{quantile * 100:g}",
        measure="ratio",
        size=ratio,
        floor=RATIO_FLOOR,
        large=RATIO_LARGE,
        p_value=None,
        significant=low > 1,
        samples=min(sum(a.counts), sum(b.counts)),
        needed=measures.latency_needed(quantile, alpha),
        low=low,
        high=high,
    )


def _latency_samples(before: Statistics | None, seen: Statistics) -> int:
    return min(sum(before.latency_us.counts), sum(seen.latency_us.counts)) if before else 0


def _tests(baseline: Statistics, seen: Statistics) -> Iterator[Callable[..., Item]]:
    """Everything that can be compared; how sure it must be depends on how many there are."""
    sizes = (baseline.observed, seen.observed)
    nulls = baseline.null
    for index, (a, b) in enumerate(zip(baseline.inputs, seen.inputs, strict=True)):
        if nulls is not None:
            yield partial(_values, a.name, "input", nulls.inputs[index], a.values, b.values, sizes)
        yield partial(_ks, a.name, "input", "means", a.means, b.means)
        yield partial(_ks, a.name, "input", "spreads", a.spreads, b.spreads)
        if len(a.channels) > 1:  # with one channel, its mean is the sample's
            for place, (one, other) in enumerate(zip(a.channels, b.channels, strict=True)):
                yield partial(_ks, a.name, "input", f"channel {place}", one, other)
    for index, (c, d) in enumerate(zip(baseline.outputs, seen.outputs, strict=True)):
        if nulls is not None:
            yield partial(_values, c.name, "output", nulls.outputs[index], c.values, d.values, sizes)
        if c.confidence is not None and d.confidence is not None:
            yield partial(
                _ks, c.name, "output", "confidence", *_of_samples(c.confidence, d.confidence, sizes)
            )
        if c.classes is not None and d.classes is not None:
            yield partial(_classes, c.name, *_of_samples(c.classes, d.classes, sizes))


def _of_samples(
    before: Sequence[int], now: Sequence[int], sizes: tuple[int, int]
) -> tuple[list[float], list[float]]:
    """Counts as if each sample had one answer: those of several places in one sample are not independent."""
    first, second = (
        [count * size / max(sum(counts), 1) for count in counts]
        for counts, size in zip((before, now), sizes, strict=True)
    )
    return first, second


def _ks(
    tensor: str,
    side: Literal["input", "output"],
    what: str,
    before: Sequence[float],
    now: Sequence[float],
    *,
    alpha: float,
) -> Item:
    size, p_value = measures.ks(before, now)
    needed = measures.ks_needed(KS_FLOOR, round(sum(before)), alpha)
    return Item(
        tensor, side, what, "KS", size, KS_FLOOR, KS_LARGE, p_value, p_value <= alpha, round(sum(now)), needed
    )


def _values(
    tensor: str,
    side: Literal["input", "output"],
    null: Null,
    before: Sequence[int],
    now: Sequence[int],
    sizes: tuple[int, int],
    *,
    alpha: float,
) -> Item:
    size = measures.psi(measures.grouped(before, null.edges), measures.grouped(now, null.edges))
    p_value = measures.psi_chance(size, null, *sizes)
    needed = measures.psi_needed(PSI_FLOOR, null, sizes[0], alpha)
    return Item(
        tensor, side, "values", "PSI", size, PSI_FLOOR, PSI_LARGE, p_value, p_value <= alpha, sizes[1], needed
    )


def _classes(tensor: str, before: Sequence[float], now: Sequence[float], *, alpha: float) -> Item:
    size, p_value = measures.class_shift(before, now)
    needed = measures.class_needed(PSI_FLOOR, len(before), round(sum(before)), alpha)
    return Item(
        tensor,
        "output",
        "classes",
        "PSI",
        size,
        PSI_FLOOR,
        PSI_LARGE,
        p_value,
        p_value <= alpha,
        round(sum(now)),
        needed,
    )


def _estimates(baseline: Statistics, seen: Statistics) -> Iterator[AccuracyEstimate]:
    """Yield the estimated accuracy of each classifier whose accuracy the build measured."""
    for index, (a, b) in enumerate(zip(baseline.outputs, seen.outputs, strict=True)):
        accuracy = baseline.null.outputs[index].accuracy if baseline.null else None
        if accuracy is None or a.confidence is None or b.confidence is None:
            continue
        before, now = (np.asarray(counts) / sum(counts) for counts in (a.confidence, b.confidence))
        middles = (np.arange(len(before)) + 0.5) / len(before)
        averaged = accuracy + float(((now - before) * middles).sum())
        yield AccuracyEstimate(
            a.name, accuracy, _share_above(before, now, accuracy), min(max(averaged, 0.0), 1.0)
        )


def _share_above(before: NDArray[np.float64], now: NDArray[np.float64], share: float) -> float:
    """Return the share of ``now`` above the quantile that ``share`` of ``before`` exceeds."""
    above = np.cumsum(before[::-1])
    bin_ = min(int(np.searchsorted(above, share)), len(above) - 1)
    part = 1 - (above[bin_] - share) / max(before[::-1][bin_], 1e-12)
    return float(min(now[::-1][:bin_].sum() + part * now[::-1][bin_], 1.0))
