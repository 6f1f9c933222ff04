"""The diagnosis of a calibration set as one HTML file with plots; nothing is fetched and no script runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.tensor_checks import INFLUENCE, USED
from pipeline.report.calibration import title
from pipeline.report.html import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.curve import CurvePoint
    from calibration.diagnosis import Diagnosis

WIDTH, HEIGHT = 640, 260
LEFT, BOTTOM, TOP, RIGHT = 48, 34, 10, 12
TICKS = 5
MAX_STRATA = 60
MAX_TENSORS = 200
MAX_CHANNELS = 32


@dataclass(frozen=True)
class Plot:
    """The curve of errors over the number of samples, in CSS pixels.

    Attributes:
        line: points of the mean, as SVG writes them.
        band: corners of the interval's area.
        dots: places of the means.
        columns: (x, number of samples).
        rows: (y, decibels) of the grid.
        chosen: x of the number of calibration samples.
    """

    line: str
    band: str
    dots: tuple[tuple[float, float], ...]
    columns: tuple[tuple[float, int], ...]
    rows: tuple[tuple[float, float], ...]
    chosen: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    base: int = HEIGHT - BOTTOM


def diagnosis_html(found: Diagnosis) -> str:
    """Return the diagnosis as a page of its own."""
    tensors = found.ranges.tensors if found.ranges else ()
    order = {"failed": 0, "warning": 1, "skipped": 2, "passed": 3}
    return render(
        "calibration.html.j2",
        found=found,
        title=title(found),
        findings=sorted(found.findings, key=lambda each: order[each.outcome]),
        coverage=[(each, each.strata[:MAX_STRATA], _largest(each.strata)) for each in found.samples.coverage],
        tensors=sorted(tensors, key=lambda each: -each.influence)[:MAX_TENSORS],
        plot=_plot(found.ranges.curve, found.samples.samples)
        if found.ranges and len(found.ranges.curve) > 1
        else None,
        max_channels=MAX_CHANNELS,
        max_strata=MAX_STRATA,
        max_tensors=MAX_TENSORS,
        influence=INFLUENCE,
        used=USED,
    )


def _largest(strata: Sequence[object]) -> float:
    """Return the largest share of a stratum in either set, for the length of bars."""
    largest = 0.0
    for key in ("samples", "training_samples"):
        counts = [getattr(each, key) for each in strata]
        largest = max(largest, max(counts, default=0) / max(sum(counts), 1))
    return largest or 1.0


def _plot(points: Sequence[CurvePoint], samples: int) -> Plot:
    """Place the curve: the number of samples on a logarithmic axis, decibels from 0."""
    step = _round_up(max(point.high_db for point in points) / TICKS)
    top = step * TICKS
    first, last = (np.log2(point.samples) for point in (points[0], points[-1]))

    def x(count: int) -> float:
        return round(float(LEFT + (WIDTH - LEFT - RIGHT) * (np.log2(count) - first) / (last - first)), 1)

    def y(decibels: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - decibels / top), 1)

    def line(values: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{x(count)},{y(value)}" for count, value in values)

    upper = [(point.samples, point.high_db) for point in points]
    lower = [(point.samples, point.low_db) for point in reversed(points)]
    return Plot(
        line=line([(point.samples, point.error_db) for point in points]),
        band=line(upper + lower),
        dots=tuple((x(point.samples), y(point.error_db)) for point in points),
        columns=tuple((x(point.samples), point.samples) for point in points),
        rows=tuple((y(step * tick), step * tick) for tick in range(TICKS + 1)),
        chosen=x(min(max(samples, points[0].samples), points[-1].samples)),
    )


def _round_up(value: float) -> float:
    """Return a step of one digit for an axis."""
    if value <= 0:
        return 0.1
    unit = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / unit) * unit
