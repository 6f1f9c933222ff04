"""Run a function in a child process, so that a crash there is an error here."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import PipelineError, StageError, StageTimeoutError
from pipeline.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(stage: str, function: Callable[..., T], *arguments: Any, timeout_s: float) -> T:
    """Call ``function(*arguments)`` in a fresh process and return what it returned.

    Args:
        stage: what to call the work in an error.
        function: importable by name; its arguments and result are pickled.
        timeout_s: seconds until the child is killed.

    Raises:
        PipelineError: raised by ``function`` itself.
        StageError: the child raised another error, was killed by a signal, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="edge-sandbox-") as scratch:
        log = Path(scratch) / "log"
        log.touch()
        try:
            with track(stage):
                return _run(stage, function, arguments, timeout_s, scratch)
        except StageError as error:
            error.add_note(log.read_text(encoding="utf-8", errors="replace"))  # for --debug
            raise


def _run(
    stage: str, function: Callable[..., T], arguments: tuple[Any, ...], timeout_s: float, scratch: str
) -> T:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, function, arguments, scratch), daemon=True)
    # The parent hears Ctrl-C and kills the child, which is deaf to it from its first instruction on.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    theirs.close()
    try:
        if not ours.poll(timeout_s):
            raise StageTimeoutError(
                stage, f"no result after {timeout_s:.0f} s", "allow more time, or use a smaller model"
            )
        outcome, value = ours.recv()
    except EOFError:
        child.join()
        raise StageError(
            stage,
            _ending(child.exitcode),
            "this model crashes it: run again with --debug for what it printed",
        ) from None
    finally:
        child.kill()
        child.join()
        ours.close()
    if outcome == "returned":
        result: T = value
        return result
    if isinstance(value, PipelineError):
        raise value
    raise StageError(stage, str(value), "run again with --debug for the traceback")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"the child process was killed by {signal.Signals(-exit_code).name}"
    return f"the child process ended with exit code {exit_code}"


def _child(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], scratch: str) -> None:
    os.environ["TMPDIR"] = tempfile.tempdir = scratch  # what a killed child leaves goes with it
    # Native code prints a lot, which matters only when it fails.
    with (Path(scratch) / "log").open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pipe.send(("returned", function(*arguments)))
    except PipelineError as error:
        pipe.send(("raised", error))
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines()
        pipe.send(("raised", f"{type(error).__name__}: {lines[0] if lines else 'no message'}"))
