"""Lines over time, as coordinates for SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.report.plan import short

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 460, 120, 10
"""Of a drawing in CSS pixels."""


@dataclass(frozen=True)
class Line:
    """A figure over time.

    Attributes:
        points: of the line, as SVG has them.
        dots: (x, y, words) of each value.
        low: the smallest value in words; ``high`` the largest.
        limit: the height of a value that must not be passed; None if there is none.
    """

    name: str
    points: str
    dots: tuple[tuple[float, float, str], ...]
    low: str
    high: str
    limit: float | None = None


def line(name: str, values: Sequence[tuple[str, float] | None], limit: float | None = None) -> Line | None:
    """Return the drawing of values in their order; None unless there are two.

    Args:
        name: of the figure; bytes and instructions are shortened.
        values: (words, value) of each place; None where it has no value.
        limit: a value to draw a line at.
    """
    known = [(place, *each) for place, each in enumerate(values) if each and math.isfinite(each[1])]
    if len(known) < 2:
        return None
    heights = [value for *_, value in known] + ([] if limit is None else [limit])
    low, high = min(heights), max(heights)

    def y(value: float) -> float:
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / ((high - low) or 1), 1)

    step = (WIDTH - 2 * MARGIN) / (len(values) - 1)
    dots = tuple(
        (round(MARGIN + step * place, 1), y(value), f"{words}: {figure(name, value)}")
        for place, words, value in known
    )
    points = " ".join(f"{x},{height}" for x, height, _ in dots)
    return Line(
        name,
        points,
        dots,
        figure(name, min(value for *_, value in known)),
        figure(name, max(value for *_, value in known)),
        None if limit is None else y(limit),
    )


def figure(name: str, value: float) -> str:
    """Return a figure in words: counts as 1.5M, others with two decimal places."""
    return short(round(value)) if name.endswith(("bytes", "instructions")) else f"{value:.2f}"
