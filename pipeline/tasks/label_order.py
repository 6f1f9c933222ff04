"""Find the order of the labels in which a model's outputs fit them best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.scoring import compared
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.task_rules import Task

    Floats = NDArray[np.float64]

# Another order of the labels has to win by this much balanced accuracy on held-out samples, and by 3 sigma.
CLEAR_ORDER = 0.25
MIN_ORDERED = 20
MAX_COLUMNS = 64  # of targets with a column for each output: of more, no order is looked for
TINY = 1e-12
# Classes of an untrained network follow the labels in some order by luck: with balanced accuracies up to
# 1 / sqrt(classes) plus 0.1 over thousands of networks and random confusion matrices.
BY_LUCK = 0.15


def label_order(
    task: Task, outputs: NDArray[Any], target: NDArray[Any], *, from_logits: bool | None = None
) -> tuple[int, ...] | None:
    """Find another assignment of labels to the model's classes that fits far better.

    The assignment maximises what is right in the confusion matrix of one half of the samples and is judged on
    the other half, by the balanced accuracy of the classes that it moves: a weak model has no such order, and
    neither has one that always gives the same answer. In multi-label and
    regression targets each column, of the last axis, is assigned to an output.

    Returns:
        For each class id of the data, or each column of such targets, the model's class or output that it
        fits; None if the labels fit as they are.
    """
    ordered = TASKS[task].ordered
    if not ordered:
        return None
    found: NDArray[Any]
    labels: NDArray[Any]
    if ordered == "numbers":
        found, labels = _channels(outputs, target)
    else:
        found, labels = compared(task, outputs, target, from_logits)
    columns = has_columns(task)
    classes = outputs.shape[-1] if columns else max(outputs.shape[-1], 2)
    if len(labels) < 2 or classes < 2 or (columns and classes > MAX_COLUMNS):
        return None
    judge = {"numbers": _number_gains, "labels": _column_gains}.get(ordered, _class_gains)
    half = np.random.default_rng(0).permutation(len(found)) % 2 == 0
    gains, variances, moved = [], [], 0.0
    for fitted in (half, ~half):
        order = _assignment(task, found[fitted], labels[fitted], classes)
        gain, variance, count = judge(found[~fitted], labels[~fitted], order)
        gains.append(gain.mean() if len(gain) else 0.0)
        variances.append(variance.sum() / max(len(gain), 1) ** 2)
        moved += count
    better, error = float(np.mean(gains)), float(np.sqrt(np.sum(variances))) / 2
    if moved < MIN_ORDERED or better < CLEAR_ORDER or better < 3 * error:
        return None
    order = _assignment(task, found, labels, classes)
    return None if (order == np.arange(classes)).all() else tuple(order.tolist())


def is_beyond_luck(
    task: Task,
    outputs: NDArray[Any],
    target: NDArray[Any],
    order: tuple[int, ...],
    *,
    works: bool,
    from_logits: bool | None = None,
) -> bool:
    """Tell labels in another order from the luck of a model that is not trained, or hardly.

    Some order of the labels always suits such a model. So the model has to be good in this one: its balanced
    accuracy is above what luck gives by two standard errors. A model that ``works`` as it is, because some
    labels are where they belong, is trusted on the others if each of them is the most frequent truth of its
    class, and that class its most frequent answer. Columns are not judged.

    Args:
        order: of ``label_order``.
        works: whether the model is better than chance with the labels as they are.
    """
    if has_columns(task):
        return True
    found, labels = compared(task, outputs, target, from_logits)
    classes, places = len(order), np.arange(len(order))
    counts = np.bincount((labels * classes + found).ravel(), minlength=classes**2).reshape(classes, classes)
    seen, samples = counts.any(axis=1), counts.sum(axis=1) / found.shape[1]
    shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    right = shares[places, order]
    variances = (right * (1 - right) + 1 / (samples + 2)) / np.maximum(samples, 1)
    error = float(np.sqrt(variances[seen].sum())) / seen.sum()
    if right[seen].mean() - 2 * error >= classes**-0.5 + BY_LUCK:
        return True
    identified = (shares.argmax(axis=1) == order) & (shares[:, order].argmax(axis=0) == places)
    return works and bool(identified[seen & (order != places)].all())


def has_columns(task: Task) -> bool:
    """Return whether the targets of a task have a column for each output, whose order may be wrong."""
    return TASKS[task].ordered in {"labels", "numbers"}


def put_in_order(task: Task, target: NDArray[Any], order: tuple[int, ...]) -> NDArray[Any]:
    """Return targets as they are with their labels in that order; positions without a class stay so."""
    if has_columns(task):
        ordered: NDArray[Any] = target[..., np.argsort(order)]
        return ordered
    return np.where(target < 0, target, np.asarray(order)[target])


def _class_gains(
    found: NDArray[Any], labels: NDArray[Any], order: NDArray[np.int64]
) -> tuple[Floats, Floats, float]:
    """Return each moved class's gain in recall, its variance, and the number of samples that tell."""
    moved = order[labels] != labels
    seen, truth, positions = found[moved], labels[moved], found.shape[1]
    gain = (seen == order[truth]).astype(np.float64) - (seen == truth)
    means, variances = [], []
    for label in np.unique(truth):
        of_label = gain[truth == label]
        samples = max(len(of_label) / positions, 1)
        means.append(of_label.mean())
        variances.append((of_label.var() + 1 / (samples + 2)) / samples)
    return np.array(means), np.array(variances), len(truth) / positions


