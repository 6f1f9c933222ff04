"""Where plain settings hold paths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ZOO = "zoo:"


def change_paths(raw: dict[str, Any], change: Callable[[str], str]) -> None:
    """Replace every path in plain settings, in place; import paths and models of the zoo are none."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(each) for each in value]
        is_path = isinstance(value, str) and value and not is_import_path(value) and not value.startswith(ZOO)
        return change(value) if is_path else value

    for table, key in _places(raw):
        if isinstance(table, dict) and key in table:
            table[key] = changed(table[key])


def _places(raw: dict[str, Any]) -> list[tuple[Any, str]]:
    """Return the tables and keys whose values may be paths; a table may be missing or of a wrong kind."""
    places: list[tuple[Any, str]] = [
        (raw.get(section), key)
        for section, key in (
            ("model", "path"),
            ("model", "weights"),
            ("data", "source"),
            ("calibration", "field_statistics"),
            ("validate", "against"),
            ("release", "public_key"),
            ("release", "revoked_keys"),
        )
    ]
    sources: Any = raw
    for key in ("validate", "shift", "sources"):
        sources = sources.get(key) if isinstance(sources, dict) else None
    places += [(sources, name) for name in sources] if isinstance(sources, dict) else []
    steps: Any = raw.get("compress")
    places += [(table, "into") for table in steps] if isinstance(steps, list) else []
    return places


def locate(raw: dict[str, Any], folder: Path) -> None:
    """Resolve relative paths in plain settings against a folder, in place."""
    change_paths(raw, lambda path: str(folder / _at_home(path)))


def _at_home(path: str) -> Path:
    """Put the home folder in place of ``~``."""
    return Path(path).expanduser() if path == "~" or path.startswith("~/") else Path(path)


def is_import_path(source: str) -> bool:
    """Return whether a source is ``package.module:function`` rather than a path."""
    module, colon, function = source.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
