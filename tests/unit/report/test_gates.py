"""The verdict: what did not pass comes first, and what passed is one line."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from pipeline.report.gates import outcome_text, verdict_line
from pipeline.report.text import report_parts, report_text
from pipeline.terminal import Terminal
from pipeline.validation.report import Verdict


def verdict(gate, outcome, subject=""):
    return Verdict(gate=gate, subject=subject, outcome=outcome, got=f"got {gate}", allowed="all")


PASSED = (
    verdict("size", "passed"),
    verdict("bit-exactness", "passed", "rpi4"),
    verdict("bit-exactness", "passed", "rpi5"),
    verdict("instructions", "passed", "rpi5"),
    verdict("instructions", "warning", "rpi4"),
    verdict("latency", "inconclusive"),
    verdict("shift", "skipped"),
)


def shown(report, width=80, **options):
    stream = io.StringIO()
    terminal = Terminal(file=stream, width=width, color_system=None, highlight=False, markup=False)
    for part in report_parts(report, **options):
        terminal.print(part)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (PASSED[:1], "passed"),
        (PASSED, "passed, 1 warning, 1 inconclusive"),
        (
            (*PASSED, verdict("faults", "warning"), verdict("parity", "failed")),
            "FAILED, 2 warnings, 1 inconclusive",
        ),
        ((verdict("faults", "failed"), verdict("parity", "failed")), "FAILED, 2 gates"),
    ],
)
def test_the_verdict_counts_what_did_not_pass(verdicts, said, report):
    judged = replace(report, verdicts=verdicts)

    assert outcome_text(judged) == said
    assert verdict_line(judged).plain == f"{report.name}: {said}"


def test_a_terminal_sees_what_did_not_pass_and_the_rest_in_a_line(report):
    judged = replace(report, verdicts=(*PASSED, verdict("xnnpack", "failed")))
    lines = shown(judged, full=False).splitlines()
    gates = [line.split()[0] for line in lines[lines.index("Gates") + 2 :][:3]]

    assert lines[0] == f"{report.name}: FAILED, 1 warning, 1 inconclusive"
    assert gates == ["xnnpack", "instructions", "latency"]
    assert "passed: size, bit-exactness, instructions (rpi5)" in lines
    assert "skipped: shift" in lines
    assert "got size" not in "\n".join(lines)


def test_what_was_chosen_comes_with_its_evidence(report):
    noted = replace(report, notes=("task: binary (one sigmoid output)",), recipe="weights50-qat8")
    lines = shown(noted, full=False).splitlines()
    chosen = lines[lines.index("Chosen") :]

    assert chosen[1].split(maxsplit=1) == ["task", "binary (one sigmoid output)"]
    assert any(line.split() == ["recipe", "weights50-qat8"] for line in chosen)


def test_all_of_the_report_is_shown_on_request_failed_gates_first(report):
    judged = replace(report, verdicts=(*PASSED, verdict("xnnpack", "failed")))
    text, brief = shown(judged, full=True), shown(judged, full=False)

    assert "Nodes and where they run" in text
    assert "Nodes and where they run" not in brief
    assert text.index("xnnpack  ") < text.index("got size")
    assert report_text(judged).index("xnnpack  ") < report_text(judged).index("got size")


def test_no_line_for_a_file_ends_with_spaces(report):
    text = shown(replace(report, verdicts=PASSED), full=True)

    assert [line for line in text.splitlines() if line != line.rstrip()] == []
