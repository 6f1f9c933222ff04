"""The formats that a model is converted to."""

from __future__ import annotations

from typing import Literal

Format = Literal["int8", "int8 with float operators", "float16", "float32"]
FORMATS: tuple[Format, ...] = ("int8", "int8 with float operators", "float16", "float32")
"""The best first."""
