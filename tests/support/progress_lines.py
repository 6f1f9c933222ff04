"""What a command prints on its progress, off a terminal."""

from __future__ import annotations

import re

PROGRESS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S.*\S")


def without_progress(text: str) -> list[str]:
    """The lines that are not on progress."""
    return [line for line in text.splitlines() if not PROGRESS.fullmatch(line)]
