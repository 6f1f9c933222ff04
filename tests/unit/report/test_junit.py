"""The verdicts as JUnit XML: what CI servers read in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from pipeline.report.junit import write_junit
from pipeline.validation.report import Verdict


@pytest.fixture
def suite(report, tmp_path):
    """A function that writes verdicts (gate, outcome, got) and returns the suite's element."""

    def write(*rows, name="tiny"):
        verdicts = tuple(
            Verdict(gate=gate, outcome=outcome, got=got, allowed="less") for gate, outcome, got in rows
        )
        path = tmp_path / "junit.xml"
        write_junit(replace(report, name=name, verdicts=verdicts), path)
        return ET.fromstring(path.read_bytes()).find("testsuite")

    return write


def test_every_verdict_is_a_case_and_the_counts_agree(suite):
    found = suite(("size", "passed", "1"), ("accuracy", "failed", "-3"), ("latency", "skipped", "none"))

    assert {key: found.get(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "0.000",
    }
    assert datetime.fromisoformat(found.get("timestamp")) <= datetime.now(UTC).replace(tzinfo=None)
    cases = {case.get("name"): case for case in found.iter("testcase")}
    assert [child.tag for child in cases["size"]] == ["system-out"]
    assert cases["accuracy"].find("failure").get("message") == "got -3, allowed less"
    assert cases["latency"].find("skipped") is not None
    assert all(case.get("time") and case.get("classname") == "tiny" for case in cases.values())


def test_what_neither_passed_nor_failed_is_seen(suite):
    found = suite(("size", "warning", "much"), ("accuracy", "inconclusive", "few samples"))

    properties = {entry.get("name"): entry.get("value") for entry in found.iter("property")}
    assert properties["warning: size"] == "much"
    assert properties["inconclusive: accuracy"] == "few samples"
    assert [case.find("system-out").text for case in found.iter("testcase")] == [
        "warning: got much, allowed less",
        "inconclusive: got few samples, allowed less",
    ]
    assert found.get("failures") == found.get("skipped") == "0"


def test_names_cannot_break_the_document(suite):
    odd = "</testcase>&\x1b[31m\x00\ud800\ufffe"

    found = suite((odd, "failed", odd), name=odd)

    assert len(list(found.iter("testcase"))) == 1
    assert found.find("testcase").get("name") == r"</testcase>&\x1b[31m\x00\ud800\ufffe"


def test_the_order_is_that_of_the_schema(suite):
    found = suite(("size", "failed", "1"))

    assert [child.tag for child in found] == ["properties", "testcase"]
    assert [child.tag for child in found.find("testcase")] == ["failure", "system-out"]
