"""Tell from its targets what an output of a model is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.data.store import matches
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.data.facts import Facts
    from models.ports import Port, Task

    Answer = tuple[Task, str]
    """The task, and a note where the user might expect another."""

_SAY = "or say the task"


def infer(
    facts: Facts | None, output: Port, inputs: Sequence[Port], *, same_as_input: bool, normal: bool
) -> Answer:
    """Infer the task of one output.

    Args:
        facts: of its targets; None where there are none.
        output: of the model.
        inputs: of the model.
        same_as_input: the targets are the inputs.
        normal: it is known which class is the normal one.

    Returns:
        The task and a note, which may be empty.

    Raises:
        DataError: the targets do not fit the output; says both.
    """
    rebuilds = bool(inputs) and output.shape == inputs[0].shape and output.activation != "softmax"
    if facts is None:
        return _without_targets(output, rebuilds)
    if rebuilds and same_as_input:
        return "reconstruction", ""
    if facts.scalar and rebuilds and not _covers(facts, output):
        return _of_autoencoder(facts, normal)
    if len(output.shape) > 1:
        return _of_maps(facts, output)
    return _of_scalars(facts, output) if facts.scalar else _of_vectors(facts, output)


def classes_of(output: Port) -> int | None:
    """Return how long an output's last axis is; None where that is open."""
    return output.shape[-1] if output.shape else 1


def _without_targets(output: Port, rebuilds: bool) -> Answer:
    if rebuilds:
        return "reconstruction", ""
    if len(output.shape) == 1 and output.activation not in ("softmax", "sigmoid") and output.shape != (1,):
        return "embedding", "no labels: the outputs are compared as embeddings"
    msg = (
        f"no labels for the output {output.name!r} of shape {output.shape}; "
        "add them to the data, of several outputs each under its name"
    )
    raise DataError(msg)


def _covers(facts: Facts, output: Port) -> bool:
    """The labels are exactly the ids that a vector of scores is for."""
    classes = classes_of(output)
    return len(output.shape) == 1 and classes != 2 and facts.distinct == tuple(range(classes or 0))


def _of_autoencoder(facts: Facts, normal: bool) -> Answer:
    if normal or facts.zero_one:
        return "anomaly", ""
    note = (
        "labels of several classes are not used by a model that rebuilds its input; to judge it as a "
        "detector of anomalies, label normal samples 0 and others 1, or name the normal class first in labels"
    )
    return "reconstruction", note


def _of_scalars(facts: Facts, output: Port) -> Answer:
    classes = classes_of(output)
    if classes != 1:
        if facts.integral:
            return "classification", ""
        msg = (
            f"labels are single numbers such as {facts.low:g}, the output {output.name!r} gives {classes}; "
            f"give class ids, or {classes} numbers a sample"
        )
        raise DataError(msg)
    if facts.words or facts.zero_one:
        return "binary", ""
    if facts.distinct == (-1.0, 1.0):
        return "binary", "labels -1 and 1 were taken as 0 and 1"
    if output.activation == "sigmoid" and facts.integral:
        msg = (
            f"labels from {facts.low:g} to {facts.high:g} for the single sigmoid output {output.name!r}; "
            f"give 0 and 1, {_SAY}"
        )
        raise DataError(msg)
    return "regression", ""


def _of_vectors(facts: Facts, output: Port) -> Answer:
    classes = classes_of(output)
    if classes == 1 and facts.shape == (2,) and facts.soft:
        return "binary", ""
    squeezed = facts.shape[:-1] if facts.shape[-1:] == (1,) else facts.shape
    if not matches(squeezed, output.shape):
        raise DataError(_both(facts, output))
    if facts.one_hot or (facts.soft and len(facts.distinct) == 2):  # the second: smoothed labels
        return "classification", ""
    if facts.zero_one:
        return "multi-label", ""
    if output.activation == "softmax":
        if facts.soft:
            return "classification", "of targets that are distributions, the largest was taken as the class"
        msg = (
            f"targets from {facts.low:g} to {facts.high:g} for the softmax output {output.name!r}; "
            f"give class ids or one-hot rows, {_SAY}"
        )
        raise DataError(msg)
    return "regression", ""


def _of_maps(facts: Facts, output: Port) -> Answer:
    """Of outputs that have a vector for each position: ``(height, width, c)`` or ``(steps, c)``."""
    classes, positions = classes_of(output), output.shape[:-1]
    per_position = matches(facts.shape, positions) or matches(facts.shape, (*positions, 1))
    two_valued = facts.zero_one or facts.distinct in ((0.0, 255.0), (255.0,))
    if per_position and (two_valued or (facts.integral and classes != 1)):
        return "segmentation", ""
    if matches(facts.shape, output.shape):
        if facts.one_hot or (facts.soft and output.activation == "softmax"):
            return "segmentation", ""
        return "regression", ""
    if per_position and classes == 1:
        return "regression", ""
    raise DataError(_both(facts, output))


def _both(facts: Facts, output: Port) -> str:
    return (
        f"targets of shape {facts.shape} a sample, the output {output.name!r} gives {output.shape}; "
        f"give targets of that shape, or class ids, {_SAY}"
    )
