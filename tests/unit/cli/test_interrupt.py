"""Ctrl-C at any moment: 130, one line, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from progress_lines import without_progress

COMMAND = Path(sys.executable).with_name("pipeline")
# A command that has been heard of in the tenth of a second: the interpreter's own start is not ours.
READY = "import sys; sys.argv = ['pipeline', *sys.argv[1:]]; from pipeline.cli import interrupt; import os; "
READY += "os.write(1, b'ready'); from pipeline.cli import main; main()"
MESSAGE = "pipeline: interrupted; run the same command again to continue"


@pytest.fixture
def start(tmp_path):
    """Start the command and wait until its first instruction has run."""

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", READY, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert os.read(process.stdout.fileno(), 5) == b"ready"
        return process

    return run


def interrupted(process, *, group):
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    return process.returncode, printed.decode()


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("group", [True, False], ids=["from a terminal", "from kill"])
def test_a_build_that_is_interrupted_early_ends_with_130_and_one_line(start, delay, group):
    process = start("build", "--target", "host")
    time.sleep(delay)

    code, printed = interrupted(process, group=group)
    assert (code, without_progress(printed)) == (130, [MESSAGE])
    assert printed.endswith(MESSAGE + "\n")


def test_an_error_that_comes_of_ctrl_c_is_no_error(pipeline, monkeypatch):
    import pipeline.cli.doctor as doctor_command

    def fail(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy.core failed to import") from None

    monkeypatch.setattr(doctor_command.doctor, "callback", fail)
    ended = pipeline("doctor")

    assert (ended.code, ended.message) == (130, MESSAGE)


def test_ctrl_c_in_a_callback_that_cannot_raise_ends_the_command_after_it(pipeline, monkeypatch, capfd):
    import pipeline.cli.doctor as doctor_command

    class Collected:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def collect(*_, **__):
        Collected()
        time.sleep(60)

    monkeypatch.setattr(doctor_command.doctor, "callback", collect)
    ended = pipeline("doctor")

    assert (ended.code, ended.message) == (130, MESSAGE)
    assert "Exception ignored" not in capfd.readouterr().err


def test_ctrl_c_while_arguments_are_read_leaves_no_empty_line(pipeline, monkeypatch):
    import click

    def read(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(click.Group, "parse_args", read)
    ended = pipeline("doctor")

    assert (ended.code, ended.err) == (130, f"{MESSAGE}\n")
