"""The command runs in a child, whose crash is a warning and a second try, or one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import os, signal, sys, time
from pathlib import Path

from pipeline.cli.supervise import is_supervised, report_done, supervise
from pipeline.errors import StageError

if not is_supervised():
    try:
        sys.exit(supervise())
    except StageError as error:
        sys.exit(f"one line: {error}")
without = os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0"
Path(sys.argv[2]).write_text(str(os.getpid()))
if sys.argv[1] == "sleep":
    time.sleep(600)
if sys.argv[1] == "always" or (sys.argv[1] == "once" and not without):
    os.kill(os.getpid(), signal.SIGSEGV)
if sys.argv[1] not in ("refuse", "leave"):
    report_done()
sys.exit(3 if sys.argv[1] == "refuse" else 0)
"""


@pytest.fixture
def start(tmp_path):
    (program := tmp_path / "program.py").write_text(PROGRAM)

    def run(what):
        return subprocess.Popen(
            [sys.executable, program, what, tmp_path / "pid"], stderr=subprocess.PIPE, text=True
        )

    return run


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("pass", 0, ""),
        ("refuse", 3, ""),
        ("once", 0, "warning: TensorFlow crashed (SIGSEGV); going on without oneDNN\n"),
    ],
)
def test_the_child_ends_the_command_unless_it_crashed(start, what, code, said):
    process = start(what)
    _, printed = process.communicate(timeout=60)

    assert (process.returncode, printed) == (code, said)


def test_a_crash_either_way_is_an_error_and_not_a_dead_process(start):
    process = start("always")
    _, printed = process.communicate(timeout=60)

    assert process.returncode == 1
    assert printed.splitlines()[-1].startswith("one line: build: the process was killed by SIGSEGV")


def test_an_exit_code_of_0_without_a_result_is_an_error(start):
    process = start("leave")
    _, printed = process.communicate(timeout=60)

    assert process.returncode == 1
    assert printed.startswith("one line: build: the process ended with exit code 0 and without a release;")


def test_a_killed_command_takes_its_child_along(start, tmp_path):
    process = start("sleep")
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 120
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)

    def is_running():
        return subprocess.run(
            ["ps", "-o", "stat=", "-p", pid.read_text()], capture_output=True
        ).stdout.strip()

    while is_running() and not is_running().startswith(b"Z") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running() or is_running().startswith(b"Z")
