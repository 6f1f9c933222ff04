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
import time

import click

from deploy.keys import withheld
from pipeline.cli.interrupt import PARENT, supervisor
from pipeline.errors import INTERRUPTED_EXIT_CODE, StageError

HEARD_S = 10.0
"""Seconds that the child has to tidy up after Ctrl-C."""

DONE = "EDGE_PIPELINE_DONE"
"""The file descriptor to which the child reports that the command has a result."""

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_WITHOUT_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}


def is_supervised() -> bool:
    """Whether this is the child, which dies with its parent.

    A program that calls the command with arguments of its own is left alone: it cannot be started again.
    """
    if sys.orig_argv[-len(sys.argv[1:]) :] != sys.argv[1:]:
        return True
    return supervisor() is not None


def report_done() -> None:
    """Tell the parent that the command has its result: an exit code of 0 alone does not say that."""
    descriptor = os.environ.pop(DONE, "")
    if descriptor:
        sys.stdout.flush()
        os.write(int(descriptor), b"done")


def supervise() -> int:
    """Run this very command in a child, and without oneDNN if that crashes; returns the exit code.

    Raises:
        StageError: it crashes either way, or ends without a result.
    """
    ended = _run({})
    if -ended in _CRASHES:
        click.echo(f"warning: TensorFlow crashed ({_name(ended)}); going on without oneDNN", err=True)
        ended = _run(_WITHOUT_ONEDNN)
    if ended == INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt  # this process says so, and the child does not
    if ended < 0:
        stage, cause = "build", f"the process was killed by {_name(ended)}"
        raise StageError(stage, cause, "report this model")
    return ended


def _name(ended: int) -> str:
    return signal.Signals(-ended).name


def _run(settings: dict[str, str]) -> int:
    done, theirs = os.pipe()
    # Deaf while its interpreter starts, where Ctrl-C is a traceback; ``interrupt.py`` ends that.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env={**os.environ, **withheld(), PARENT: str(os.getpid()), DONE: str(theirs), **settings},
        pass_fds=(theirs,),
    )
    os.close(theirs)
    try:
        ended = _wait(child, heard)
        os.set_blocking(done, False)
        try:
            has_result = os.read(done, 4) == b"done"
        except BlockingIOError:  # held open by a process that the child left
            has_result = False
    finally:
        os.close(done)
    if ended == 0 and not has_result:
        stage, cause = "build", "the process ended with exit code 0 and without a release"
        raise StageError(stage, cause, "look for code that ends the process, then build again")
    return ended


def _wait(child: subprocess.Popen[bytes], heard: set[int | signal.Signals]) -> int:
    """Wait for the child; Ctrl-C is passed on once, and a second one ends it at once.

    Args:
        heard: the signal mask to have from here on.
    """
    interrupted_at = None
    while True:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
            left = None if interrupted_at is None else max(0.0, interrupted_at + HEARD_S - time.monotonic())
            ended = child.wait(left)
        except (KeyboardInterrupt, subprocess.TimeoutExpired) as error:
            if interrupted_at is not None or isinstance(error, subprocess.TimeoutExpired):
                child.kill()
                child.wait()
                return INTERRUPTED_EXIT_CODE
            interrupted_at = time.monotonic()
            child.send_signal(signal.SIGINT)  # ignored where a terminal has sent it already
        else:
            return ended if interrupted_at is None else INTERRUPTED_EXIT_CODE
