"""The forms that targets are stored in, one function a form, and the names of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.data.store import fit
from models.errors import DataError
from models.ports import classes_of, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.data.options import Array
    from models.data.target_stats import TargetStats
    from models.ports import Port

    Change = Callable[[Array], Array]

THRESHOLD = 128
"""Threshold for masks painted with 0 and 255."""
_RANGES = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_OVERSHOOT = 0.25  # share of the range by which targets scaled with training samples may leave it


# Each takes the task, for messages, the output, statistics of its raw targets and the normal class id. It
# returns the function from a batch of raw targets to stored ones, or raises DataError where they do not fit.


def class_ids(task: str, output: Port, stats: TargetStats, normal: int) -> Change:
    """A class id for each sample, from ids or one-hot rows."""
    return _to_ids(task, stats, 0)


def zero_one(task: str, output: Port, stats: TargetStats, normal: int) -> Change:
    if stats.high > 1 or stats.low < 0:
        raise DataError(_wrong(task, stats, "0 and 1"))
    return _to_ids(task, stats, 0)


def anomalies(task: str, output: Port, stats: TargetStats, normal: int) -> Change:
    """1 for what is of another class than the normal one."""
    as_ids = _to_ids(task, stats, 0)
    return lambda rows: (as_ids(rows) != normal).astype(np.int64)


def label_rows(task: str, output: Port, stats: TargetStats, normal: int) -> Change:
    classes = classes_of(output)
    if stats.shape not in ((classes,), (classes, 1)) or not stats.zero_one:
        raise DataError(_wrong(task, stats, f"rows of {classes} zeros and ones"))
    return lambda rows: rows.reshape(len(rows), -1).astype(np.uint8)


def masks(task: str, output: Port, stats: TargetStats, normal: int) -> Change:
    """A class id for each position, from ids, one-hot vectors or painted masks."""
    positions = output.shape[:-1]
    if not positions:
        msg = f"{describe(output)} of shape {output.shape} has no positions, which {task} needs; correct task"
        raise DataError(msg)
    threshold = threshold_of(output, stats)
    if threshold is not None:
        return lambda rows: fit((rows >= threshold).astype(np.int64), positions, reshape=False, name="masks")
    ids = _to_ids(task, stats, len(positions))
    return lambda rows: fit(ids(rows), positions, reshape=False, name="masks")


def numbers(task: str, output: Port, stats: TargetStats, normal: int) -> Change:
    return lambda rows: fit(rows, output.shape, reshape=False, name="targets").astype(np.float32)


# Each returns the names of the classes that stored targets have.


def no_names(names: tuple[str, ...], output: Port, normal: int) -> tuple[str, ...]:
    return ()


def as_given(names: tuple[str, ...], output: Port, normal: int) -> tuple[str, ...]:
    return names


def normal_and_other(names: tuple[str, ...], output: Port, normal: int) -> tuple[str, ...]:
    others = [name for index, name in enumerate(names) if index != normal]
    return names[normal], others[0] if len(others) == 1 else "anomaly"


def every_class(names: tuple[str, ...], output: Port, normal: int) -> tuple[str, ...]:
    """Return the names as they are.

    Raises:
        DataError: they are not as many as the classes of the output.
    """
    classes = classes_of(output)
    if classes is not None and len(names) != max(classes, 2):
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        msg = (
            f"{len(names)} class names ({shown}) for {max(classes, 2)} classes of {output.name!r}; "
            "name every class in labels, in the order of the model's outputs"
        )
        raise DataError(msg)
    return names


def are_the_input(stats: TargetStats, output: Port, is_input: bool) -> str:
    """Return why targets are those of an autoencoder, or nothing."""
    return f"{describe(output)}, the targets are the inputs" if is_input else ""


def check_range(stats: TargetStats, output: Port) -> str:
    """Compare the targets of a regression with what the output's activation can give.

    Returns:
        A note where they leave that range by a little, else an empty string.

    Raises:
        DataError: they leave it by more, so that the model cannot have been trained on them as they are.
    """
    if output.activation not in _RANGES:
        return ""
    low, high = _RANGES[output.activation]
    beyond = max(low - stats.low, stats.high - high) / (high - low)
    what = (
        f"targets from {stats.low:g} to {stats.high:g} for the {output.activation} output {output.name!r}, "
        f"which gives {low:g} to {high:g}"
    )
    if beyond <= 0:
        return ""
    if beyond <= _OVERSHOOT:
        return f"{what}: the model cannot reach all of them"
    fix = "scale the targets as they were for its training"
    if stats.integral and stats.low >= 0 and stats.high <= 255:
        fix += f" (divide them by {255 if stats.high > 100 else stats.high:g}?)"
        if len(output.shape) > 1:
            fix += ', or give task = "segmentation" if they are masks'
    msg = f"{what}; {fix}"
    raise DataError(msg)


def threshold_of(output: Port, stats: TargetStats) -> float | None:
    """Return the lowest value of the foreground in masks of two classes; None if masks hold ids."""
    if (classes_of(output) or 0) > 2 or not are_ids(stats, output):
        return None
    if stats.painted or stats.nearly_painted:
        return THRESHOLD
    return 0.5 if not stats.integral and 0 <= stats.low <= stats.high <= 1 else None


def are_ids(stats: TargetStats, output: Port) -> bool:
    """Return whether targets are ids rather than one-hot rows, which have one more axis."""
    axes = len(output.shape) - 1
    return stats.shape in ((), (1,)) or (
        axes > 0 and (len(stats.shape) == axes or (len(stats.shape) == axes + 1 and stats.shape[-1] == 1))
    )


def _to_ids(task: str, stats: TargetStats, axes: int) -> Change:
    """Class ids from ids or from one-hot rows, which have ``axes`` and one more."""
    if len(stats.shape) == axes + 1 and stats.shape[-1] > 1 and stats.soft:
        return lambda rows: rows.argmax(axis=-1).astype(np.int64)
    if not stats.integral or len(stats.shape) not in (axes, axes + 1) or stats.shape[axes:] not in ((), (1,)):
        raise DataError(_wrong(task, stats, "integer ids or one-hot rows"))
    return lambda rows: rows.reshape(rows.shape[: axes + 1]).astype(np.int64)


def _wrong(task: str, stats: TargetStats, form: str) -> str:
    return (
        f"targets of shape {stats.shape} a sample, from {stats.low:g} to {stats.high:g}, are none of "
        f"{task}; give {form}"
    )
