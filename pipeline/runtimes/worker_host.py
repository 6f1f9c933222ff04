"""Where a worker runs and its files are stored: this machine, or a device (``remote.py``)."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.scratch import Scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.runtimes.runtime import Runtime

WORKER = Path(__file__).with_name("worker.py")
MODEL = "model.tflite"
MARKS = "marks.jsonl"


class WorkerHost(Protocol):
    """A folder that one worker runs in; its files are named relative to it.

    Attributes:
        folder: a folder on this machine that goes with the host.
    """

    folder: Path

    def prepare(self) -> list[str]:
        """Put the worker there; returns the command of this machine that runs it."""

    def put_model(self, model: Path) -> None:
        """Have ``MODEL`` be this file."""

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Have the .npy file ``name`` hold this array."""

    def fetch(self, name: str) -> NDArray[Any]:
        """Return the array in the .npy file ``name``."""

    def killer(self, code: int) -> str | None:
        """Name what killed a worker whose command ended with ``code``; None where it ended by itself."""

    def remove(self) -> None:
        """Leave no file behind."""


class LocalHost:
    """A folder of this machine; what runs in it may be emulated."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._scratch = Scratch("session")
        self.folder = self._scratch.path

    def prepare(self) -> list[str]:
        """Link the worker: where things lie must not show in instruction counts, but names are the same."""
        (self.folder / WORKER.name).symlink_to(WORKER)
        return self.runtime.command(WORKER.name, MARKS)

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

    def killer(self, code: int) -> str | None:
        """Name the signal."""
        return signal.Signals(-code).name if code < 0 else None

    def remove(self) -> None:
        """Remove the folder."""
        self._scratch.remove()
