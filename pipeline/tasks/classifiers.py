"""Metrics of classifiers with exclusive classes: several outputs, or a single one for two classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks import ranking
from pipeline.tasks.evidence import Accumulator, Estimate, TaskMetrics, mean, share
from pipeline.tasks.mistakes import confidences, confusion, flipped_samples
from pipeline.tasks.probabilities import (
    calibration_error,
    class_scores,
    counted_flips,
    exclusive_probabilities,
    flips,
    independent_probabilities,
    loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Chunk
    from pipeline.tasks.ranking import Ranking

MAX_CLASSES_OF_TOP_3 = 9


def reduce_classification(chunk: Chunk) -> Accumulator:
    """Reduce the outputs (n, classes) of both models and the labels (n,) to what the metrics need."""
    classes = chunk.baseline.shape[1]
    baseline = exclusive_probabilities(chunk.baseline.astype(np.float64), from_logits=chunk.from_logits)
    quantized = exclusive_probabilities(chunk.quantized.astype(np.float64), from_logits=chunk.from_logits)
    rows = _predictions(baseline, quantized, class_ids(chunk.targets, classes))
    if classes == 2:
        rows |= {"baseline_score": baseline[:, 1], "quantized_score": quantized[:, 1]}
    return Accumulator(rows, classes=classes)


def reduce_binary(chunk: Chunk) -> Accumulator:
    """Reduce the outputs (n, 1) for class 1 of both models and the labels (n,) to what the metrics need."""
    if chunk.baseline.shape[1] != 1:
        message = f"a binary classifier has one output a sample, this model {chunk.baseline.shape[1]}; "
        raise InputError(message + 'its task is "classification" or "multi-label"')
    labels = class_ids(chunk.targets, 2)
    baseline = independent_probabilities(chunk.baseline, from_logits=chunk.from_logits)
    quantized = independent_probabilities(chunk.quantized, from_logits=chunk.from_logits)
    rows = _predictions(np.hstack([1 - baseline, baseline]), np.hstack([1 - quantized, quantized]), labels)
    # Rank the outputs themselves: far from 0 a sigmoid in floating point creates ties.
    scores = {"baseline_score": chunk.baseline[:, 0], "quantized_score": chunk.quantized[:, 0]}
    return Accumulator(rows | scores, classes=2)


def evaluate_classification(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """Return top-1, top-k or (for two classes) AUC, macro F1 and cross-entropy."""
    rows, classes = kept.rows, kept.classes
    estimates = [share("top-1", rows["baseline_rank"] == 0, rows["quantized_rank"] == 0)]
    if classes >= 4:
        most = 3 if classes <= MAX_CLASSES_OF_TOP_3 else 5
        estimates.append(share(f"top-{most}", rows["baseline_rank"] < most, rows["quantized_rank"] < most))
    if classes == 2 and ranking.has_both(rows["label"] == 1):
        estimates.append(_ranked("AUC", ranking.auc, rows))
    estimates += [_macro_f1(rows, classes), _loss(rows)]
    return _findings(rows, classes, names, estimates, _at_chance(rows, classes))


def evaluate_binary(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """Return accuracy at 0.5, AUC, average precision, F1 of class 1 and cross-entropy."""
    rows = kept.rows
    positive = rows["label"] == 1
    estimates = [share("accuracy", rows["baseline_rank"] == 0, rows["quantized_rank"] == 0)]
    notes = []
    if ranking.has_both(positive):
        area = _ranked("AUC", ranking.auc, rows)
        estimates += [area, _ranked("average precision", ranking.average_precision, rows)]
        if area.baseline <= 100 * ranking.chance_area(positive):
            notes.append(ranking.at_chance_note(area.baseline, fix="is class 1 the positive class?"))
    else:
        notes.append(f"every sample is of class {rows['label'][0]}, so that there is no AUC")
    if positive.any():
        estimates.append(
            pooled_f1(
                "F1",
                positive,
                (positive & (rows["baseline_class"] == 1), rows["baseline_class"] == 1),
                (positive & (rows["quantized_class"] == 1), rows["quantized_class"] == 1),
            )
        )
    estimates.append(_loss(rows))
    notes += [_at_chance(rows, 2)] if not notes else []
    return _findings(rows, 2, names, estimates, "; ".join(filter(None, notes)))


def class_ids(labels: NDArray[Any] | None, classes: int) -> NDArray[Any]:
    """Return labels as int64 class ids.

    Raises:
        InputError: a label is not a class id.
    """
    assert labels is not None
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iub" or labels.min() < 0 or labels.max() >= classes:
        found = f"labels run from {labels.min()} to {labels.max()}"
        message = f"{found} where the model has {classes} classes; give class ids from 0 to {classes - 1}"
        raise InputError(message)
    return labels.astype(np.int64)


def commonest(labels: NDArray[Any]) -> float:
    """Return the share of the most frequent class, 0..1."""
    return float(np.bincount(labels.reshape(-1)).max() / labels.size)


def pooled_f1(
    name: str,
    support: NDArray[Any],
    baseline: tuple[NDArray[Any], NDArray[Any]],
    quantized: tuple[NDArray[Any], NDArray[Any]],
) -> Estimate:
    """Return F1 in points from the counts of each sample (n,): actual, correctly found and predicted."""

    def of(found: NDArray[Any], predicted: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
        both = support.astype(np.float64) + predicted
        value = 2 * found.sum() / both.sum()
        return float(value), (2 * found - value * both) / both.mean()

    (before, influence_before), (after, influence_after) = of(*baseline), of(*quantized)
    influence = 100 * (influence_after - influence_before)
    return Estimate(name=name, baseline=100 * before, quantized=100 * after, influence=influence)


def _predictions(
    baseline: NDArray[np.float64], quantized: NDArray[np.float64], labels: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Reduce probabilities (n, classes) to what the metrics need."""
    every = np.arange(len(labels))
    baseline_class = baseline.argmax(axis=1)
    rows = {"label": labels, "drift": np.abs(quantized - baseline)[every, baseline_class]}
    for model, probabilities in (("baseline", baseline), ("quantized", quantized)):
        rows[f"{model}_class"] = probabilities.argmax(axis=1)
        rows[f"{model}_confidence"] = probabilities.max(axis=1)
        rows[f"{model}_rank"] = _rank(probabilities, labels)
        rows[f"{model}_loss"] = loss(probabilities[every, labels])
    return rows


