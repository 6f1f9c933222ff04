"""Are shifted inputs found with 500 samples, and is nothing said of inputs that did not shift?

Usage: python benchmarks/deploy/drift.py BUILD [--samples 500] [--runs 100] [--alarms 1000] [--severities 1,3]

BUILD is the folder of a build (``--out``) of a classifier. Its test samples are split at random, ten times:
5,000 or half of them are the baseline, from the others every run draws what a device would see.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.device.observe import Observer
from deploy.monitor.compare import compare
from deploy.monitor.statistics import Statistics, read_statistics
from pipeline.artifacts import Dataset, PreparedModel, QuantizedModel
from pipeline.baseline import MOST_SAMPLES, Answered, answer, count, make_contract
from pipeline.samples import Samples
from pipeline.validate.corruptions import suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SPLITS = 10
TIMES = {1: 2.0, 3: 5.0}
"""How much more frequent a class becomes."""


@dataclass(frozen=True)
class Build:
    """What the build left: the model, its samples, and their labels."""

    quantized: QuantizedModel
    prepared: PreparedModel
    data: Dataset
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> Build:
        kinds = {"convert_quantized": QuantizedModel, "prepare_model": PreparedModel, "load_data": Dataset}
        found: dict[str, Any] = {}
        for name, kind in kinds.items():
            step = next((folder / "steps").glob(f"{name}-*"))
            record = json.loads((step / "artifact.json").read_text(encoding="utf-8"))
            found[name] = replace(TypeAdapter(kind).validate_python(record["artifact"]), folder=step)
        return cls(found["convert_quantized"], found["prepare_model"], found["load_data"], folder)

    def samples(self) -> Samples:
        return Samples.of(self.data, "test", self.prepared.preprocessing)

    def all_of(self, samples: Samples) -> Answered:
        """In their order."""
        return answer(self.quantized.tflite, samples, seed=0, most=len(samples))

    def answer(self, raws: list[NDArray[Any]], scratch: Path) -> Answered:
        """Of raw samples (n, ...)."""
        samples = self.samples()
        files = tuple(scratch / f"raw_{index}.npy" for index in range(len(raws)))
        for file, raw in zip(files, raws, strict=True):
            np.save(file, raw)
        shifted = replace(samples, inputs=files, rows=np.arange(len(raws[0])))
        return self.all_of(shifted)


def main() -> None:
    """Print the share of runs in which each shift is found, and the false alarms."""
    parser = argparse.ArgumentParser(description="What monitoring finds.")
    parser.add_argument("build", type=Path)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--alarms", type=int, default=1000)
    parser.add_argument("--severities", default="1,3")
    options = parser.parse_args()
    build = Build.read(options.build)
    samples = build.samples()
    raws = [samples.raw(index) for index in range(len(samples.inputs))]
    labels = samples.target(0)
    clean = build.all_of(samples)
    trial = Trial(build, clean, labels, options.samples)
    print(
        f"{len(labels)} test samples, {len(trial.baselines[0][1])} of them the field; n = {options.samples}"
    )
    for runs in sorted({100, options.alarms}):
        alarms = trial.run("no shift", clean, runs)
        print(f"{'no shift':34} {runs:5} runs  {alarms.drifted:6.1%} false alarms {alarms.said}", flush=True)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, severity, shifted in shifts(
            raws, build, [int(one) for one in options.severities.split(",")]
        ):
            answered = build.answer(shifted, Path(folder))
            found = trial.run(name, answered, options.runs)
            told = f"{found.accuracy} right" if found.accuracy else ""
            print(f"{name:26} severity {severity}  {found.drifted:6.1%}  {told}  {found.said}", flush=True)
    for severity, times in TIMES.items():
        for place, title in enumerate(build.data.classes):
            weights = np.where(labels == place, times, 1.0)
            found = trial.run(title, clean, options.runs, weights)
            print(
                f"{title + f' x{times:g}':26} severity {severity}  {found.drifted:6.1%}  {found.said}",
                flush=True,
            )


@dataclass(frozen=True)
class Found:
    """Over all runs: how often drift was said, and what drifted."""

    drifted: float
    said: str
    accuracy: str


class Trial:
    """Ten baselines, and what a device would see beside each."""

    def __init__(self, build: Build, clean: Answered, labels: NDArray[Any], samples: int) -> None:
        self.contract = make_contract(clean, build.prepared, build.data.classes)
        self.labels, self.samples = labels, samples
        self.baselines = [self._split(clean, seed) for seed in range(SPLITS)]

    def _split(self, clean: Answered, seed: int) -> tuple[Statistics, NDArray[np.int64]]:
        order = np.random.default_rng([1, seed]).permutation(len(self.labels))
        most = min(MOST_SAMPLES, len(order) // 2)
        mine, others = order[:most], order[most:]
        right = clean.outputs[0][mine].reshape(most, -1).argmax(axis=1) == self.labels[mine]
        arrays = [[values[mine] for values in side] for side in (clean.inputs, clean.outputs)]
        counted = count(self.contract, *arrays, [float(right.mean())], seed=seed)
        return read_statistics(json.dumps(counted).encode(), "baseline"), others

    def run(self, name: str, shown: Answered, runs: int, weights: NDArray[Any] | None = None) -> Found:
        """Draw as many times from what is shown and compare."""
        drifted, items, estimates, right = 0, Counter[str](), [], []
        for run in range(runs):
            baseline, others = self.baselines[run % SPLITS]
            rng = np.random.default_rng([2, run])
            shares = None if weights is None else weights[others] / weights[others].sum()
            places = rng.choice(others, self.samples, replace=False, p=shares)
            found = compare(baseline, self.see(shown, places))
            drifted += found.verdict == "drifted"
            items.update(f"{item.side} {item.what}" for item in found.items if item.verdict == "drifted")
            estimates += [(one.thresholded, one.averaged) for one in found.estimates]
            said = shown.outputs[0][places].reshape(len(places), -1).argmax(axis=1)
            right.append((said == self.labels[places]).mean())
        said = ", ".join(f"{what} {times / runs:.0%}" for what, times in items.most_common(6))
        told = np.mean(estimates, axis=0)
        accuracy = f"{np.mean(right):.1%} (estimates {told[0]:.1%}, {told[1]:.1%})"
        return Found(drifted / runs, f"[{said}]", accuracy)

    def see(self, shown: Answered, places: NDArray[np.int64]) -> Statistics:
        observer = Observer(self.contract)
        for place in places:
            one = slice(place, place + 1)
            observer.see([values[one] for values in shown.inputs], [v[one] for v in shown.outputs])
        return read_statistics(json.dumps(observer.statistics()).encode(), "seen")


def shifts(
    raws: list[NDArray[Any]], build: Build, severities: list[int]
) -> Iterator[tuple[str, int, list[NDArray[Any]]]]:
    """Every corruption that suits, and what becomes of a sensor."""
    given = suite.describe([raw[:500] for raw in raws], build.prepared.preprocessing)
    names, _ = suite.choose(given, build.data.tasks, ())
    for severity in severities:
        for name in names:
            yield name, severity, suite.corrupt(raws, given, name, severity, [0])
        for name, broken in BROKEN.items():
            yield name, severity, [broken(raw, severity) for raw in raws]


def _dead(raw: NDArray[Any], severity: int) -> NDArray[Any]:
    return np.zeros_like(raw)


def _dead_lines(raw: NDArray[Any], severity: int) -> NDArray[Any]:
    """A share of the first axis is black, in the middle."""
    found, lines = raw.copy(), max(1, raw.shape[1] * severity // 14)
    start = (raw.shape[1] - lines) // 2
    found[:, start : start + lines] = 0
    return found


def _stuck(raw: NDArray[Any], severity: int) -> NDArray[Any]:
    return np.repeat(raw[:1], len(raw), axis=0)


def _upside_down(raw: NDArray[Any], severity: int) -> NDArray[Any]:
    return raw[:, ::-1]


def _swapped(raw: NDArray[Any], severity: int) -> NDArray[Any]:
    return raw[..., ::-1]


BROKEN: dict[str, Callable[[NDArray[Any], int], NDArray[Any]]] = {
    "dead sensor": _dead,
    "dead lines": _dead_lines,
    "stuck on one sample": _stuck,
    "upside down": _upside_down,
    "channels swapped": _swapped,
}

if __name__ == "__main__":
    main()
