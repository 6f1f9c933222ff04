"""All views of a report, as files in one folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.report.html import write_html
from pipeline.report.junit import write_junit
from pipeline.report.text import report_text
from pipeline.validation.report import write_report

if TYPE_CHECKING:
    from pipeline.validation.report import Report


def write_views(report: Report, folder: Path) -> None:
    """Write report.json, which is the truth, and what is made of it: all of them, or none.

    Raises:
        OSError: they cannot be written; files of these names that were there before are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=folder) as private:
        made = Path(private)
        write_report(report, made / "report.json")
        (made / "report.txt").write_text(report_text(report), encoding="utf-8")
        write_html(report, made / "report.html")
        write_junit(report, made / "junit.xml")
        for file in sorted(made.iterdir()):
            file.replace(folder / file.name)
