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
        baseline: of the release.
        seen: on devices.
        drift: what comparing them found.
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
            f"inferences take longer than before: {_summary(drifted, 'latency')}",
            "look for heat, a lower clock, other load or another runtime; then: pipeline bench",
        )


def _sensors(baseline: Statistics, seen: Statistics) -> Iterator[Advice]:
    """Inputs that are constant, or the same all the time."""
    for before, now in zip(baseline.inputs, seen.inputs, strict=True):
        flat = now.spreads[0] / seen.observed - before.spreads[0] / baseline.observed
        stuck = _same_always(now) and not _same_always(before) and seen.observed > 1
        if flat >= CONSTANT:
            why = f"{flat:.0%} more samples of {now.name} than in testing hold one value throughout"
        elif stuck:
            why = f"every sample of {now.name} has the same mean and spread, as if it were one sample"
        else:
            continue
        yield Advice("check the sensor", why, "look at lens, cable, exposure and what reads it; do not train")


def _same_always(one: InputCounts) -> bool:
    return max(one.means) == sum(one.means) and max(one.spreads) == sum(one.spreads)


def _moved_inputs(
    baseline: Statistics, seen: Statistics, drift: Drift, inputs: list[Item], outputs: list[Item]
) -> Iterator[Advice]:
    """New ranges where answers stayed; otherwise the model itself has not learned such inputs."""
    clipped = "".join(_clipping(baseline, seen))
    moved = f"inputs moved ({_summary(inputs)}){clipped}"
    if not outputs and max(map(_lost, drift.estimates), default=0.0) < LOST_POINTS:
        yield Advice(
            "recalibrate",
            f"{moved}; the answers did not",
            "save the statistics with --save STATS and build with --set "
            "calibration.field_statistics=STATS; layers trained with "
            "fake quantization keep their ranges: for them add such samples to the training "
            "data",
        )
        return
    yield Advice(
        "retrain",
        f"{moved}, and so did the answers ({_summary(outputs) or 'less sure'})",
        "collect and label samples from these devices and train with them; first check whether something "
        "in front of the model changed, such as exposure, mounting or preprocessing, and fix that",
    )
    if clipped:
        yield Advice(
            "recalibrate",
            "a larger share of the input is clipped at the ends of its int8 range",
            "build the retrained model with --set calibration.field_statistics=STATS",
        )


def _moved_answers(outputs: list[Item]) -> Advice:
    """Advise on answers that changed while the inputs look the same."""
    if all(item.what == "classes" for item in outputs):
        return Advice(
            "look",
            f"class frequencies changed ({_summary(outputs)}) while the inputs look the same",
            "label a hundred of these samples: if the model is right, the world has changed; "
            "if it is wrong, retrain",
        )
    return Advice(
        "retrain",
        f"the answers changed ({_summary(outputs)}) on inputs of the same brightness and spread: the devices "
        "see other things, or the same things rotated or blurred",
        "look at samples, fix what changed in front of the model, or label some and train with them",
    )


def _clipping(baseline: Statistics, seen: Statistics) -> Iterator[str]:
    for before, now in zip(baseline.inputs, seen.inputs, strict=True):
        for bin_, end in ((0, "low"), (-1, "high")):
            more = now.values[bin_] / sum(now.values) - before.values[bin_] / sum(before.values)
            if more >= CLIPPED:
                yield f", {more:.0%} more of {now.name} at the {end} end of its range"


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
        f"the devices observed {drift.samples} samples, {drift.needed} are needed for all comparisons",
        "run the command again when the devices have observed more",
    )


def _summary(items: list[Item], side: str = "") -> str:
    chosen = sorted(
        (item for item in items if side in ("", item.side)), key=lambda one: one.floor / max(one.size, 1e-9)
    )
    words = [f"{one.tensor} {one.what} {one.measure} {one.size:.2f}" for one in chosen[:3]]
    return ", ".join(words) + (f" and {len(chosen) - 3} more" if len(chosen) > 3 else "")
