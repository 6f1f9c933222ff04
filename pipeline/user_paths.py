"""Paths as users give them: one place that refuses what no command could use."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from deploy.keys import is_key_text
from pipeline.errors import InputError

REASONS = {
    errno.EACCES: "no permission; change it, or name another path",
    errno.EPERM: "not permitted; name another path",
    errno.ENAMETOOLONG: "the path is too long; name a shorter one",
    errno.ENOTDIR: "it is below a file, not a folder; name another path",
    errno.EISDIR: "a folder; name a file",
    errno.ENOENT: "no such file or folder",
    errno.EEXIST: "it exists already; name another path",
    errno.ELOOP: "its symbolic links form a circle; name another path",
    errno.EROFS: "on a read-only file system; name another path",
    errno.ENOTEMPTY: "a folder that is not empty; name another path",
}
"""Problem with a path and its fix, by the system's error number."""


def usable(value: Any, where: str, *, is_key: bool = False) -> str:
    """Return a path's text, with the home folder in place of ``~``.

    Args:
        value: text, or what has a path.
        where: the option that gives it, for messages.
        is_key: whether a key instead of a path is left to ``deploy.keys``, which refuses it unprinted.

    Raises:
        InputError: no file or folder can be there, or what is there cannot be read.
    """
    text = os.fsdecode(value)
    if text.startswith("~/") or text == "~":
        text = str(Path(text).expanduser())
    if is_key and is_key_text(text):
        return text
    if not text.isascii() and not _is_utf8(text):
        msg = f"{where}: {text!a} is not UTF-8, which TensorFlow needs; rename it"
        raise InputError(msg)
    try:
        Path(text).stat()
        readable = os.access(text, os.R_OK)
    except FileNotFoundError:
        readable = True  # the command says what it needs, or makes it
    except ValueError as error:  # a NUL
        msg = f"{where}: {text!r} is not a path; remove the NUL character"
        raise InputError(msg) from error
    except OSError as error:
        number = error.errno or 0
        shown = "" if number == errno.ENAMETOOLONG else f"{text}: "
        msg = f"{where}: {shown}{REASONS.get(number, error.strerror)}"
        raise InputError(msg) from error
    if not readable:
        msg = f"{where}: {text}: {REASONS[errno.EACCES]}"
        raise InputError(msg)
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
