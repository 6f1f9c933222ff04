"""Paired comparisons of what contenders answered for the same test samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from rows import BASELINES, DUELS

from pipeline.runtimes.quantization import dequantize
from pipeline.validation.accuracy import Evaluator

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.tasks.comparison import Metric

Result = dict[str, Any]


def real_outputs(file: Path) -> list[NDArray[Any]]:
    """Return the outputs that ``cells.infer`` stored, as real numbers (n, ...) each."""
    with np.load(file) as stored:
        count = sum(name.startswith("output_") for name in stored.files)
        found = []
        for index in range(count):
            values = stored[f"output_{index}"]
            if f"scale_{index}" in stored.files:
                scale, zero_point = stored[f"scale_{index}"]
                values = dequantize(values, float(scale), int(zero_point))
            found.append(values)
    return found


class Judge:
    """Compares the cells of one model and seed; keeps comparisons in a file, by the digests of both cells.

    Args:
        folder: of the model's results.
        seed: of the cells.
        case: the case's folder.
    """

    def __init__(self, folder: Path, seed: int, case: Path) -> None:
        self.folder, self.seed, self.case = folder, seed, case
        self.settings = json.loads((case / "case.json").read_text())
        self.kept_in = folder / f"comparisons-{seed}.json"
        self.kept: dict[str, Any] = json.loads(self.kept_in.read_text()) if self.kept_in.exists() else {}

    def compare(self, candidate: Result, reference: Result) -> list[dict[str, Any]]:
        """Return the primary metric of each output: both values, and the difference with its interval."""
        key = f"{candidate['sha256']} {reference['sha256']}"
        if key not in self.kept:
            self.kept[key] = self._compared(candidate["row"], reference["row"])
            self.kept_in.write_text(json.dumps(self.kept, indent=1))
        return list(self.kept[key])

    def _compared(self, candidate: str, reference: str) -> list[dict[str, Any]]:
        files = [self.folder / f"{row}-{self.seed}" / "outputs.npz" for row in (candidate, reference)]
        inputs = np.load(self.case / "x_test_0.npy")
        found = []
        for index, (ours, theirs) in enumerate(zip(*map(real_outputs, files), strict=True)):
            target = self.case / f"target_{index}.npy"
            evaluator = Evaluator(
                self.settings["tasks"][index], seed=0, from_logits=self.settings["from_logits"][index]
            )
            evaluator.add(theirs, ours, np.load(target) if target.exists() else None, inputs)
            found.append(_plain(evaluator.finish().primary))
        return found


def _plain(metric: Metric) -> dict[str, Any]:
    """Return a metric's values, the difference as a gain: positive if the candidate is better."""
    gain, low, high = metric.gain
    return {
        "metric": metric.name,
        "candidate": metric.quantized,
        "reference": metric.baseline,
        "gain": gain,
        "low": low,
        "high": high,
    }


def compare_all(results: list[Result], judges: dict[int, Judge]) -> tuple[list[Result], list[dict[str, Any]]]:
    """Compare each cell with both float models, and the pairs of ``DUELS``.

    Args:
        results: the cells of one model.
        judges: by seed.

    Returns:
        The cells with their metric and ``against``, and for each pair its mean over the seeds.
    """
    made = {(each["row"], each["seed"]): each for each in results if "failed" not in each}
    cells = []
    for each in results:
        against = {
            row: judges[each["seed"]].compare(each, made[row, each["seed"]])
            for row in BASELINES
            if "failed" not in each and (row, each["seed"]) in made
        }
        first = next(iter(against.values()), [{}])[0]
        cells.append(each | {"value": first.get("candidate"), "against": against})
    duels = []
    for row, other in DUELS:
        seeds = [seed for seed in judges if (row, seed) in made and (other, seed) in made]
        found = [judges[seed].compare(made[row, seed], made[other, seed])[0] for seed in seeds]
        if found:
            duels.append({"row": row, "against": other, "seeds": seeds, **mean(found)})
    return cells, duels


def mean(found: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean gain over seeds, and the mean ends of its interval.

    The seeds share the test samples, so the interval of the mean is at most as wide as their mean interval.
    """
    return {name: float(np.mean([each[name] for each in found])) for name in ("gain", "low", "high")}
