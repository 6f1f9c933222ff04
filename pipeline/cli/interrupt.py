"""Ctrl-C, from the first instruction on; imported before anything else of the command.

Until ``main`` runs, nothing has been started that would need tidying up, and a KeyboardInterrupt during an
import may be lost or become another error. So the process ends at once, with the right code.
"""

from __future__ import annotations

import os
import signal
import sys

MESSAGE = "pipeline: interrupted; run the same command again to continue"
_EXIT_CODE = 130
_AGAIN_S = 0.02

_heard = False


def _end_at_once(*_: object) -> None:
    os.write(2, f"{MESSAGE}\n".encode())
    os._exit(_EXIT_CODE)


# Only in the command itself, and before the imports below, which take a good part of its start.
if sys.argv and sys.argv[0].rpartition("/")[2] == "pipeline":
    signal.signal(signal.SIGINT, _end_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

import threading  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def was_heard() -> bool:
    """Return whether Ctrl-C was pressed since ``main`` began: an error after it may come of it."""
    return _heard


def _raise(*_: object) -> None:
    global _heard
    _heard = True
    raise KeyboardInterrupt


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """Raise what was lost: an error in a callback from C, or in a destructor, goes no further."""
    global _heard
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    _heard = False
    main = threading.main_thread().ident
    again = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, signal.SIGINT))  # the callback is over then
    again.daemon = True
    again.start()


@contextmanager
def raising() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C inside the block, in the main thread."""
    global _heard
    _heard = False
    try:
        before = signal.signal(signal.SIGINT, _raise)
    except ValueError:  # not the main thread, which does not hear it
        yield
        return
    hook, sys.unraisablehook = sys.unraisablehook, _raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)
