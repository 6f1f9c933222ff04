"""All views of a report, as files in one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.text import report_text
from pipeline.validate.report import write_report

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.validate.report import Report


def write_views(report: Report, folder: Path) -> None:
    """Write report.json, which is the truth, and what is made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_report(report, folder / "report.json")
    (folder / "report.txt").write_text(report_text(report), encoding="utf-8")
