"""A build beside processes that keep every core busy ends as it does on an idle machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.xdist_group("tiny build")

COMPILING = ("load_", "prepare_", "convert_", "check_", "choose_", "prune_", "train_", "describe")
"""Names of the stages that make the model; all others measure, judge and release it."""


@pytest.fixture
def busy_machine():
    """A process for each core that never rests."""
    running = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]
    yield
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("busy_machine")
def test_a_build_on_a_busy_machine_ends_in_the_same_release(built, build, tiny, tmp_path):
    copy = tmp_path / "build"
    (copy / "store").mkdir(parents=True)
    for step in (built.out / "store").glob("*-*"):
        if step.name.startswith(COMPILING):
            shutil.copytree(step, copy / "store" / step.name)

    again = build(copy, cwd=tiny)

    ran = {
        step["stage"] for step in json.loads((copy / "run.json").read_text())["steps"] if not step["cached"]
    }
    assert {"run_golden_set", "compare_latency", "judge", "release"} <= ran
    assert not [stage for stage in ran if stage.startswith(COMPILING)]
    assert again.result["reproducible_digest"] == built.result["reproducible_digest"]
    assert not [row for row in again.result["report"]["verdicts"] if row["outcome"] == "failed"]
