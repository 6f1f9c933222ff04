"""Plots of a search in CSS pixels, which a template draws as SVG: axes with ticks, dots, lines and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pipeline.report.drawing import Axis, Frame, Tick, points

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME = Frame(460, 300, left=52, right=444, top=24, base=256)
MAX_SCORE = 100.0
"""An axis of scores ends a little above it, and has no tick there."""
LABEL_HEIGHT, CHARACTER_WIDTH = 13, 7
CLASSES = ("chosen", "own", "front", "dominated", "infeasible")
"""Kinds of dots; the last is drawn first."""


class Point(NamedTuple):
    """A trial in a plot.

    Attributes:
        x: a cost.
        y: a score.
        kind: one of ``CLASSES``.
        label: a short name; "" for none.
        title: what is shown when the pointer rests on it.
    """

    x: float
    y: float
    kind: str
    label: str
    title: str


class Dot(NamedTuple):
    """A point that is placed; ``below`` if its score is too low for the plot."""

    x: float
    y: float
    kind: str
    title: str
    below: bool


class Label(NamedTuple):
    """A dot's name beside it; ``anchor`` as in SVG."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot as its template draws it.

    Attributes:
        title: what is drawn.
        unit: of the horizontal axis.
        columns: ticks of the horizontal axis.
        rows: ticks of the vertical axis.
        line: points of a line, as SVG writes them.
        below: how many dots are drawn at the lower edge, because their score is lower than the plot goes.
    """

    title: str
    unit: str
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    line: str
    dots: tuple[Dot, ...] = ()
    labels: tuple[Label, ...] = ()
    below: int = 0
    frame: Frame = FRAME


def scatter(title: str, unit: str, shown: Sequence[Point]) -> Plot:
    """Return a plot of scores over costs, with the best of both as a staircase.

    The vertical axis has room for the feasible trials; others may be drawn at its lower edge.
    """
    feasible = [point for point in shown if point.kind != "infeasible"] or list(shown)
    x, y = FRAME.around([point.x for point in shown], [point.y for point in feasible], may_be_log=True)
    best = max(point.y for point in shown)
    if best <= MAX_SCORE:
        y = replace(y, high=min(y.high, MAX_SCORE + 0.1 * (MAX_SCORE - y.low)))
    dots = [_dot(point, x, y) for point in sorted(shown, key=lambda each: -CLASSES.index(each.kind))]
    return Plot(
        title=title,
        unit=unit,
        columns=x.ticks(is_count=True),
        rows=tuple(tick for tick in y.ticks() if float(tick.text) <= max(MAX_SCORE, best)),
        line=_staircase([point for point in shown if point.kind != "infeasible"], x, y),
        dots=tuple(dots),
        labels=_labels(shown, x, y),
        below=sum(dot.below for dot in dots),
    )


def progress_plot(title: str, unit: str, values: Sequence[float]) -> Plot:
    """Return a plot of a figure over the number of trials, from 0, that changes at once and stays."""
    x, y = FRAME.x(0, max(len(values) - 1, 1)), FRAME.y(0, max(*values, 1e-9) * 1.05)
    corners = []
    for number, value in enumerate(values):
        if number:
            corners.append((x.place(number), y.place(values[number - 1])))
        corners.append((x.place(number), y.place(value)))
    columns = tuple(tick for tick in x.ticks() if tick.text.isdigit())
    return Plot(title=title, unit=unit, columns=columns, rows=y.ticks(), line=points(corners))


def _dot(point: Point, x: Axis, y: Axis) -> Dot:
    below = point.y < y.low
    return Dot(x.place(point.x), y.start if below else y.place(point.y), point.kind, point.title, below)


def _staircase(reached: Sequence[Point], x: Axis, y: Axis) -> str:
    """Return the border of what the points reach: from the cheapest on, the best score at each cost."""
    corners: list[tuple[float, float]] = []
    best = -math.inf
    for point in sorted(reached, key=lambda each: (each.x, -each.y)):
        if point.y > best:
            place = x.place(point.x)
            corners += [(place, corners[-1][1] if corners else y.start), (place, y.place(point.y))]
            best = point.y
    return points([*corners, (x.end, corners[-1][1])] if corners else [])


def _labels(points: Sequence[Point], x: Axis, y: Axis) -> tuple[Label, ...]:
    """Name the dots that have a label, as far as there is room; the first kinds of ``CLASSES`` first."""
    named = sorted((point for point in points if point.label), key=lambda each: CLASSES.index(each.kind))
    visible = [(x.place(point.x), y.place(point.y)) for point in points if point.y >= y.low]
    taken: list[tuple[float, float, float, float]] = []
    labels = []
    for point in named:
        at = x.place(point.x), y.place(point.y)
        for label in _places(at, point.label):
            box = _box(label)
            free = all(not _meets(box, other) for other in taken)
            clear = all(other == at or not _inside(box, other) for other in visible)
            if free and clear and box[0] >= FRAME.left and box[2] <= FRAME.width and box[1] >= 0:
                labels.append(label)
                taken.append(box)
                break
    return tuple(labels)


def _places(at: tuple[float, float], text: str) -> tuple[Label, ...]:
    x, y = at
    return (
        Label(x, round(y - 9, 1), text, "middle"),
        Label(x, round(y + 19, 1), text, "middle"),
        Label(round(x + 9, 1), round(y + 4, 1), text, "start"),
        Label(round(x - 9, 1), round(y + 4, 1), text, "end"),
    )


def _box(label: Label) -> tuple[float, float, float, float]:
    width = CHARACTER_WIDTH * len(label.text)
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return left, label.y - LABEL_HEIGHT + 3, left + width, label.y + 3


def _meets(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: tuple[float, float, float, float], at: tuple[float, float], reach: float = 4) -> bool:
    return box[0] - reach < at[0] < box[2] + reach and box[1] - reach < at[1] < box[3] + reach
