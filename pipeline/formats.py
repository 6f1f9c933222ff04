"""The formats that a model is converted to."""

from __future__ import annotations

from typing import Literal

Format = Literal["int8", "int8 with float operators", "float16", "float32"]
FORMATS: tuple[Format, ...] = ("int8", "int8 with float operators", "float16", "float32")
"""The best first."""
WrittenFormat = Literal["int8", "int8 with wider layers", "int8 with float operators", "float16", "float32"]
"""With the one that selective precision makes, which is asked for elsewhere."""


def has_integers(format: WrittenFormat) -> bool:
    """Return whether a format computes with int8, at least in part."""
    return format.startswith("int8")
