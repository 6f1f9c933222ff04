"""A function that runs in a child process, and once more without oneDNN if TensorFlow crashes there.

Measured with TensorFlow 2.21: oneDNN's convolutions corrupt memory while some networks are trained (a small
Xception with 64x64 inputs for one), and SIGSEGV or SIGABRT ends the process. The same training is right
without oneDNN, in up to twice the time.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import StageCrashedError
from pipeline.events import Warned, emit
from pipeline.isolation import sandbox
from pipeline.scratch import empty

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_WITHOUT_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}
_settings: dict[str, str] = {}
"""Environment that prevented a crash in this process; later children get it, too."""


def in_child(function: Callable[..., T], stage: str = "") -> Callable[..., T]:
    """Return ``function`` such that each call runs in a child process.

    Args:
        function: importable by name; takes the folder that it writes to as ``out``. Its arguments and its
            result are pickled.
        stage: how errors name the work; default: the function's name.

    Raises:
        StageError: by the returned function, if the child crashes with oneDNN and without.
    """

    @wraps(function)
    def run(*arguments: Any, out: Path, **settings: Any) -> T:
        name, task = stage or function.__name__, (function, arguments, settings | {"out": out})

        def attempt(environment: dict[str, str]) -> T:
            done: T = sandbox.run(name, _call, *task, timeout_s=None, environment=environment)
            return done

        try:
            return attempt(_settings)
        except StageCrashedError as error:
            if _settings:
                raise
            emit(Warned(text=f"TensorFlow crashed ({error.cause}); trying again without oneDNN"))
        empty(out)
        result = attempt(_WITHOUT_ONEDNN)
        _settings.update(_WITHOUT_ONEDNN)
        return result

    return run


def _call(function: Callable[..., T], arguments: tuple[Any, ...], settings: dict[str, Any]) -> T:
    return function(*arguments, **settings)
