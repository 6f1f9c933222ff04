"""A report's verdicts as JUnit XML, which CI servers show."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pipeline.flatbuffer import printable

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.validation.report import Report, Verdict


def write_junit(report: Report, path: Path) -> None:
    """Write one suite with a test case for each verdict.

    A failed gate is a failure, a skipped one is skipped. JUnit has no word for a warning nor
    for an inconclusive gate: those pass, and are named in the suite's properties and in the case's output.
    """
    ET.indent(root := _suites(report))
    path.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _suites(report: Report) -> ET.Element:
    outcomes = Counter(verdict.outcome for verdict in report.verdicts)
    counts = {
        "tests": str(len(report.verdicts)),
        "failures": str(outcomes["failed"]),
        "errors": "0",
        "skipped": str(outcomes["skipped"]),
        "time": "0.000",
    }
    name, when = printable(report.name), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    root = ET.Element("testsuites", {"name": name, **counts})
    suite = ET.SubElement(
        root, "testsuite", {"name": name, **counts, "timestamp": when, "hostname": "localhost"}
    )
    properties = ET.SubElement(suite, "properties")
    facts = {
        "target": report.target,
        "format": report.format,
        "sha256": report.quantized.sha256,
        **report.tools,
        **{
            f"{verdict.outcome}: {verdict}": verdict.got
            for verdict in report.verdicts
            if verdict.outcome in {"warning", "inconclusive"}
        },
    }
    for key, value in facts.items():
        ET.SubElement(properties, "property", name=printable(key), value=printable(value))
    for verdict in report.verdicts:
        suite.append(_case(verdict, name))
    return root


def _case(verdict: Verdict, suite: str) -> ET.Element:
    details = printable(f"got {verdict.got}, allowed {verdict.allowed}")
    case = ET.Element("testcase", classname=suite, name=printable(str(verdict)), time="0.000")
    if verdict.outcome == "failed":
        ET.SubElement(case, "failure", message=details, type="gate").text = details
    elif verdict.outcome == "skipped":
        ET.SubElement(case, "skipped", message=details)
    ET.SubElement(case, "system-out").text = f"{verdict.outcome}: {details}"
    return case
