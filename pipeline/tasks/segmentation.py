"""Models that give each position a class: the counts of a sample are what is resampled, positions are not.

Neighbouring positions err together, so that only whole samples are independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks.classifiers import class_ids
from pipeline.tasks.evidence import Accumulator, Estimate, TaskMetrics, mean
from pipeline.tasks.probabilities import (
    class_scores,
    exclusive_probabilities,
    independent_probabilities,
    loss,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Chunk


NO_CLASS = -1  # of a position's label


def reduce_segmentation(chunk: Chunk) -> Accumulator:
    """Keep each sample's counts of every class.

    Outputs are (n, *positions, classes), or (n, *positions, 1) or (n, *positions) of a foreground alone;
    labels are (n, *positions) class ids, -1 if a position has none: it counts nowhere.
    """
    labels, baseline, quantized = chunk.targets, chunk.baseline, chunk.quantized
    assert labels is not None
    if baseline.shape == labels.shape:
        baseline, quantized = baseline[..., None], quantized[..., None]
    elif labels.shape == (*baseline.shape[:-1], 1):
        labels = labels[..., 0]
    if baseline.shape[:-1] != labels.shape:
        message = f"labels of {labels.shape[1:]} a sample do not fit outputs of {baseline.shape[1:]}; "
        raise InputError(message + "give a class id for each position")
    classes = max(baseline.shape[-1], 2)
    counts = labels.reshape(len(labels), -1) != NO_CLASS
    ids = class_ids(np.where(labels == NO_CLASS, 0, labels), classes).reshape(len(labels), -1)
    rows: dict[str, NDArray[Any]] = {"support": _count(ids, classes, counts)}
    predicted = {}
    for model, outputs in (("baseline", baseline), ("quantized", quantized)):
        flat = outputs.reshape(*ids.shape, -1)
        predicted[model], of_label = _answers(flat, ids, from_logits=chunk.from_logits)
        right = predicted[model] == ids
        rows[f"{model}_found"] = _count(ids, classes, counts & right)
        rows[f"{model}_predicted"] = _count(predicted[model], classes, counts)
        rows[f"{model}_loss"] = _mean(loss(of_label), counts)
    rows["same"] = _mean(predicted["baseline"] == predicted["quantized"], counts)
    labelled = counts.any(axis=1)  # a sample without any class says nothing
    return Accumulator({name: row[labelled] for name, row in rows.items()}, classes=classes)


def evaluate_segmentation(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """Mean IoU, accuracy of positions, mean Dice and cross-entropy."""
    rows = kept.rows
    if not len(rows["support"]):
        message = "no position of the test samples has a class; give masks with classes to test on"
        raise InputError(message)
    there = rows["support"].sum(axis=0) > 0
    estimates = (
        _overlap("mean IoU", rows, there, iou=True),
        _positions(rows),
        _overlap("mean Dice", rows, there, iou=False),
        mean("loss", rows["baseline_loss"], rows["quantized_loss"], unit="nats a position"),
    )
    everywhere = rows["support"].sum(axis=0)
    most = 100 * everywhere.max() / everywhere.sum()
    note = ""
    if estimates[1].baseline <= most and np.count_nonzero(there) > 1:
        note = f"the float model is right on {estimates[1].baseline:.1f} % of the positions, no more than a "
        note += f"model that always answers with the most frequent class ({most:.1f} %)"
    found = {
        model: (rows[f"{model}_found"].sum(axis=0), rows[f"{model}_predicted"].sum(axis=0))
        for model in ("baseline", "quantized")
    }
    return TaskMetrics(
        estimates=estimates,
        note=note,
        classes=class_scores(names, everywhere, found["baseline"], found["quantized"]),
        agreement=float(rows["same"].mean()),
    )


def _answers(
    outputs: NDArray[Any], labels: NDArray[Any], *, from_logits: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return class ids (n, positions) and the probability of each position's label (n, positions)."""
    if outputs.shape[-1] == 1:
        foreground = independent_probabilities(outputs[..., 0], from_logits=from_logits)
        return (foreground > 0.5).astype(np.int64), np.where(labels == 1, foreground, 1 - foreground)
    predicted = outputs.argmax(axis=-1)
    # Masks are large, and a loss needs no more than float32.
    values = exclusive_probabilities(outputs.astype(np.float32), from_logits=from_logits)
    return predicted, np.take_along_axis(values, labels[..., None], axis=-1)[..., 0]


def _count(ids: NDArray[Any], classes: int, counts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count each sample's ids where ``counts``: (n, positions) to (n, classes)."""
    shifted = ids + classes * np.arange(len(ids))[:, None]
    return np.bincount(shifted[counts], minlength=classes * len(ids)).reshape(len(ids), classes)


def _mean(values: NDArray[Any], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average each sample's values where ``counts``: (n, positions) to (n,)."""
    total = np.where(counts, values, 0).sum(axis=1, dtype=np.float64)
    return np.asarray(total / np.maximum(counts.sum(axis=1), 1), np.float64)


def _overlap(name: str, rows: dict[str, NDArray[Any]], there: NDArray[np.bool_], *, iou: bool) -> Estimate:
    """Mean over the classes that are there of intersection over union, or of Dice, in points."""

    def of(model: str) -> tuple[float, NDArray[np.float64]]:
        found, predicted = (
            rows[f"{model}_{what}"][:, there].astype(np.float64) for what in ("found", "predicted")
        )
        both = rows["support"][:, there] + predicted
        part, whole = (found, both - found) if iou else (2 * found, both)
        values = part.sum(axis=0) / whole.sum(axis=0)
        return float(values.mean()), ((part - values * whole) / whole.mean(axis=0)).mean(axis=1)

    (before, influence_before), (after, influence_after) = of("baseline"), of("quantized")
    influence = 100 * (influence_after - influence_before)
    return Estimate(name=name, baseline=100 * before, quantized=100 * after, influence=influence)


def _positions(rows: dict[str, NDArray[Any]]) -> Estimate:
    """Share of positions that are right: samples may differ in size, so it is a ratio of sums."""
    size = rows["support"].sum(axis=1)
    right = {model: rows[f"{model}_found"].sum(axis=1) for model in ("baseline", "quantized")}
    change = right["quantized"] - right["baseline"]
    difference = change.sum() / size.sum()
    return Estimate(
        name="pixel accuracy",
        baseline=100 * float(right["baseline"].sum() / size.sum()),
        quantized=100 * float(right["quantized"].sum() / size.sum()),
        influence=100 * (change - difference * size) / size.mean(),
    )
