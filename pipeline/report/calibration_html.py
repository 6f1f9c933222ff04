"""The diagnosis of a calibration set as one HTML file with plots; nothing is fetched and no script runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.tensor_checks import INFLUENCE, USED
from pipeline.report.calibration import title
from pipeline.report.drawing import Axis, Frame, points
from pipeline.report.html import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.curve import CurvePoint
    from calibration.diagnosis import Diagnosis

FRAME = Frame(640, 260, left=48, right=628, top=10, base=226)
LABEL_WIDTH = 32
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
        columns: (x, number of samples), less those whose labels would touch.
        rows: (y, decibels) of the grid.
        chosen: x of the number of calibration samples.
    """

    line: str
    band: str
    dots: tuple[tuple[float, float], ...]
    columns: tuple[tuple[float, int], ...]
    rows: tuple[tuple[float, float], ...]
    chosen: float
    frame: Frame = FRAME


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


def _plot(curve: Sequence[CurvePoint], samples: int) -> Plot:
    """Place the curve: the number of samples on a logarithmic axis, decibels from 0."""
    first, last = curve[0].samples, curve[-1].samples
    step = _round_up(max(point.high_db for point in curve) / TICKS)
    x = Axis(low=first, high=last, start=FRAME.left, end=FRAME.right, is_log=True)
    y = FRAME.y(0, step * TICKS)
    means = tuple((x.place(point.samples), y.place(point.error_db)) for point in curve)
    upper = [(x.place(point.samples), y.place(point.high_db)) for point in curve]
    lower = [(x.place(point.samples), y.place(point.low_db)) for point in reversed(curve)]
    return Plot(
        line=points(means),
        band=points(upper + lower),
        dots=means,
        columns=tuple(
            (x.place(count), count)
            for count in (point.samples for point in curve)
            if count == last or x.place(count) <= FRAME.right - LABEL_WIDTH
        ),
        rows=tuple((y.place(step * tick), step * tick) for tick in range(TICKS + 1)),
        chosen=x.place(min(max(samples, first), last)),
    )


def _round_up(value: float) -> float:
    """Return a step of one digit for an axis."""
    if value <= 0:
        return 0.1
    unit = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / unit) * unit
