"""Recommend an action from what drifted and what did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.monitor.compare import AccuracyEstimate, Drift, Item
    from deploy.monitor.statistics import InputCounts, Statistics

Action = Literal[
    "nothing", "wait", "rebuild", "check the sensor", "recalibrate", "retrain", "look", "check the device"
]

CONSTANT = 0.5
"""Increase of the share of samples without any spread that indicates a dead sensor."""
CLIPPED = 0.05
"""Increase of the share of elements at the ends of the range that counts as clipping."""
LOST_POINTS = 5.0
"""Loss of estimated accuracy from which input drift needs training instead of new ranges."""


@dataclass(frozen=True)
class Advice:
    """A recommended action and its reason, one sentence each."""

    action: Action
    why: str
    then: str


def advise(baseline: Statistics, seen: Statistics, drift: Drift) -> tuple[Advice, ...]:
    """Return the recommended actions, most urgent first; at least one.

    Args:
        baseline: the statistics of the release.
        seen: the statistics of the devices.
        drift: the result of comparing them.
    """
    found = tuple(_advice(baseline, seen, drift))
    if found:
        return found
    if drift.verdict == "not enough samples":
        return (_wait(drift),)
    return (Advice("nothing", "no relevant change", "keep monitoring"),)


def _advice(baseline: Statistics, seen: Statistics, drift: Drift) -> Iterator[Advice]:
    drifted = [item for item in drift.items if item.verdict == "drifted"]
    inputs = [item for item in drifted if item.side == "input"]
    outputs = [item for item in drifted if item.side == "output"]
    sensors = list(_sensors(baseline, seen)) if baseline.observed and seen.observed else []
    yield from sensors
    if inputs and not sensors:
        yield from _moved_inputs(baseline, seen, drift, inputs, outputs)
    if outputs and not inputs:
        yield _moved_answers(outputs)
    if any(item.side == "latency" for item in drifted):
        yield Advice(
            "check the device",
            f"inferences take longer than in the test: {_summary(drifted, 'latency')}",
            "look for heat, a lower clock, other load or another runtime, then run pipeline bench",
        )


def _sensors(baseline: Statistics, seen: Statistics) -> Iterator[Advice]:
    """Yield advice for inputs that are constant or never change."""
    for before, now in zip(baseline.inputs, seen.inputs, strict=True):
        flat = now.spreads[0] / seen.observed - before.spreads[0] / baseline.observed
        stuck = _same_always(now) and not _same_always(before) and seen.observed > 1
        if flat >= CONSTANT:
            why = f"{flat:.0%} more samples of {now.name} than in the test are constant"
        elif stuck:
            why = f"all samples of {now.name} have the same mean and spread, as if the input were frozen"
        else:
            continue
        yield Advice("check the sensor", why, "check lens, cable, exposure and driver; do not retrain")


def _same_always(one: InputCounts) -> bool:
    return max(one.means) == sum(one.means) and max(one.spreads) == sum(one.spreads)


def _moved_inputs(
    baseline: Statistics, seen: Statistics, drift: Drift, inputs: list[Item], outputs: list[Item]
) -> Iterator[Advice]:
    """Recommend new ranges if the outputs did not drift, else training on such inputs."""
    clipped = "".join(_clipping(baseline, seen))
    moved = f"the inputs drifted ({_summary(inputs)}){clipped}"
    if not outputs and max(map(_lost, drift.estimates), default=0.0) < LOST_POINTS:
        yield Advice(
            "recalibrate",
            f"{moved}, the outputs did not",
            "save the statistics with --save STATS and build with --set calibration.field_statistics=STATS; "
            "quantization-aware training learns its ranges from the training data: add such samples to it",
        )
        return
    yield Advice(
        "retrain",
        f"{moved}, and so did the outputs ({_summary(outputs) or 'lower confidence'})",
        "first check whether exposure, mounting or preprocessing changed, and fix that; else collect and "
        "label samples from these devices and train with them",
    )
    if clipped:
        yield Advice(
            "recalibrate",
            "more input values are clipped to the int8 range",
            "build the retrained model with --set calibration.field_statistics=STATS",
        )


def _moved_answers(outputs: list[Item]) -> Advice:
    """Return advice for outputs that drifted while the inputs did not."""
    if all(item.what == "classes" for item in outputs):
        return Advice(
            "look",
            f"the class frequencies changed ({_summary(outputs)}), the inputs did not",
            "label a hundred of these samples; if the model is right on them, keep it, else retrain",
        )
    return Advice(
        "retrain",
        f"the outputs changed ({_summary(outputs)}), the mean and spread of the inputs did not: the devices "
        "see other objects, or the same ones rotated or blurred",
        "look at samples; fix the camera or sensor if it moved, else label some samples and train with them",
    )


def _clipping(baseline: Statistics, seen: Statistics) -> Iterator[str]:
    for before, now in zip(baseline.inputs, seen.inputs, strict=True):
        for bin_, end in ((0, "low"), (-1, "high")):
            more = now.values[bin_] / sum(now.values) - before.values[bin_] / sum(before.values)
            if more >= CLIPPED:
                yield f", {more:.0%} more values of {now.name} at the {end} end of its range"


def _lost(estimate: AccuracyEstimate) -> float:
    """Return the estimated loss of accuracy of a classifier, in points."""
    return 100 * float(np.max([estimate.tested - estimate.thresholded, estimate.tested - estimate.averaged]))


def _wait(drift: Drift) -> Advice:
    if drift.needed is None:
        return Advice(
            "rebuild",
            f"the release was tested on {drift.baseline_samples} samples, too few to detect drift",
            "build the release with more test samples",
        )
    return Advice(
        "wait",
        f"the devices observed {drift.samples} samples; all comparisons together need {drift.needed}",
        "run the command again later",
    )


def _summary(items: list[Item], side: str = "") -> str:
    chosen = sorted(
        (item for item in items if side in ("", item.side)), key=lambda one: one.floor / max(one.size, 1e-9)
    )
    words = [f"{one.tensor} {one.what} {one.measure} {one.size:.2f}" for one in chosen[:3]]
    return ", ".join(words) + (f" and {len(chosen) - 3} more" if len(chosen) > 3 else "")
