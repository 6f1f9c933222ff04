"""Which file of the working directory has the settings, where no other is named."""

from __future__ import annotations

import tomllib
from pathlib import Path

DEFAULT_FILE = Path("pipeline.toml")
"""Settings, if no other file is named."""
PYPROJECT = Path("pyproject.toml")


def find_settings_file(folder: Path = Path()) -> Path | None:
    """Return ``pipeline.toml`` of a folder, else a ``pyproject.toml`` with ``[tool.pipeline]``, else None.

    Where both have settings, ``pipeline.toml`` is taken, with a warning: settings are never merged.
    """
    own, project = folder / DEFAULT_FILE, folder / PYPROJECT
    has_table = has_tool_table(project)
    if not own.exists():
        return project if has_table else None
    if has_table:
        from pipeline.events import Warned, emit

        emit(Warned(text=f"{project}: [tool.pipeline] is not read, because {own} is there; keep one of them"))
    return own


def has_tool_table(project: Path) -> bool:
    """Return whether a ``pyproject.toml`` has ``[tool.pipeline]``; one that cannot be read has none."""
    try:
        found = tomllib.loads(project.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found.get("tool"), dict) and "pipeline" in found["tool"]
