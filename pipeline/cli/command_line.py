"""The command that was given, as a report may show it to others."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HIDDEN = "***"
_SECRET = re.compile(r"key|token|secret|password|passwd|credential", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command as a shell takes it, without values of secret options, users of URLs, and folders.

    Args:
        arguments: without the program; default: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["pipeline", *_shown(given)])


def _shown(arguments: Sequence[str]) -> Iterator[str]:
    is_secret = False
    for argument in arguments:
        if is_secret:
            yield HIDDEN
            is_secret = False
            continue
        name, equals, value = argument.partition("=")
        secret = bool(_SECRET.search(name)) and (argument.startswith("-") or bool(equals))
        if secret and equals:
            yield f"{name}={HIDDEN}"
        elif equals:
            yield f"{name}={_plain(value)}"
        else:
            is_secret = secret
            yield _plain(argument)


def _plain(text: str) -> str:
    """Return a value without the user of a URL; of an absolute path only its name."""
    path = PurePath(text)
    return path.name if path.is_absolute() and path.name else _USER.sub(HIDDEN, text)