def _rank(probabilities: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Return how many classes rank before the label's; ties go to the lower id, as on the device."""
    of_label = probabilities[np.arange(len(labels)), labels][:, None]
    lower = np.arange(probabilities.shape[1]) < labels[:, None]
    before = (probabilities > of_label) | ((probabilities == of_label) & lower)
    ranks: NDArray[np.intp] = before.sum(axis=1)
    return ranks


def _loss(rows: dict[str, NDArray[Any]]) -> Estimate:
    return mean("loss", rows["baseline_loss"], rows["quantized_loss"], unit="nats")


def _ranked(name: str, by: Callable[..., Ranking], rows: dict[str, NDArray[Any]]) -> Estimate:
    return ranking.estimate(name, by, rows["baseline_score"], rows["quantized_score"], rows["label"] == 1)


def _macro_f1(rows: dict[str, NDArray[Any]], classes: int) -> Estimate:
    """Return the mean F1 of the classes with samples, in points."""
    labels = rows["label"]
    support = np.bincount(labels, minlength=classes)
    there = support > 0

    def of(predicted: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
        right = predicted == labels
        both = np.maximum(support + np.bincount(predicted, minlength=classes), 1)
        f1 = np.where(there, 2 * np.bincount(labels[right], minlength=classes) / both, 0)
        pull = f1 / both  # how much one more sample of a class, or one more prediction of it, lowers its F1
        influence = 2 * right / both[labels] - pull[labels] - pull[predicted]
        return float(f1[there].mean()), influence * len(labels) / np.count_nonzero(there)

    before, influence_before = of(rows["baseline_class"])
    after, influence_after = of(rows["quantized_class"])
    return Estimate(
        name="macro F1",
        baseline=100 * before,
        quantized=100 * after,
        influence=100 * (influence_after - influence_before),
    )


def _at_chance(rows: dict[str, NDArray[Any]], classes: int) -> str:
    labels = rows["label"]
    right = float((rows["baseline_rank"] == 0).mean())
    if right <= 1 / classes + 1.96 * np.sqrt((1 - 1 / classes) / classes / len(labels)):
        return (
            f"the float model is right on {right:.1%} of the samples, not measurably better than chance "
            f"({1 / classes:.1%} with {classes} classes): are the labels in the model's order?"
        )
    if right <= commonest(labels):
        share_of_it = f"{commonest(labels):.1%}"
        return (
            f"the float model is right on {right:.1%} of the samples, no more than a model that always "
            f"answers with the most frequent class ({share_of_it})"
        )
    return ""


def _findings(
    rows: dict[str, NDArray[Any]], classes: int, names: tuple[str, ...], estimates: list[Estimate], note: str
) -> TaskMetrics:
    labels = rows["label"]
    right = {model: rows[f"{model}_rank"] == 0 for model in ("baseline", "quantized")}
    counts = {
        model: (
            np.bincount(labels[right[model]], minlength=classes),
            np.bincount(rows[f"{model}_class"], minlength=classes),
        )
        for model in right
    }
    support = np.bincount(labels, minlength=classes)
    scores = class_scores(names, support, counts["baseline"], counts["quantized"])
    only = {
        model: np.bincount(labels[right[model] & ~right[other]], minlength=classes)
        for model, other in (("baseline", "quantized"), ("quantized", "baseline"))
    }
    return TaskMetrics(
        estimates=tuple(estimates),
        note=note,
        class_counts=_class_counts(rows, classes),
        classes=tuple(
            replace(score, flips=counted_flips(int(lost), int(gained)))
            for score, lost, gained in zip(scores, only["baseline"], only["quantized"], strict=True)
        ),
        flips=flips(right["baseline"], right["quantized"]),
        agreement=float((rows["baseline_class"] == rows["quantized_class"]).mean()),
        confidence_drift=float(rows["drift"].mean()),
        baseline_calibration_error=calibration_error(rows["baseline_confidence"], right["baseline"]),
        quantized_calibration_error=calibration_error(rows["quantized_confidence"], right["quantized"]),
        confusion=confusion(rows, classes),
        confidences=confidences(rows),
        flipped=flipped_samples(rows, tuple(score.name for score in scores)),
    )


def _class_counts(rows: dict[str, NDArray[Any]], classes: int) -> NDArray[np.int64]:
    """Return the counts (7, classes) that determine the F1 of each class, for ``resampling.f1_changes``."""
    label, before, after = (rows[name] for name in ("label", "baseline_class", "quantized_class"))
    was, now, same = before == label, after == label, before == after
    found = (label[was & now], label[was & ~now], label[~was & now], label[~was & ~now])
    wrong = (before[~was & same], before[~was & ~same], after[~now & ~same])
    return np.array([np.bincount(of, minlength=classes) for of in (*found, *wrong)])
