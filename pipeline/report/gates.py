"""The verdict on a model: what its gates say, those first that did not pass."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.validation.report import Report, Verdict

STYLES = {
    "failed": "bold red",
    "warning": "yellow",
    "inconclusive": "yellow",
    "passed": "green",
    "skipped": "dim",
}
"""Styles of outcomes, in the order of the table."""
FOLDED = ("passed", "skipped")


def verdict_line(report: Report) -> Text:
    """Return e.g. "tiny-1.0-arm64: passed, 3 warnings"."""
    style = "bold green" if report.passed else STYLES["failed"]
    outcome, comma, rest = outcome_text(report).partition(",")
    return Text.assemble((f"{report.name}: ", "bold"), (outcome, style), comma, rest)


def outcome_text(report: Report) -> str:
    """Return e.g. "passed, 3 warnings, 1 inconclusive"."""
    counts = Counter(found.outcome for found in report.verdicts)
    parts = [f"{counts['failed']} gates"] if counts["failed"] > 1 else []
    parts += [f"{count} warning{'s' * (count > 1)}"] if (count := counts["warning"]) else []
    parts += [f"{count} inconclusive"] if (count := counts["inconclusive"]) else []
    return ", ".join(["passed" if report.passed else "FAILED", *parts])


def gates_table(verdicts: Sequence[Verdict]) -> Table:
    """Return a row for each verdict, failed ones first."""
    table = make_table("Gates", "gate", "subject", "outcome", "got", "allowed")
    order = list(STYLES)
    for found in sorted(verdicts, key=lambda found: order.index(found.outcome)):
        outcome = Text(found.outcome, STYLES[found.outcome])
        table.add_row(found.gate, found.subject, outcome, found.got, found.allowed)
    return table


def open_gates(report: Report) -> RenderableType:
    """Return a row for each verdict but the passed and skipped ones, which are a line each."""
    rest = [found for found in report.verdicts if found.outcome not in FOLDED]
    lines = [
        Text.assemble((f"{outcome}: ", STYLES[outcome]), ", ".join(names))
        for outcome in FOLDED
        if (names := _names(report, outcome))
    ]
    return Group(*([gates_table(rest)] if rest else []), *lines)


def _names(report: Report, outcome: str) -> list[str]:
    """Return the gates with an outcome; with their subjects where others have another outcome."""
    subjects: dict[str, list[str]] = {}
    for found in report.verdicts:
        if found.outcome == outcome:
            subjects.setdefault(found.gate, []).append(found.subject)
    mixed = {found.gate for found in report.verdicts if found.outcome != outcome}
    return [f"{gate} ({', '.join(of)})" if gate in mixed else gate for gate, of in subjects.items()]
