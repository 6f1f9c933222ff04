"""A build beside processes that keep every core busy ends as it does on an idle machine."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest

BENCHMARK = runpy.run_path(Path(__file__).parents[2] / "benchmarks" / "busy.py")

pytestmark = pytest.mark.xdist_group("tiny build")


@pytest.fixture
def busy_machine():
    """A process for each core that never rests."""
    with BENCHMARK["busy"](os.cpu_count() or 1):
        yield


@pytest.mark.usefixtures("busy_machine")
def test_a_build_on_a_busy_machine_ends_in_the_same_release(built, build, tiny, tmp_path):
    copy = tmp_path / "build"
    BENCHMARK["without_measurements"](built.out, copy)

    again = build(copy, cwd=tiny)

    ran = {
        step["stage"] for step in json.loads((copy / "run.json").read_text())["steps"] if not step["cached"]
    }
    assert {"run_golden_set", "compare_latency", "judge", "release"} <= ran
    assert not [stage for stage in ran if stage.startswith(BENCHMARK["COMPILING"])]
    assert again.result["reproducible_digest"] == built.result["reproducible_digest"]
    assert not [row for row in again.result["report"]["verdicts"] if row["outcome"] == "failed"]
