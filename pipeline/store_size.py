"""How large the store of finished stages may get, as options and the environment give it."""

from __future__ import annotations

import re

DEFAULT_SIZE = "20GB"
SIZE_VARIABLE = "EDGE_PIPELINE_CACHE_SIZE"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.ASCII | re.IGNORECASE)


def parse_size(value: int | str) -> int:
    """Return a number of bytes, such as ``500MB`` or ``20GB``.

    Raises:
        ValueError: it is not a size.
    """
    if isinstance(value, int):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        msg = f"{value!r} is not a size; write for example 500MB or 20GB"
        raise ValueError(msg)
    return int(float(found[1]) * _UNITS[found[2].upper()])
