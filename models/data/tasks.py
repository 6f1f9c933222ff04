"""Infer from its targets what an output of a model is for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from models.data.store import matches
from models.errors import DataError
from models.ports import classes_of, describe
from models.task_rules import TASK_RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.data.target_stats import TargetStats
    from models.ports import Port
    from models.task_rules import Task

_SAY = "or give the task"


class Answer(NamedTuple):
    """The task, why, and a note where the user might expect another."""

    task: Task
    reason: str
    note: str = ""


def infer(
    stats: TargetStats | None,
    output: Port,
    inputs: Sequence[Port],
    *,
    same_as_input: bool,
    normal: bool,
    one_class: bool = False,
) -> Answer:
    """Infer the task of one output.

    A model whose output has its only input's shape is an autoencoder where there are no targets, where they
    are the input, or where they cannot be scored against the output: one label for each image. Labels that
    could be class ids of the output never make it one.

    Args:
        stats: of its targets; None if there are none.
        output: of the model.
        inputs: of the model.
        same_as_input: the targets are the inputs.
        normal: it is known which class is the normal one.
        one_class: the samples to train on have one class, those to test on others too.

    Returns:
        The task, the reason, and a note, which may be empty.

    Raises:
        DataError: the targets do not fit the output, or fit two tasks; names both.
    """
    rebuilds = len(inputs) == 1 and output.shape == inputs[0].shape and output.activation != "softmax"
    if math.prod(length or 2 for length in output.shape) == 1:
        rebuilds = False  # one number from one number
    if stats is None:
        return _without_targets(output, rebuilds)
    for task, rule in TASK_RULES.items():
        if rule.recognizes and (reason := rule.recognizes(stats, output, rebuilds and same_as_input)):
            return Answer(task, reason)
    if stats.scalar and rebuilds:
        if len(output.shape) > 1:
            return _of_autoencoder(stats, output, normal)
        if not _could_be_ids(stats, output):
            return _of_labelled_vectors(stats, output, normal, one_class)
    if len(output.shape) > 1:
        return _of_maps(stats, output, rebuilds)
    return _of_scalars(stats, output) if stats.scalar else _of_vectors(stats, output)


def _without_targets(output: Port, rebuilds: bool) -> Answer:
    if rebuilds:
        return Answer("reconstruction", f"{describe(output)} of the input's shape, no labels in the data")
    if len(output.shape) == 1 and output.activation not in ("softmax", "sigmoid") and output.shape != (1,):
        return Answer(
            "embedding",
            f"{describe(output)}, no labels in the data",
            "no labels: the outputs are compared as embeddings",
        )
    msg = (
        f"no labels for the output {output.name!r} of shape {output.shape}; "
        "add them to the data, of several outputs each under its name"
    )
    raise DataError(msg)


def _could_be_ids(stats: TargetStats, output: Port) -> bool:
    """Return whether scalar labels may be class ids: from 0 or 1 up to the last class."""
    classes = classes_of(output) or 0
    if stats.words:
        return len(stats.distinct) == classes
    last_found = stats.high in (classes - 1, classes) or stats.distinct == (-1.0, 1.0)
    return stats.integral and (last_found or not 0 <= stats.low <= stats.high < classes)


def _of_labelled_vectors(stats: TargetStats, output: Port, normal: bool, one_class: bool) -> Answer:
    """Infer the task of outputs with the input's shape and labels that are not all class ids."""
    shape = f"{describe(output)} of the input's shape"
    if stats.words and normal:
        return Answer("anomaly", f"{shape}, {_labels(stats)} of which one is normal")
    if stats.zero_one and one_class:
        return Answer("anomaly", f"{shape}, all training labels are 0, test labels 0 and 1")
    if not stats.integral:
        return _of_scalars(stats, output)
    msg = (
        f"{_labels(stats)} for {shape}; give the task: "
        '"anomaly" (0 is normal) or "reconstruction" of an autoencoder, "classification" of class ids'
    )
    raise DataError(msg)


def _of_autoencoder(stats: TargetStats, output: Port, normal: bool) -> Answer:
    reason = f"{describe(output)} of the input's shape, one label for each sample"
    if normal or stats.zero_one:
        return Answer("anomaly", reason)
    if not stats.integral:
        raise DataError(_both(stats, output))
    note = (
        "labels of several classes are not used by a model that rebuilds its input; to judge it as a "
        "detector of anomalies, label normal samples 0 and others 1, or name the normal class first in labels"
    )
    return Answer("reconstruction", reason, note)


