"""Hosts of workers, which run them and store their files: this machine, or a device (``remote.py``)."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import PipelineError, StageError
from pipeline.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

WORKER = Path(__file__).with_name("worker.py")
MODEL = "model.tflite"
MARKERS = "marks.jsonl"
LOG = "log"
QUIET = "silence its login scripts"


class WorkerHost(Protocol):
    """A running worker and its folder; the files in that are named relative to it.

    Attributes:
        folder: a folder on this machine that goes with the worker.
        process: the command of this machine that runs it; its stderr is the file ``LOG`` of ``folder``.
    """

    folder: Path
    process: subprocess.Popen[bytes]

    def put_model(self, model: Path) -> None:
        """Store this file as ``MODEL``."""

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Store this array in the .npy file ``name``."""

    def fetch(self, name: str) -> NDArray[Any]:
        """Return the array in the .npy file ``name``."""

    def termination_cause(self, code: int) -> str | None:
        """Name what ended a worker whose command ended with ``code``; None if it ended by itself."""

    def unreadable(self, request: str, cause: str) -> PipelineError:
        """Return the error for output that is not a message of a worker."""

    def remove(self) -> None:
        """Leave no file behind."""


def start_worker(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a worker's command in ``folder``; None keeps this process's environment."""
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, whose session ends the worker
        )


class LocalHost:
    """A worker on this machine, which may be emulated.

    Args:
        command: runs ``WORKER`` in its folder.
        environment: of the worker; None keeps this process's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._scratch = Scratch("session")
        self.folder = self._scratch.path
        try:
            # A link: its path must not change instruction counts, and its name is always the same.
            (self.folder / WORKER.name).symlink_to(WORKER)
            self.process = start_worker(command, self.folder, environment)
        except BaseException:
            self.remove()
            raise

    def put_model(self, model: Path) -> None:
        """Link the model, which is only read."""
        link = self.folder / MODEL
        link.unlink(missing_ok=True)
        link.symlink_to(model.resolve())

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Write a file that the worker maps."""
        import numpy as np

        np.save(self.folder / name, array)

    def fetch(self, name: str) -> NDArray[Any]:
        """Read a file that the worker wrote."""
        from pipeline.npy import read_array

        return read_array(self.folder / name)

    def termination_cause(self, code: int) -> str | None:
        """Name the signal."""
        return signal.Signals(-code).name if code < 0 else None

    def unreadable(self, request: str, cause: str) -> PipelineError:
        return StageError(request, cause, QUIET)

    def remove(self) -> None:
        """Remove the folder."""
        self._scratch.remove()
