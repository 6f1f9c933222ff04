"""Are shifted inputs found with 500 samples, and is nothing said of inputs that did not shift?

Usage: python benchmarks/deploy/drift.py BUILD [--samples 500] [--runs 100] [--alarms 1000] [--severities 1,3]

BUILD is the folder of a classifier's build with ``--out BUILD --store BUILD/store``. Its test samples are
split at random, ten times:
5,000 or half of them are the baseline, from the others every run draws what a device would see.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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
from pipeline.corruptions import suite
from pipeline.release.drift_reference import MAX_SAMPLES, Answered, answer, count, make_contract
from pipeline.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SPLITS = 10
TIMES = {1: 2.0, 3: 5.0}
"""How much more frequent a class becomes."""
BAR = 0.95
COSTLY = 2.0
"""Points of accuracy."""


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
            step = next((folder / "store").glob(f"{name}-*"))
            record = json.loads((step / "artifact.json").read_text(encoding="utf-8"))
            found[name] = replace(TypeAdapter(kind).validate_python(record["record"]), folder=step)
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
    clean = build.all_of(samples)
    trial = Trial(build, clean, samples.target(0), options.samples)
    print(f"{len(samples)} test samples; {options.samples} seen in each run\n")
    print("| no shift, runs | said to have drifted | by chance alone, whatever its size |\n|---|---|---|")
    for runs in sorted({100, options.alarms}):
        alarms = trial.run(clean, runs)
        print(f"| {runs:,} | {alarms.drifted:.1%} | {alarms.significant:.1%} |", flush=True)
    severities = [int(one) for one in options.severities.split(",")]
    found = {one: list(report(one, build, trial, clean, options.runs)) for one in severities}
    for severity, rows in found.items():
        costly = [drifted for drifted, lost in rows if lost >= COSTLY]
        every, sure, sure_costly = (
            np.mean([drifted for drifted, _ in rows]),
            sum(drifted >= BAR for drifted, _ in rows),
            sum(drifted >= BAR for drifted in costly),
        )
        print(
            f"\nseverity {severity}: {every:.1%} found over {len(rows)} shifts, {sure} of them in at least "
            f"{BAR:.0%} of the runs; of the {len(costly)} that cost {COSTLY:g} points or more, {sure_costly}"
        )


def report(
    severity: int, build: Build, trial: Trial, clean: Answered, runs: int
) -> Iterator[tuple[float, float]]:
    """Print a row for each shift, and give how often it was found and what it costs in points."""
    print(f"\n| severity {severity} | found | right | estimated | by |\n|---|---|---|---|---|")
    usual = trial.run(clean, runs).right
    raws = [build.samples().raw(index) for index in range(len(build.samples().inputs))]
    with tempfile.TemporaryDirectory() as folder:
        for name, shifted in shifts(raws, build, severity):
            found = trial.run(build.answer(shifted, Path(folder)), runs)
            print(f"| {name.replace('_', ' ')} {found}", flush=True)
            yield found.drifted, 100 * (usual - found.right)
    times = TIMES.get(severity, 5.0)
    for place, title in enumerate(build.data.classes):
        found = trial.run(clean, runs, np.where(trial.labels == place, times, 1.0))
        print(f"| {title} {times:g} times as often {found}", flush=True)
        yield found.drifted, 100 * (usual - found.right)


@dataclass(frozen=True)
class Found:
    """Shares of all runs: drift was said, something was significant; and of all answers: right, estimated."""

    drifted: float
    significant: float
    right: float
    estimates: tuple[float, float]
    by: str

    def __str__(self) -> str:
        low, high = sorted(self.estimates)
        return f"| {self.drifted:.0%} | {self.right:.1%} | {low:.1%} to {high:.1%} | {self.by} |"


class Trial:
    """Ten baselines, and what a device would see beside each."""

    def __init__(self, build: Build, clean: Answered, labels: NDArray[Any], samples: int) -> None:
        self.contract = make_contract(clean, build.prepared, build.data.classes)
        self.labels, self.samples = labels, samples
        self.baselines = [self._split(clean, seed) for seed in range(SPLITS)]

    def _split(self, clean: Answered, seed: int) -> tuple[Statistics, NDArray[np.int64]]:
        order = np.random.default_rng([1, seed]).permutation(len(self.labels))
        most = min(MAX_SAMPLES, len(order) // 2)
        mine, others = order[:most], order[most:]
        right = clean.outputs[0][mine].reshape(most, -1).argmax(axis=1) == self.labels[mine]
        inputs, outputs = ([values[mine] for values in side] for side in (clean.inputs, clean.outputs))
        counted = count(self.contract, inputs, outputs, [float(right.mean())], seed=seed)
        return read_statistics(json.dumps(counted).encode(), "baseline"), others

    def run(self, shown: Answered, runs: int, weights: NDArray[Any] | None = None) -> Found:
        """Draw as many times from what is shown and compare."""
        drifts, right, items = [], [], Counter[str]()
        for run in range(runs):
            baseline, others = self.baselines[run % SPLITS]
            rng = np.random.default_rng([2, run])
            shares = None if weights is None else weights[others] / weights[others].sum()
            places = rng.choice(others, self.samples, replace=False, p=shares)
            drifts.append(compare(baseline, self.see(shown, places)))
            items.update(f"{item.side} {item.what}" for item in drifts[-1].items if item.verdict == "drifted")
            said = shown.outputs[0][places].reshape(len(places), -1).argmax(axis=1)
            right.append((said == self.labels[places]).mean())
        return Found(
            drifted=float(np.mean([drift.verdict == "drifted" for drift in drifts])),
            significant=float(np.mean([any(item.significant for item in drift.items) for drift in drifts])),
            right=float(np.mean(right)),
            estimates=(
                float(np.mean([drift.estimates[0].thresholded for drift in drifts])),
                float(np.mean([drift.estimates[0].averaged for drift in drifts])),
            ),
            by=", ".join(f"{what} {times / runs:.0%}" for what, times in items.most_common(3)),
        )

    def see(self, shown: Answered, places: NDArray[np.int64]) -> Statistics:
        observer = Observer(self.contract)
        for place in places:
            one = slice(place, place + 1)
            observer.see([values[one] for values in shown.inputs], [v[one] for v in shown.outputs])
        return read_statistics(json.dumps(observer.statistics()).encode(), "seen")


def shifts(raws: list[NDArray[Any]], build: Build, severity: int) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """Every corruption that suits, and what becomes of a sensor; not what changes nothing here."""
    given = suite.describe([raw[:500] for raw in raws], build.prepared.preprocessing)
    for name in suite.choose(given, build.data.tasks, ())[0]:
        yield name, suite.corrupt(raws, given, name, severity, [0])
    for name, broken in BROKEN.items():
        shifted = [broken(raw, severity) for raw in raws]
        if any((one != raw).any() for one, raw in zip(shifted, raws, strict=True)):
            yield name, shifted


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
