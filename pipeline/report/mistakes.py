"""Drawings of what a classifier gets wrong: confusion matrices, confidences, and samples that flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.report.drawing import Frame, points
from pipeline.report.shift import shift_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.tasks.comparison import Comparison, Confidences, FlippedSample
    from pipeline.validation.shift_results import ShiftReport

MAX_DRAWN_CLASSES = 20
MAP_SIDE, MAX_CELL = 255, 34
"""Of a confusion matrix, in CSS pixels."""
MAX_OPACITY = 0.75
LABEL_LENGTH, CHARACTER = 12, 6
FRAME = Frame.within(width=150, height=84, margin=6)
"""Of a curve or a histogram."""
THUMBNAIL = Frame.within(width=72, height=72, margin=2)
"""Of a sample."""


@dataclass(frozen=True)
class Cell:
    """A count of a matrix; ``kind`` is "right", "wrong", "better" or "worse", ``strength`` 0..1."""

    x: int
    y: int
    kind: str
    strength: float
    text: str
    title: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: rows are true classes, columns predicted ones; sizes in CSS pixels."""

    title: str
    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    cell: int
    left: int
    side: int


@dataclass(frozen=True)
class Curve:
    """The primary metric by severity: points of both lines, and the values in words."""

    name: str
    baseline: str
    quantized: str
    title: str


def matrices(found: Comparison, name: str) -> list[Matrix]:
    """Return the matrices of float, int8 and their difference; none for many classes.

    Args:
        name: of the quantized format, e.g. "int8".
    """
    counts, labels = found.confusion, tuple(each.name for each in found.classes)
    if counts is None or len(labels) > MAX_DRAWN_CLASSES:
        return []
    change = [
        [after - before for before, after in zip(*rows, strict=True)]
        for rows in zip(counts.baseline, counts.quantized, strict=True)
    ]
    return [
        _matrix("float", counts.baseline, labels),
        _matrix(name, counts.quantized, labels),
        _matrix(f"{name} minus float", change, labels, is_change=True),
    ]


def _matrix(
    title: str, counts: Sequence[Sequence[int]], labels: tuple[str, ...], *, is_change: bool = False
) -> Matrix:
    size = min(MAP_SIDE // max(len(labels), 1), MAX_CELL)
    left = CHARACTER * min(max(map(len, labels), default=0), LABEL_LENGTH) + 8
    most = max((abs(count) for row in counts for count in row), default=0) or 1
    cells = []
    for y, row in enumerate(counts):
        total = most if is_change else sum(row) or 1
        for x, count in enumerate(row):
            if not count:
                continue
            kind = "right" if x == y else "wrong"
            if is_change:
                kind = "better" if (count > 0) == (x == y) else "worse"
            words = f"{count:+,}" if is_change else f"{count:,} of {total:,}"
            cells.append(
                Cell(
                    x=left + x * size,
                    y=y * size,
                    kind=kind,
                    strength=round(MAX_OPACITY * (abs(count) / total) ** 0.5, 3),
                    text=f"{count:+}" if is_change else str(count),
                    title=f"{labels[y]} as {labels[x]}: {words}",
                )
            )
    return Matrix(title, tuple(map(_short, labels)), tuple(cells), size, left, size * len(labels))


def _short(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else f"{label[: LABEL_LENGTH - 1]}…"


def confidence_outlines(found: Confidences) -> tuple[str, str]:
    """Return the outlines of both histograms on one scale."""
    most = max(*found.baseline, *found.quantized)
    return FRAME.steps(found.baseline, most), FRAME.steps(found.quantized, most)


def severity_curves(report: ShiftReport) -> list[Curve]:
    """Return the metric by severity of every corruption with several, all on one scale."""
    shifts = [shift for shift in report.shifts if len(shift.severities) > 1]
    values = [
        value
        for shift in shifts
        for level in shift.severities
        for value in (level.found.baseline, level.found.quantized)
    ]
    if not values:
        return []
    y = FRAME.y(min(values), max(values))

    def line(pairs: list[tuple[int, float]]) -> str:
        x = FRAME.x(pairs[0][0], pairs[-1][0])
        return points((x.place(level), y.place(value)) for level, value in pairs)

    curves = []
    for shift in shifts:
        levels = sorted(shift.severities, key=lambda level: level.severity)
        words = "; ".join(
            f"severity {each.severity}: float {each.found.baseline:.1f}, int8 {each.found.quantized:.1f}"
            for each in levels
        )
        curves.append(
            Curve(
                name=shift_name(shift),
                baseline=line([(each.severity, each.found.baseline) for each in levels]),
                quantized=line([(each.severity, each.found.quantized) for each in levels]),
                title=words,
            )
        )
    return curves


def series_lines(flipped: FlippedSample) -> list[str]:
    """Return the points of a sample's lines, all on one scale."""
    values = [value for line in flipped.series for value in line]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return [THUMBNAIL.line(line, low, high) for line in flipped.series]
