"""Positions of masks that have no class: a value of their own marks them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.data.store import matches
from models.data.target_stats import WHITE
from models.errors import DataError
from models.ports import classes_of

if TYPE_CHECKING:
    from models.data.target_stats import TargetStats
    from models.ports import Port

NO_CLASS = -1
"""Value in stored masks of positions without a class."""


def without_ignored(stats: TargetStats, output: Port, given: int | None) -> tuple[TargetStats, int | None]:
    """Find the value that marks positions without a class, and leave it out of the statistics.

    Args:
        stats: of the targets.
        output: of the model.
        given: by the user; None: 255, where all other values are classes of the model and at least two.

    Returns:
        The statistics of the other values, and the value; None if the targets have none or are no masks.

    Raises:
        DataError: there are no other values.
    """
    value = _ignored_value(stats, output, given)
    if value is None:
        return stats, None
    others = tuple(found for found in stats.distinct if found != value)
    if not others:
        msg = f"every position of the masks is {value}, which marks positions without a class; correct ignore"
        raise DataError(msg)
    return replace(stats, low=others[0], high=others[-1], distinct=others, nearly_painted=False), value


def ignored_note(value: int | None) -> str:
    """Return what becomes of positions with the value; "" without one."""
    if value is None:
        return ""
    return f"{value} in masks is not a class: its positions are left out of training and metrics"


def _ignored_value(stats: TargetStats, output: Port, given: int | None) -> int | None:
    positions = output.shape[:-1]
    is_mask = bool(positions) and (matches(stats.shape, positions) or matches(stats.shape, (*positions, 1)))
    classes = classes_of(output)
    if not is_mask or not stats.integral:
        return None
    if given is not None:
        return given if float(given) in stats.distinct else None
    others = [value for value in stats.distinct if value != WHITE]
    if classes is None or len(others) < 2 or len(others) == len(stats.distinct) or max(classes, 2) > WHITE:
        return None
    first = min(others[0], 1)  # ids may be counted from 1
    return WHITE if others[0] >= 0 and others[-1] < max(classes, 2) + first else None
