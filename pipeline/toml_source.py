"""Where a key or an error is in the text of a TOML file, which tomllib does not tell."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_COLUMNS = 100
"""Longer lines are cut around the mark."""


def locate_key(text: str, key: str) -> tuple[int, int, int] | None:
    """Return the line and column, both from 1, of a dotted key, and its length; or of its last part there is.

    A number is a place in a list of tables: ``compress.0.sparsity``. The file is read up to each line in turn
    until it has the key, so that any way to write one is found.

    Returns:
        None if the text has no part of the key.
    """
    lines, parts = text.splitlines(), key.split(".")
    begun, found, depth = 0, None, 0
    for end in range(1, len(lines) + 1):
        try:
            read = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value of several lines
        if (known := depth_of(read, parts)) > depth:
            depth, found = known, (begun, end)
        begun = end
    if found is None:
        return None
    name = next(part for part in reversed(parts[:depth]) if not part.isdecimal())
    return _place(lines, *found, name)


def excerpt(text: str, line: int, column: int, length: int = 1) -> str:
    """Return a line of the text, with its number, and carets below ``length`` columns; both count from 1."""
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    start = max(0, column - MAX_COLUMNS // 2) if len(shown) > MAX_COLUMNS else 0
    shown, margin = shown[start : start + MAX_COLUMNS].replace("\t", " "), f"{line:>4} | "
    return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {' ' * (column - 1 - start)}{'^' * length}"


def error_excerpt(error: Exception, path: Path) -> str:
    """Return the line of a file that an error of tomllib names, with a caret; empty if it names none."""
    place = re.search(r"at line (\d+), column (\d+)", str(error))
    return excerpt(path.read_text(encoding="utf-8"), int(place[1]), int(place[2])) if place else ""


def depth_of(read: Any, parts: Sequence[str]) -> int:
    """Return how many parts of a key there are in what was read; a number is a place in a list."""
    for depth, part in enumerate(parts):
        if isinstance(read, list) and part.isdecimal() and int(part) < len(read):
            read = read[int(part)]
        elif isinstance(read, dict) and part in read:
            read = read[part]
        else:
            return depth
    return len(parts)


def _place(lines: list[str], begun: int, end: int, name: str) -> tuple[int, int, int]:
    """Return where ``name`` is in some lines."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    for number in range(begun, end):
        if not lines[number].lstrip().startswith("#") and (match := word.search(lines[number])):
            return number + 1, match.start() + 1, len(name)
    return end, 1, 1
