"""Paths as users give them: one place that refuses what no command could use."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.keys import is_key_text
from pipeline.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

DEFAULT_FILE = Path("pipeline.toml")
"""Settings, if no other file is named."""

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


class UserPath(click.Path):
    """A path option. ``~/`` is the home folder."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, readable=False, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(usable(value, param), param, ctx)


class UserSource(click.ParamType[str]):
    """A path or another name of a model or data set, such as ``zoo:resnet8``; the value stays text."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete it as a path."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return usable(value, param)


def usable(value: Any, param: click.Parameter | None) -> str:
    """Return a path's text, with the home folder in place of ``~``.

    Raises:
        InputError: no file or folder can be there, or what is there cannot be read.
    """
    text = os.fsdecode(value)
    where = param.opts[0] if isinstance(param, click.Option) else "the path"
    if text.startswith("~/") or text == "~":
        text = str(Path(text).expanduser())
    if param is not None and param.name in {"key", "public_key"} and is_key_text(text):
        return text  # a key instead of a path; ``deploy.keys`` refuses it without printing it
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
