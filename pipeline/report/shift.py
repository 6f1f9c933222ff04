"""The shift suite for people: verdicts, and shift by severity in colour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.validation.excess import Excess
    from pipeline.validation.shift_results import SeverityResult, ShiftReport, ShiftResult

STYLES = {
    "int8 loses more": "bold red",
    "int8 loses less": "green",
    "as float does": "green",
    "inconclusive": "yellow",
    "skipped": "dim",
}
HEAT = ((-4.0, "white on red"), (-2.0, "red"), (-1.0, "yellow"), (1.0, ""), (math.inf, "green"))
"""Styles of an excess up to so many points."""


def shift_summary(report: ShiftReport) -> Table:
    """Return the part for the terminal: counts of verdicts, and the shifts under which int8 loses more."""
    table = make_table(f"Distribution shift, {report.samples:,} samples", "verdict", "shifts", numbers=1)
    for verdict, style in STYLES.items():
        count = sum(shift.verdict == verdict for shift in report.shifts)
        if count:
            table.add_row(Text(verdict, style), str(count))
    for shift in report.losing:
        table.add_row(f"  {shift_name(shift)}: {_excess(shift.pooled)} points beyond its clean loss", "")
    return table


def shift_details(report: ShiftReport) -> Iterator[RenderableType]:
    """Return the part for the report: every shift, excess by severity, and omitted shifts."""
    if report.shifts:
        yield _shifts(report)
    heat = [shift for shift in report.shifts if len(shift.severities) > 1]
    if heat:
        yield _heat(heat)
    lines = [f"{shift_name(shift)}: {shift.note}" for shift in report.shifts if shift.note]
    lines += [
        f"{shift_name(shift)}, severity {level.severity}: {level.note}"
        for shift in report.shifts
        for level in shift.severities
        if level.note
    ]
    lines += [f"left out: {line}" for line in report.left_out]
    if lines:
        yield Text("shift notes:\n" + "\n".join(f"  {line}" for line in lines))


def _shifts(report: ShiftReport) -> Table:
    title = f"Distribution shift: points beyond the clean difference, of {report.tests} verdicts together"
    columns = ("shift", "verdict", "samples", "float", "int8", "int8 - float", "excess [95 % interval]")
    table = make_table(title, *columns, numbers=5)
    for shift in report.shifts:
        verdict = Text(shift.verdict, STYLES[shift.verdict])
        found = shift.pooled
        if found is None:
            table.add_row(shift_name(shift), verdict, f"{shift.samples:,}", "", "", "", "")
            continue
        table.add_row(
            shift_name(shift),
            verdict,
            f"{shift.samples:,}",
            f"{found.baseline:.2f}%",
            f"{found.quantized:.2f}%",
            f"{found.difference:+.2f}",
            _excess(found),
        )
    return table


def _heat(shifts: Sequence[ShiftResult]) -> Table:
    """Excess of every shift by severity."""
    levels = sorted({level.severity for shift in shifts for level in shift.severities})
    columns = (*(f"severity {level}" for level in levels), "all")
    title = "Excess by severity, points; (in brackets: the float model itself fails)"
    table = make_table(title, "shift", *columns, numbers=len(columns))
    for shift in shifts:
        by_level = {level.severity: level for level in shift.severities}
        cells = [_severity(by_level.get(level)) for level in levels]
        table.add_row(shift_name(shift), *cells, _coloured(shift.pooled))
    return table


def _severity(found: SeverityResult | None) -> Text:
    if found is None:
        return Text("")
    return _coloured(found.found) if found.informative else Text(f"({found.found.excess:+.2f})", "dim")


def _coloured(found: Excess | None) -> Text:
    if found is None:
        return Text("")
    style = next(style for most, style in HEAT if found.excess <= most)
    return Text(f"{found.excess:+.2f}", style)


def _excess(found: Excess | None) -> str:
    if found is None:
        return ""
    return f"{found.excess:+.2f} [{found.excess_low:+.2f}, {found.excess_high:+.2f}]"


def shift_name(shift: ShiftResult) -> str:
    """Return what a shift is called, with its output if there are several."""
    # Classes and sources have names of the user's: only ours are written in words.
    name = shift.name.replace("_", " ") if shift.source == "corruption" else shift.name
    return f"{shift.output}: {name}" if shift.output else name
