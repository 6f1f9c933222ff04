"""Work that crashes, for tests of child processes: these import it by name."""

from __future__ import annotations

import os
import signal


def crash_with_onednn(text, *, out):
    """Leave files behind and crash, unless oneDNN is off."""
    left = sorted(path.name for path in out.iterdir())
    (out / "half").mkdir()
    (out / "half" / "written").write_text(text)
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0":
        os.kill(os.getpid(), signal.SIGSEGV)
    return left


def crash(*, out):
    os.kill(os.getpid(), signal.SIGABRT)


def onednn(*, out):
    return os.environ.get("TF_ENABLE_ONEDNN_OPTS")


def process(*, out):
    return os.getpid()
