"""Checks of commands and paths, and receiving of files, shared by all transports."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_SHOWN = 300  # characters of what a device says
MAX_QUOTED = 80


def command_line(argv: Sequence[str]) -> str:
    """Return the line of which a POSIX shell makes exactly these words.

    Raises:
        TransportError: there are none, or one has a NUL, which nothing carries.
    """
    if not argv or any("\0" in word for word in argv):
        message = f"{list(argv)!r} is not a command: it needs a word, and none with a NUL in it"
        raise TransportError(message)
    return shlex.join(argv)


def device_path(path: str) -> str:
    """Return a path on a device as it is.

    Raises:
        TransportError: it is not absolute, leads upwards, or has a line break, which no message could show.
    """
    if not path.startswith("/") or ".." in path.split("/"):
        message = f"the path {path!r} is not valid on a device; write an absolute path without .."
        raise TransportError(message)
    if any(char in path for char in "\n\r\0"):
        message = f"the path {path!r} has a line break; name the file without one"
        raise TransportError(message)
    return path


@contextmanager
def arriving(local: Path) -> Iterator[Path]:
    """Yield a path to write to, renamed to ``local`` at the end; on failure nothing is left.

    Raises:
        TransportError: ``local`` cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".arriving-", dir=local.absolute().parent) as folder:
            part = Path(folder) / "file"
            yield part
            part.replace(local)
    except OSError as error:
        message = f"cannot write {local}: {error.strerror or error}; is there room and permission?"
        raise TransportError(message) from error


def last_line(text: str) -> str:
    """Return the last line that says something, on which no terminal takes anything for a command."""
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1][:MAX_SHOWN] if lines else "no output"
    return " ".join("".join(char if char.isprintable() else " " for char in last).split())


def quoted(text: str) -> str:
    """Return a text as Python would write it, printable and short whatever is in it."""
    return repr(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...")