def _column_gains(
    found: NDArray[Any], labels: NDArray[Any], order: NDArray[np.int64]
) -> tuple[Floats, Floats, float]:
    """Return the same for labels that each have an output, with balanced accuracy instead of recall."""
    agreement, places = _agreement(found, labels), np.arange(len(order))
    moved = order != places
    positives = labels.sum(axis=0)
    variances = (1 / np.maximum(positives, 1) + 1 / np.maximum(len(labels) - positives, 1)) / 8
    gain = agreement[places, order] - agreement[places, places]
    return gain[moved], variances[moved], float(len(labels) if moved.any() else 0)


def _agreement(found: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """Return (labels, outputs) balanced accuracies; 1/2 for a label that has one value only."""
    shares = [
        (values.T @ found) / np.maximum(values.sum(axis=0), 1)[:, None] for values in (labels, 1 - labels)
    ]
    there = ((labels.min(axis=0) == 0) & (labels.max(axis=0) == 1))[:, None]
    agreement: Floats = np.where(there, (1 + shares[0] - shares[1]) / 2, 0.5)
    return agreement


def _number_gains(found: Floats, labels: Floats, order: NDArray[np.int64]) -> tuple[Floats, Floats, float]:
    """Return the same for numbers (n, positions, channels), with R2; channels that stay bad gain nothing."""
    fits, places = _explained(found, labels), np.arange(len(order))
    moved = order != places
    variance = np.maximum(labels.var(axis=(0, 1)), TINY)
    errors = ((found - labels) ** 2 - (found[..., order] - labels) ** 2).mean(axis=1) / variance
    gain = fits[places, order] - fits[places, places]
    gain = np.where(fits[places, order] > CLEAR_ORDER, gain, 0.0)
    spread = np.clip(errors, -4, 4).var(axis=0) / len(errors)
    return gain[moved], spread[moved], float(len(labels) if moved.any() else 0)


def _explained(found: Floats, labels: Floats) -> Floats:
    """Return (targets, outputs) R2, at least -1; 0 for a target that never changes."""
    truth, predicted = (values.reshape(-1, values.shape[-1]) for values in (labels, found))
    variance = truth.var(axis=0)
    squares = (
        (truth**2).mean(axis=0)[:, None]
        - 2 * (truth.T @ predicted) / len(predicted)
        + (predicted**2).mean(axis=0)
    )
    fits: Floats = np.maximum(1 - squares / np.maximum(variance, TINY)[:, None], -1.0)
    return np.where((variance > TINY)[:, None], fits, 0.0)


def _channels(outputs: NDArray[Any], target: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return numbers as (n, positions, channels of the last axis)."""
    shape = (len(outputs), -1, outputs.shape[-1])
    return outputs.reshape(shape).astype(np.float64), np.asarray(target, np.float64).reshape(shape)


def _assignment(task: Task, found: NDArray[Any], labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return for each label the class or output that fits it best, one to one; of equals, its own."""
    from scipy.optimize import linear_sum_assignment

    if has_columns(task):
        fits, own = (_explained if TASKS[task].ordered == "numbers" else _agreement)(found, labels), 1e-6
    else:
        fits = np.bincount((labels * classes + found).ravel(), minlength=classes**2).astype(np.float64)
        fits, own = fits.reshape(classes, classes), 0.5 / classes
    _, columns = linear_sum_assignment(fits + own * np.eye(classes), maximize=True)
    order: NDArray[np.int64] = columns.astype(np.int64)
    return order
