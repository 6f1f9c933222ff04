"""Temporary folders that the next command removes where a killed one left them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTEMPTS = 20


class Scratch:
    """A new folder below TMPDIR. It is this process's own until ``remove``, or until the process ends.

    Args:
        purpose: the beginning of its name.

    Raises:
        StageError: the folder for temporary files is missing, full or not writable.
    """

    def __init__(self, purpose: str) -> None:
        self._handle: int | None = None
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    self._make(_home(), purpose)
                    break
                except (FileNotFoundError, FileExistsError):  # others have just removed or made that of all
                    if attempt == _ATTEMPTS - 1:
                        raise
        except OSError as error:
            cause = f"no temporary folder: {error.strerror or error}"
            raise StageError(purpose, cause, "free space there, or name another folder in TMPDIR") from error

    def _make(self, home: Path, purpose: str) -> None:
        """Make the folder, and remove those whose processes have ended."""
        with locked(home) as handle:
            if not os.path.samestat(os.fstat(handle), home.stat()):
                raise FileNotFoundError(home)  # removed while this waited: the one there now is another
            for left in home.iterdir():
                with suppress(OSError), locked(left, wait=False):
                    shutil.rmtree(left, ignore_errors=True)
            self.path = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=home))
            self._handle = lock(self.path)

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        home = self.path.parent
        with suppress(OSError), locked(home, wait=False):  # else others are about to be in it
            home.rmdir()


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """Yield the path of a ``Scratch`` for the duration of the block; errors likewise."""
    made = Scratch(purpose)
    try:
        yield made.path
    finally:
        made.remove()


def empty(folder: Path) -> None:
    """Remove what is in a folder, but not what links in it lead to.

    Raises:
        OSError: it cannot be removed.
    """
    for left in list(folder.iterdir()):
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold a folder's lock, which the kernel releases when the holder dies; yields its file descriptor.

    Raises:
        OSError: another process holds it and ``wait`` is false, or it cannot be opened.
    """
    handle = lock(folder, wait=wait)
    try:
        yield handle
    finally:
        os.close(handle)


def lock(folder: Path, *, wait: bool = True) -> int:
    """Take a folder's lock and return the file descriptor that holds it; errors as ``locked``."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _home() -> Path:
    """Return the folder of all scratch folders of this user.

    Raises:
        OSError: it cannot be made, or somebody else has made it.
    """
    home = Path(tempfile.gettempdir(), f"edge-pipeline-{os.geteuid()}")
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.geteuid():
        msg = f"{home} belongs to another user"
        raise PermissionError(msg)
    return home
