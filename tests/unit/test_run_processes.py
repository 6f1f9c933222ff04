"""Builds in several processes with one store: a step is done once, and a killed build holds nobody up."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest

STAGE = """
import os, signal, sys, time
from pathlib import Path
from pipeline.artifacts import Artifact, Source
from pipeline.events import listening
from pipeline.run import Run
from pipeline.store import Store

def slow(source: Source, *, out: Path) -> Artifact:
    with open(sys.argv[3], "a") as log:
        log.write("ran\\n")
    (out / "a").write_text("a")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while sys.argv[2] == "hang":
        time.sleep(0.01)
    while sys.argv[2] == "wait" and "waiting" not in Path(sys.argv[3]).read_text():
        time.sleep(0.01)
    (out / "b").write_text("b")
    return Artifact()

def write(record):
    if record.event.kind == "finding" and "waiting" in record.event.text:
        with open(sys.argv[3], "a") as log:
            log.write(f"{record.event.text}\\n")

if __name__ == "__main__":
    root = Path(sys.argv[1])
    with listening(write):
        print(Run(root, Store(root / "store")).step(slow, Source(location="x", digest="x")).digest)
"""


@pytest.fixture
def start(analysed, tmp_path):
    """Start a program whose one stage takes part in a build; it logs into ``tmp_path/log``."""
    (program := tmp_path / "stage.py").write_text(STAGE)

    def begin(root, mode):
        (root / "store").mkdir(parents=True, exist_ok=True)
        shutil.copy(analysed, root / "store")
        command = [sys.executable, program, root, mode, tmp_path / "log"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return begin


def test_of_two_processes_with_one_key_the_second_says_that_it_waits_and_takes_the_result(start, tmp_path):
    builds = [start(tmp_path / "out", "wait") for _ in range(2)]
    digests = [build.communicate(timeout=120)[0] for build in builds]

    assert [build.returncode for build in builds] == [0, 0]
    assert digests[0] == digests[1] != ""
    assert (tmp_path / "log").read_text().splitlines() == [
        "ran",
        "slow: another build is running this stage; waiting for its result",
    ]
    [step] = [path for path in (tmp_path / "out/store").iterdir() if path.is_dir()]
    assert sorted(path.name for path in step.iterdir()) == ["a", "artifact.json", "b"]


def test_a_build_killed_within_a_stage_is_taken_up_with_the_same_result(start, tmp_path):
    killed = start(tmp_path / "out", "die")
    killed.communicate(timeout=60)
    resumed, _ = start(tmp_path / "out", "go").communicate(timeout=60)
    undisturbed, _ = start(tmp_path / "other", "go").communicate(timeout=60)

    assert killed.returncode == -9
    assert resumed == undisturbed != ""
    assert [path.name for path in (tmp_path / "out/store").glob(".*")] == []


def test_a_waiting_build_takes_over_from_a_killed_one(start, tmp_path):
    holder = start(tmp_path / "out", "hang")
    while not (tmp_path / "log").exists():
        assert holder.poll() is None
        time.sleep(0.01)
    waiting = start(tmp_path / "out", "go")
    while "waiting" not in (tmp_path / "log").read_text():
        assert waiting.poll() is None
        time.sleep(0.01)
    holder.kill()
    holder.communicate(timeout=60)

    assert waiting.communicate(timeout=60)[0] != ""
    assert waiting.returncode == 0
