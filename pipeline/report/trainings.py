"""Drawings of the trainings of a build: figures by epoch, histograms of layers before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.training_history import Histogram, TrainingHistory

WIDTH, HEIGHT, MARGIN = 120, 28, 3
"""Size of a drawing in CSS pixels, and what stays free around its lines."""


def curve_points(values: Sequence[float]) -> str:
    """Return the points of a line through values by epoch, the lowest at the bottom."""
    low, high = min(values), max(values)
    return _line([(value - low) / ((high - low) or 1.0) for value in values])


def outline_points(histogram: Histogram) -> str:
    """Return the points of a histogram's outline; heights are the square roots of the counts."""
    most = max(*histogram.counts, 1) ** 0.5
    return _line([count**0.5 / most for count in histogram.counts])


def distributions(
    trainings: Sequence[TrainingHistory],
) -> list[tuple[str, str, Histogram, Histogram]]:
    """Return (layer, weights or activations, before the first training, after the last) of each layer."""
    if not trainings:
        return []
    last = {(each.layer, each.of): each for each in trainings[-1].after}
    pairs = [(each, last.get((each.layer, each.of))) for each in trainings[0].before]
    return [(first.layer, first.of, first, after) for first, after in pairs if after is not None]


def _line(heights: Sequence[float]) -> str:
    """Return the points of a line with these heights, 0..1, at equal distances."""
    width, height, steps = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN, max(len(heights) - 1, 1)
    return " ".join(
        f"{MARGIN + width * place / steps:.1f},{MARGIN + height * (1 - each):.1f}"
        for place, each in enumerate(heights)
    )
