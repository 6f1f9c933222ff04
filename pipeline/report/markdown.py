"""A report, or several, as Markdown for a pull request or the summary of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.flatbuffer import printable
from pipeline.report.history import HEADINGS, names_of, rows
from pipeline.report.html import OUTCOMES
from pipeline.validation.gates.quality import change

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.report.history import Entry
    from pipeline.validation.report import Report, Verdict

ESCAPES = {ord(character): f"&#{ord(character)};" for character in "\\|*_`[]<>@#&"}


def report_markdown(report: Report) -> str:
    """Return the verdict, the gates that did not pass, and the figures of float and int8."""
    outcome = "passed" if report.passed else "FAILED"
    counts = [(each, sum(v.outcome == each for v in report.verdicts)) for each in OUTCOMES]
    words = ", ".join(f"{count} {each}" for each, count in counts if count)
    parts = [f"### {escaped(report.name)}: {outcome}", f"Gates: {words}." if words else ""]
    shown = [v for each in OUTCOMES if each != "passed" for v in report.verdicts if v.outcome == each]
    if shown:
        parts.append(_gates(shown))
    parts.append(_figures(report))
    passed = [v for v in report.verdicts if v.outcome == "passed"]
    if passed:
        folded = f"<details><summary>Gates that passed: {len(passed)}</summary>"
        parts.append(f"{folded}\n\n{_gates(passed)}\n\n</details>")
    if report.recipe:
        parts.append(f"Recipe: {escaped(report.recipe)}. Instructions are those of emulated cores.")
    return "\n\n".join(filter(None, parts)) + "\n"


def history_markdown(entries: Sequence[Entry]) -> str:
    """Return a table of builds, the oldest first, with the changes from one to the next."""
    names = names_of(entries)
    return _table([*HEADINGS, *names], rows(entries, names), numbers=len(names)) + "\n"


def _gates(verdicts: Iterable[Verdict]) -> str:
    cells = ([v.outcome, str(v), v.got, v.allowed] for v in verdicts)
    return _table(["outcome", "gate", "got", "allowed"], cells)


def _figures(report: Report) -> str:
    base, ours = report.baseline, report.quantized
    lines = []
    for found in report.accuracy:
        metric = found.primary
        name = f"{found.output}: {metric.name}" if found.output else metric.name
        lines.append([name, f"{metric.baseline:.2f}", f"{metric.quantized:.2f}", change(metric)])
    sizes: list[tuple[str, int | None, int]] = [
        ("file, bytes", base.size_bytes if base else None, ours.size_bytes),
        ("download, bytes", base.compressed_bytes if base else None, ours.compressed_bytes),
    ]
    for each in report.devices:
        if each.quantized is not None:
            before = each.baseline.instructions if each.baseline else None
            sizes.append((f"{each.device} instructions", before, each.quantized.instructions))
    lines += [
        [
            name,
            f"{before:,}" if before else "",
            f"{after:,}",
            f"{100 * (after / before - 1):+.1f} %" if before else "",
        ]
        for name, before, after in sizes
    ]
    return _table(["", "float", report.format, "change"], lines, numbers=3)


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table whose last ``numbers`` columns are right-aligned."""
    rule = ["---"] * (len(headings) - numbers) + ["--:"] * numbers
    cells = [list(map(escaped, headings)), rule, *(list(map(escaped, line)) for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def escaped(text: str) -> str:
    """Return a text in one line that Markdown and HTML show as it is."""
    return printable(" ".join(text.split())).translate(ESCAPES)
