"""Where plain settings hold paths."""

from __future__ import annotations

from typing import Any


def path_places(raw: dict[str, Any]) -> list[tuple[Any, str]]:
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
        )
    ]
    sources: Any = raw
    for key in ("validate", "shift", "sources"):
        sources = sources.get(key) if isinstance(sources, dict) else None
    places += [(sources, name) for name in sources] if isinstance(sources, dict) else []
    steps: Any = raw.get("compress")
    places += [(table, "into") for table in steps] if isinstance(steps, list) else []
    return places
