"""Run the command in a child process: TensorFlow's kernels may end the process that trains.

Measured with TensorFlow 2.21: oneDNN's convolutions corrupt memory in the training of some networks (of a
small Xception with 64x64 input for one), and SIGSEGV or SIGABRT ends the process. The same training is right
without oneDNN, at up to twice the time, and goes on at the stage that was lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import click

from pipeline.errors import StageError
from pipeline.sandbox import die_with_parent

HEARD_S = 10.0
GUARD = "EDGE_PIPELINE_SUPERVISED"
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_WITHOUT_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}


def is_supervised() -> bool:
    """Whether this is the child; from then on it dies with its parent.

    A program that calls the command with arguments of its own is left alone: it cannot be started again.
    """
    if sys.orig_argv[-len(sys.argv[1:]) :] != sys.argv[1:]:
        return True
    if GUARD not in os.environ:
        return False
    die_with_parent()
    return True


def supervise() -> int:
    """Run this very command in a child, and without oneDNN if that crashes; returns the exit code.

    Raises:
        StageError: it crashes either way.
    """
    ended = _run({})
    if -ended in _CRASHES:
        click.echo(f"warning: TensorFlow crashed ({_name(ended)}); going on without oneDNN", err=True)
        ended = _run(_WITHOUT_ONEDNN)
    if ended < 0:
        stage, cause = "build", f"the process was killed by {_name(ended)}"
        raise StageError(stage, cause, "report this model")
    return ended


def _name(ended: int) -> str:
    return signal.Signals(-ended).name


def _run(settings: dict[str, str]) -> int:
    environment = {**os.environ, GUARD: "1", **settings}
    child = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            # From a terminal the child hears it too; a second one would break into its tidying up.
            with suppress(subprocess.TimeoutExpired):
                return child.wait(HEARD_S)
            child.send_signal(signal.SIGINT)
