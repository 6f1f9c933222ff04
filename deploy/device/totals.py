"""Add up statistics of one release, and take earlier ones off later ones.

Part of every release, and nothing of this project is needed. Statistics are in the form of
docs/reference/on-the-device.md: numbers that count, in lists and objects of one layout.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 2**62


def merge(*statistics: dict[str, Any]) -> dict[str, Any]:
    """Add up statistics of one release, such as those of a fleet or from before a restart.

    Raises:
        ValueError: they are of different releases, or one of them is not of this form.
    """
    total = statistics[0]
    for other in statistics[1:]:
        added = _combined(total, other, lambda a, b: a + b)
        since, until = (_times(total, other, key) for key in ("since", "until"))
        total = {**added, "since": min(since, default=None), "until": max(until, default=None)}
    return total


def subtract(total: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return what was counted in ``total`` after ``earlier``, both since the same start.

    Raises:
        ValueError: they are of different releases, or ``earlier`` counted something that ``total`` did not.
    """
    rest = _combined(total, earlier, lambda a, b: a - b)
    return {**rest, "since": earlier["until"], "until": total["until"]}


def _times(one: dict[str, Any], other: dict[str, Any], key: str) -> list[str]:
    return [each[key] for each in (one, other) if isinstance(each.get(key), str)]


def _combined(first: Any, other: Any, operation: Callable[[int, int], int]) -> dict[str, Any]:
    if isinstance(first, dict) and {"since", "until"} <= first.keys():
        found: dict[str, Any] = _combine(first, other, "statistics", operation)
        return found
    msg = f"{str(first)[:80]} is not of this form"
    raise ValueError(msg)


def _combine(first: Any, other: Any, key: str, operation: Callable[[int, int], int]) -> Any:
    if key in ("since", "until"):
        return None
    if isinstance(first, dict) and isinstance(other, dict) and first.keys() == other.keys():
        return {name: _combine(first[name], other[name], name, operation) for name in first}
    if isinstance(first, list) and isinstance(other, list) and len(first) == len(other):
        return [_combine(one, two, key, operation) for one, two in zip(first, other)]
    if type(first) is int and type(other) is int and key != "schema_version":
        if 0 <= first < _MOST and 0 <= other < _MOST and (found := operation(first, other)) >= 0:
            return found
    elif type(first) is type(other) and not isinstance(first, (dict, list)) and first == other:
        return first
    both = f"{key}: {str(first)[:80]} and {str(other)[:80]}"
    msg = f"{both} are not of the same release, or not one after the other"
    raise ValueError(msg)
