"""Values and keys as TOML."""

from __future__ import annotations

import json
from datetime import date
from typing import Any


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it on one line: text, number, date, list or inline table."""
    match value:
        case dict():
            pairs = [f"{toml_key(key)} = {toml_value(each)}" for key, each in value.items()]
            return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
        case date():
            return value.isoformat()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return json.dumps(value)


def toml_key(name: str) -> str:
    """Return a name as a key; quoted if it has other characters than letters, digits, ``_`` and ``-``."""
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else toml_value(name)
