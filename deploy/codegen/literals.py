"""Numbers as they stand in generated source, such that each language reads the very same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# Types of tensors in C and Kotlin. Kotlin's unsigned types are not stable before 1.5.
C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "bool": "uint8_t",
    "float32": "float",
    "float64": "double",
}
KOTLIN_TYPES = {
    "int8": "Byte",
    "uint8": "Byte",
    "int16": "Short",
    "uint16": "Short",
    "int32": "Int",
    "uint32": "Int",
    "int64": "Long",
    "bool": "Byte",
    "float32": "Float",
    "float64": "Double",
}


def float32(value: float, what: str) -> np.float32:
    """Return ``value`` in single precision.

    Raises:
        DeployError: it is too large for that.
    """
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        msg = f"{what} is {value:g}, more than float32 holds; check [preprocessing] and build again"
        raise DeployError(msg)
    return single


def decimal(value: Any) -> str:
    """Return the shortest decimal that reads as these very bits, for C (with math.h) and Kotlin.

    Args:
        value: a numpy scalar: an integer, float32 (with the suffix f) or float64.
    """
    if value.dtype.kind in "iub":
        return _integer(int(value))
    if not np.isfinite(value):
        msg = "only finite numbers have a decimal"
        raise ValueError(msg)
    digits = np.format_float_scientific(value, unique=True, trim="0")
    if 1e-4 <= abs(value) < 1e7 or value == 0:
        digits = np.format_float_positional(value, unique=True, trim="0")
    return digits + ("f" if value.dtype == np.float32 else "")


def decimals(values: Iterable[Any], width: int = 100) -> str:
    """Return numbers with commas, in lines of at most ``width`` characters, for the inside of braces."""
    lines, line = [], ""
    for text in map(decimal, values):
        if line and len(line) + len(text) + 2 > width:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}, "
    return "\n    ".join([*lines, line.rstrip(", ")])


def signed(values: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers and booleans as Kotlin stores them: the signed ones of the same bits."""
    return values.view(f"i{values.dtype.itemsize}") if values.dtype.kind in "ub" else values


def _integer(value: int) -> str:
    """Return a literal; the smallest int64 has none in C, nor the smallest int32 in Kotlin."""
    if value == -(2**63):
        return "(-9223372036854775807 - 1)"
    if value == -(2**31):
        return "(-2147483647 - 1)"
    return str(value)
