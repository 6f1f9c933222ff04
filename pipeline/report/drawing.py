"""Where values are in a drawing, in CSS pixels; templates write them as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipeline.report.plan import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_TICKS = 6
LOG_FROM = 10.0
"""An axis is logarithmic if its largest value is so many times its smallest."""
STEPS = ((1, 2, 5), (1, 3), (1,))
"""Leading digits of the ticks of a logarithmic axis; the first that give few enough ticks are taken."""


class Tick(NamedTuple):
    """A place on an axis and what is written there."""

    place: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values, from ``low`` to ``high``, that is drawn from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float, *, may_be_log: bool = False) -> Axis:
        """Return an axis with some room around the values; at least one."""
        values = tuple(values)
        low, high = min(values), max(values)
        if may_be_log and low > 0 and high / low > LOG_FROM:
            room = (high / low) ** 0.06
            return cls(low=low / room, high=high * room, start=start, end=end, is_log=True)
        room = 0.08 * (high - low) or max(abs(high) * 0.01, 0.5)
        return cls(low=low - room, high=high + room, start=start, end=end)

    def place(self, value: float) -> float:
        """Return where a value is; ``start`` if the range is empty."""
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = (math.log(each) for each in (max(value, low), low, high))
        return round(self.start + (self.end - self.start) * (value - low) / ((high - low) or 1), 1)

    def ticks(self, *, is_count: bool = False) -> tuple[Tick, ...]:
        """Return round values with their places.

        Args:
            is_count: whether values are written like "33.2k".
        """
        values = _log_ticks(self.low, self.high) if self.is_log else ()
        if len(values) < 2:
            values = linear_ticks(self.low, self.high)
        digits = max(-math.floor(math.log10(values[1] - values[0])), 0)
        texts = [_count(value) if is_count else f"{value:.{digits}f}" for value in values]
        return tuple(Tick(self.place(value), text) for value, text in zip(values, texts, strict=True))


@dataclass(frozen=True)
class Frame:
    """The size of a drawing, and between which places its values are."""

    width: int
    height: int
    left: int
    right: int
    top: int
    base: int

    @classmethod
    def within(cls, width: int, height: int, margin: int) -> Frame:
        """Return that of a small drawing without labels."""
        return cls(width, height, left=margin, right=width - margin, top=margin, base=height - margin)

    def x(self, low: float, high: float) -> Axis:
        return Axis(low=low, high=high, start=self.left, end=self.right)

    def y(self, low: float, high: float) -> Axis:
        return Axis(low=low, high=high, start=self.base, end=self.top)

    def around(
        self, across: Iterable[float], up: Iterable[float], *, may_be_log: bool = False
    ) -> tuple[Axis, Axis]:
        """Return axes with some room around values; at least one for each.

        Args:
            may_be_log: whether the horizontal axis is logarithmic if its values are far apart.
        """
        x = Axis.around(across, self.left, self.right, may_be_log=may_be_log)
        return x, Axis.around(up, self.base, self.top)

    def line(self, values: Sequence[float], low: float, high: float) -> str:
        """Return the points of a line through values at equal distances, ``low`` at the bottom."""
        x, y = self.x(0, len(values) - 1), self.y(low, high)
        return points((x.place(at), y.place(value)) for at, value in enumerate(values))

    def steps(self, counts: Sequence[int], most: int) -> str:
        """Return the points of a histogram's outline; heights are square roots of counts up to ``most``."""
        x, y = self.x(0, len(counts)), self.y(0, max(most, 1) ** 0.5)
        return points(
            (x.place(at + side), y.place(count**0.5)) for at, count in enumerate(counts) for side in (0, 1)
        )


CHART = Frame(460, 240, left=56, right=444, top=24, base=196)


class Line(NamedTuple):
    """A line of a chart; ``kind`` is its CSS class, ``places`` are its points as SVG writes them."""

    name: str
    kind: str
    places: str


class Dot(NamedTuple):
    """A point of a chart that shows ``title`` when the pointer rests on it."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines with axes, as ``charts.html.j2`` draws them.

    Attributes:
        title: what is drawn.
        unit: of the horizontal axis.
        label: of the vertical axis.
    """

    title: str
    unit: str
    label: str
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    lines: tuple[Line, ...]
    dots: tuple[Dot, ...] = ()
    frame: Frame = CHART

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The name and class of each kind of line."""
        return list(dict.fromkeys((line.name, line.kind) for line in self.lines))


class Series(NamedTuple):
    """Values to draw as a line of a chart: (x, y, words), of which those with words are dots as well."""

    name: str
    kind: str
    values: Sequence[tuple[float, float, str]]


def chart(title: str, unit: str, label: str, series: Sequence[Series], *, may_be_log: bool = False) -> Chart:
    """Return a chart of lines on common axes; at least one value.

    Args:
        may_be_log: whether the horizontal axis is logarithmic if its values are far apart.
    """
    values = [value for each in series for value in each.values]
    x, y = CHART.around([value[0] for value in values], [value[1] for value in values], may_be_log=may_be_log)
    return Chart(
        title=title,
        unit=unit,
        label=label,
        columns=tuple(tick for tick in x.ticks(is_count=x.high >= 1000) if not tick.text.startswith("-")),
        rows=y.ticks(),
        lines=tuple(
            Line(each.name, each.kind, points((x.place(a), y.place(b)) for a, b, _ in each.values))
            for each in series
        ),
        dots=tuple(Dot(x.place(a), y.place(b), words) for a, b, words in values if words),
    )


def points(places: Iterable[tuple[float, float]]) -> str:
    """Return places as the attribute ``points`` of SVG."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def linear_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return at most ``MAX_TICKS`` multiples of 1, 2 or 5 times a power of ten within a range."""
    unit = 10.0 ** math.floor(math.log10((high - low) / MAX_TICKS))
    for multiple in (1, 2, 5, 10, 20):
        step = multiple * unit
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < MAX_TICKS:
            break
    return tuple(step * place for place in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in STEPS:
        candidates = (digit * 10.0**decade for decade in decades for digit in digits)
        values = tuple(value for value in candidates if low <= value <= high)
        if len(values) <= MAX_TICKS:
            break
    return values


def _count(value: float) -> str:
    """Return e.g. "20k": as ``short``, without zeros behind the point."""
    text = short(round(value))
    number, letter = (text[:-1], text[-1]) if text[-1].isalpha() else (text, "")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{letter}"
