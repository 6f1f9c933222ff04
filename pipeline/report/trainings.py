"""Drawings of the trainings of a build: figures by epoch, histograms of layers before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.drawing import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.training_history import Histogram, TrainingHistory

FRAME = Frame.within(width=120, height=28, margin=3)


def curve_points(values: Sequence[float]) -> str:
    """Return the points of a line through values by epoch, the lowest at the bottom."""
    return FRAME.line(values, min(values), max(values))


def outline_points(histogram: Histogram) -> str:
    """Return the points of a histogram's outline; heights are the square roots of the counts."""
    return FRAME.steps(histogram.counts, max(histogram.counts))


def distributions(
    trainings: Sequence[TrainingHistory],
) -> list[tuple[str, str, Histogram, Histogram]]:
    """Return (layer, weights or activations, before the first training, after the last) of each layer."""
    if not trainings:
        return []
    last = {(each.layer, each.of): each for each in trainings[-1].after}
    pairs = [(each, last.get((each.layer, each.of))) for each in trainings[0].before]
    return [(first.layer, first.of, first, after) for first, after in pairs if after is not None]