def _of_scalars(stats: TargetStats, output: Port) -> Answer:
    classes = classes_of(output)
    reason = f"{describe(output)}, {_labels(stats)}"
    if classes != 1:
        if stats.integral:
            return Answer("classification", reason)
        msg = (
            f"labels are single numbers such as {stats.low:g}, the output {output.name!r} gives {classes}; "
            f"give class ids, or {classes} numbers a sample"
        )
        raise DataError(msg)
    if stats.words or stats.zero_one:
        return Answer("binary", reason)
    if stats.distinct == (-1.0, 1.0) or (stats.distinct == (1.0, 2.0) and output.activation == "sigmoid"):
        return Answer("binary", reason)
    if output.activation == "sigmoid" and stats.integral:
        hint = f", divide numbers by {stats.high:g} if the model was trained so" if stats.low >= 0 else ""
        msg = (
            f"labels from {stats.low:g} to {stats.high:g} for the single sigmoid output {output.name!r}; "
            f"give 0 and 1{hint}, {_SAY}"
        )
        raise DataError(msg)
    return Answer("regression", reason)


def _of_vectors(stats: TargetStats, output: Port) -> Answer:
    classes = classes_of(output)
    outputs = describe(output)
    if classes == 1 and stats.shape == (2,) and stats.soft:
        return Answer("binary", f"{outputs}, two columns of labels")
    squeezed = stats.shape[:-1] if stats.shape[-1:] == (1,) else stats.shape
    if not matches(squeezed, output.shape):
        raise DataError(_both(stats, output))
    if stats.one_hot or (stats.soft and len(stats.distinct) == 2):  # the second: smoothed labels
        return Answer("classification", f"{outputs}, one-hot labels")
    if stats.zero_one:
        return Answer("multi-label", f"{outputs}, rows of zeros and ones")
    if output.activation == "softmax":
        if stats.soft:
            note = "of targets that are distributions, the largest was taken as the class"
            return Answer("classification", f"{outputs}, rows that sum to 1", note)
        msg = (
            f"targets from {stats.low:g} to {stats.high:g} for the softmax output {output.name!r}; "
            f"give class ids or one-hot rows, {_SAY}"
        )
        raise DataError(msg)
    return Answer("regression", f"{outputs}, {_labels(stats)}")


def _of_maps(stats: TargetStats, output: Port, rebuilds: bool) -> Answer:
    """Infer the task of outputs with a vector per position: ``(height, width, c)`` or ``(steps, c)``."""
    classes, positions = classes_of(output), output.shape[:-1]
    per_position = matches(stats.shape, positions) or matches(stats.shape, (*positions, 1))
    reason = f"{describe(output)}, {_labels(stats)}"
    if per_position and (stats.zero_one or stats.painted):
        return Answer("segmentation", reason)
    if per_position and stats.nearly_painted and (classes or 0) <= 2:
        if not rebuilds and output.activation in ("sigmoid", "hard_sigmoid", "softmax", ""):
            return Answer("segmentation", reason)
        msg = (
            f"{_labels(stats)} for {describe(output)} may be masks or images; give the task: "
            '"segmentation", which thresholds them at 128, or "regression"'
        )
        raise DataError(msg)
    if per_position and stats.integral and classes != 1:
        return Answer("segmentation", reason)
    if matches(stats.shape, output.shape):
        if stats.one_hot or (stats.soft and output.activation == "softmax"):
            return Answer("segmentation", f"{describe(output)}, one-hot masks")
        return Answer("regression", reason)
    if per_position and classes == 1:
        return Answer("regression", reason)
    raise DataError(_both(stats, output))


def _labels(stats: TargetStats) -> str:
    """Return a few words for targets, such as ``labels 0 and 1`` or ``numbers from 0.5 to 7``."""
    what = "labels" if stats.scalar else "values"
    if stats.words:
        return f"text labels of {len(stats.distinct)} classes"
    if stats.integral and len(stats.distinct) == 1:
        return f"all {what} {stats.low:g}"
    if stats.integral and len(stats.distinct) == 2:
        return f"{what} {stats.low:g} and {stats.high:g}"
    if stats.integral and stats.nearly_painted:
        return f"values near 0 and 255 ({len(stats.distinct)} different ones)"
    if stats.integral and stats.contiguous:
        return f"integer {what} {stats.low:g} to {stats.high:g}"
    return f"numbers from {stats.low:g} to {stats.high:g}"


def _both(stats: TargetStats, output: Port) -> str:
    return (
        f"targets of shape {stats.shape} a sample, the output {output.name!r} gives {output.shape}; "
        f"give targets of that shape, or class ids, {_SAY}"
    )
