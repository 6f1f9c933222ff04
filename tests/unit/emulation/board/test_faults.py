"""What the board's attempts are called, and the steps of the search for memory."""

from __future__ import annotations

import json

from pipeline.emulation.board.faults import _limits, _stepped
from pipeline.emulation.board.machine import JobRun


def _result(sha256: str) -> bytes:
    return json.dumps({"soak": {"output_sha256": sha256}}).encode()


def _run(**outputs: str) -> JobRun:
    attempts = "killed 137 0\nmemory-8 137 1\nmemory-24 137 0\nmemory-28 0 0\n"
    results = {f"{name.replace('_', '-')}.json": _result(sha256) for name, sha256 in outputs.items()}
    return JobRun("ended", 0, "", {"attempts": attempts.encode(), **results})


def test_each_attempt_says_what_ended_it():
    search, restart = _limits(_run(restarted="a", memory_28="a"), "a", "board")
    assert search.min_mib == 28
    assert [step.outcome.split(":")[0] for step in search.steps] == [
        "killed by the kernel for memory",
        "did not end in 6 times the time",
        "ran to the end, outputs the same",
    ]
    assert restart.passed


def test_other_outputs_after_a_restart_or_in_little_memory_are_no_success():
    search, restart = _limits(_run(restarted="b", memory_28="b"), "a", "board")
    assert not restart.passed
    assert not search.steps[-1].passed
    assert "DIFFER" in search.steps[-1].outcome


def test_an_attempt_lies_between_the_bounds():
    assert _stepped(94, 56, 512) == 96
    assert _stepped(10, 56, 512) == 64
    assert _stepped(9999, 56, 512) == 511
