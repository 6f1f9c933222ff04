"""Every error that leaves the pipeline, and the exit code the command ends with.

::

    PipelineError            1
     ├ ConfigError           2   a bad flag or an unknown key in pipeline.toml
     ├ InputError            3   a bad model, data set or file: what is wrong, where, how to fix it
     ├ ToolchainError        4   a tool or version is missing: the command that fixes it
     ├ DeviceError           5   a device refused, vanished or has the wrong ABI
     ├ IntegrityError        6   bytes, a name or a date are not what was promised; a downgrade
     ├ GateFailed            1   metric, got, allowed
     └ StageError            1   stage, cause, hint
        └ StageTimeoutError  1   the same, after a time-out
    interrupted            130

The leaf packages raise errors of their own; ``LEAF_ERRORS`` says which of the above each becomes.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from calibration.errors import CalibrationError
from deploy.errors import (
    AddressError,
    DeployError,
    MissingToolError,
    RefusedError,
    SignatureError,
    TransportError,
)
from models.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED_EXIT_CODE = 130


class PipelineError(Exception):
    """A failure that is reported in one line; ``exit_code`` is the exit code of the command."""

    exit_code: ClassVar[int] = 1


class ConfigError(PipelineError):
    """A flag or a key in ``pipeline.toml`` that cannot be used.

    Args:
        message: what is wrong, where, and how to fix it.
        key: the key at fault, such as "compress.0.sparsity"; "" if it is not one key.
        excerpt: the line of the settings file at fault with a mark below it; "" if there is none.
    """

    exit_code = 2

    def __init__(self, message: str, *, key: str = "", excerpt: str = "") -> None:
        super().__init__(message)
        self.key, self.excerpt = key, excerpt


class InputError(PipelineError):
    """A model, data set or file that cannot be used."""

    exit_code = 3


class ToolchainError(PipelineError):
    """A tool or version that is missing from the environment."""

    exit_code = 4


class DeviceError(PipelineError):
    """A device that cannot be reached or used."""

    exit_code = 5


class IntegrityError(PipelineError):
    """Bytes that are not the ones that were promised."""

    exit_code = 6


class GateFailed(PipelineError):  # noqa: N818 - a verdict, not a mishap
    """A measured figure that is outside what its gate allows.

    Args:
        message: which gate, what was measured and what is allowed.
        report: the ``Report`` with the verdicts, of the model that a build did not release; else None.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class StageError(PipelineError):
    """A stage that could not finish.

    Args:
        stage: the stage's name.
        cause: what went wrong, in one line.
        hint: what the user can do about it.
    """

    def __init__(self, stage: str, cause: str, hint: str) -> None:
        super().__init__(f"{stage}: {cause}; {hint}")
        self.stage, self.cause, self.hint = stage, cause, hint

    def __reduce__(self) -> tuple[type[StageError], tuple[str, str, str]]:
        return type(self), (self.stage, self.cause, self.hint)


class StageTimeoutError(StageError):
    """A stage that was stopped because it took too long, perhaps on a busy machine."""


class StageKilledError(StageError):
    """A stage whose process got SIGKILL, for example because memory ran out; the model may be fine."""


class StageCrashedError(StageError):
    """A stage whose process was ended by a fault in native code, such as SIGSEGV."""


LEAF_ERRORS: dict[type[Exception], type[PipelineError]] = {
    ModelError: InputError,
    CalibrationError: InputError,
    DeployError: InputError,
    AddressError: ConfigError,
    MissingToolError: ToolchainError,
    SignatureError: IntegrityError,
    TransportError: DeviceError,
    RefusedError: DeviceError,
}


FULL_DISK = {
    errno.ENOSPC: "free space, or choose another folder",
    errno.EDQUOT: "free space, or choose another folder",
    errno.EFBIG: "allow larger files with ulimit -f, or choose another folder",
}
"""Fixes for a full disk, by the system's error number."""

_CAUSES = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}

READ_ONLY = dict.fromkeys(
    (errno.EROFS, errno.EACCES, errno.EPERM), "fix the permissions, or choose another folder"
)
"""Fixes for a folder that cannot be written to, by the system's error number."""


def cause_of(error: OSError) -> str:
    """Return the cause of an error of the operating system, in words."""
    return _CAUSES.get(error.errno or 0) or error.strerror or str(error)


@contextmanager
def storing(stage: str, option: str = "--out") -> Iterator[None]:
    """Turn a full disk or a missing permission into an error that says how to fix it.

    Args:
        option: of the command, which names another folder.

    Raises:
        StageError: the block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        if fix := (FULL_DISK | READ_ONLY).get(error.errno or 0):
            raise StageError(stage, f"{place}{cause_of(error)}", f"{fix} with {option}") from error
        raise StageError(stage, str(error), "free space or fix the permissions, then build again") from error


@contextmanager
def leaf_errors_mapped() -> Iterator[None]:
    """Turn an error of a leaf package into the pipeline's own, keeping its text."""
    try:
        yield
    except tuple(LEAF_ERRORS) as error:
        mapped = next(LEAF_ERRORS[kind] for kind in type(error).__mro__ if kind in LEAF_ERRORS)
        raise mapped(str(error)) from error
