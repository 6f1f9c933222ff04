"""Builds beside each other, in the order in which they were judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.report.drawing import Frame, points
from pipeline.report.html import render
from pipeline.report.plan import short
from pipeline.report.tables import make_table
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.table import Table

    from pipeline.validation.report import Report

REPORT = "report.json"
HEADINGS = ("date, UTC", "release", "recipe", "gates")
"""Of the columns before the figures."""
SAME = 0.0005
"""Of a figure: a difference below this is not shown."""
FRAME = Frame.within(width=460, height=120, margin=10)


@dataclass(frozen=True)
class Entry:
    """A build's report, and when it was judged, as an ISO date."""

    report: Report
    date: str

    def figures(self) -> dict[str, float]:
        """Return what is compared by name: the first metric in points, bytes, and instructions by device."""
        report, found = self.report, dict[str, float]()
        if report.accuracy:
            primary = report.accuracy[0].primary
            found[primary.name] = primary.quantized
        found["file, bytes"] = report.quantized.size_bytes
        found["download, bytes"] = report.quantized.compressed_bytes
        for device in report.devices:
            if device.quantized is not None:
                found[f"{device.device} instructions"] = device.quantized.instructions
        return found


@dataclass(frozen=True)
class Trend:
    """A figure over builds: the points of its line, a dot and words for each build, and its range."""

    name: str
    line: str
    dots: tuple[tuple[float, float, str], ...]
    low: str
    high: str


def read_history(paths: Sequence[Path]) -> list[Entry]:
    """Read the reports that files and folders have, oldest first.

    Args:
        paths: a ``report.json``, a folder of a build or of a release, or a folder of such folders. Of copies
            of one report, one is taken.

    Raises:
        InputError: there is no report, or one cannot be read.
    """
    found: dict[bytes, Entry] = {}
    for path in paths:
        files = sorted(path.rglob(REPORT)) if path.is_dir() else [path]
        if not files:
            msg = f"{path}: no {REPORT} in this folder; pass the folder of a build or of a release"
            raise InputError(msg)
        for file in files:
            report = read_report(file)
            found.setdefault(file.read_bytes(), Entry(report, report.created or _written(file)))
    return sorted(found.values(), key=lambda entry: entry.date)


def _written(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")


def rows(entries: Iterable[Entry], names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the cells of each build: its figures, and their change from the build before."""
    before: dict[str, float] = {}
    for entry in entries:
        figures = entry.figures()
        cells = [_cell(name, figures.get(name), before.get(name)) for name in names]
        outcome = "passed" if entry.report.passed else "FAILED"
        yield [day(entry.date), entry.report.name, entry.report.recipe, outcome, *cells]
        before = figures


def names_of(entries: Iterable[Entry]) -> list[str]:
    """Return the names of the figures that any build has."""
    return list(dict.fromkeys(name for entry in entries for name in entry.figures()))


def history_table(entries: Sequence[Entry]) -> Table:
    """Return a row for each build."""
    names = names_of(entries)
    short_names = [name.removesuffix(", bytes").removesuffix(" instructions") for name in names]
    title = "Builds: bytes of files, instructions on emulated devices"
    table = make_table(title, "date", "release", "gates", *short_names, numbers=len(names))
    for column in table.columns:
        column.no_wrap = column.header != "release"
    for date, name, recipe, outcome, *cells in rows(entries, names):
        figures = (cell.replace(" ", "\n", 1) for cell in cells)  # a change below its figure
        table.add_row(date[:10], f"{name}\n{recipe}", outcome, *figures)
    return table


def day(date: str) -> str:
    """Return an ISO date to the minute."""
    return date[:16].replace("T", " ")


def _cell(name: str, value: float | None, before: float | None) -> str:
    if value is None:
        return ""
    is_count = name.endswith(("bytes", "instructions"))
    text = short(round(value)) if is_count else f"{value:.2f}"
    if before is None:
        return text
    if not is_count:
        return text if round(value - before, 2) == 0 else f"{text} ({value - before:+.2f})"
    share = value / max(before, 1) - 1
    return text if abs(share) < SAME else f"{text} ({100 * share:+.{0 if abs(share) >= 1 else 1}f} %)"


def history_html(entries: Sequence[Entry]) -> str:
    """Return a page with a table of all builds and a drawing of each figure."""
    names = names_of(entries)
    return render(
        "history.html.j2",
        headings=[*HEADINGS, *names],
        rows=list(rows(entries, names)),
        trends=[trend for name in names if (trend := _trend(name, entries)) is not None],
        frame=FRAME,
    )


def _trend(name: str, entries: Sequence[Entry]) -> Trend | None:
    """Return the drawing of a figure; None unless two builds have it."""
    values = [
        (place, entry, entry.figures()[name])
        for place, entry in enumerate(entries)
        if name in entry.figures()
    ]
    if len(values) < 2:
        return None
    low, high = min(value for *_, value in values), max(value for *_, value in values)
    x, y = FRAME.x(0, len(entries) - 1), FRAME.y(low, high)
    dots = tuple(
        (x.place(place), y.place(value), f"{day(entry.date)} {entry.report.name}: {_cell(name, value, None)}")
        for place, entry, value in values
    )
    line = points((at, height) for at, height, _ in dots)
    return Trend(name, line, dots, _cell(name, low, None), _cell(name, high, None))
