"""Models that say any of several labels, each on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks import ranking
from pipeline.tasks.classifiers import pooled_f1
from pipeline.tasks.evidence import Accumulator, Estimate, TaskMetrics, mean, share
from pipeline.tasks.probabilities import (
    calibration_error,
    class_scores,
    flips,
    independent_probabilities,
    loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Chunk
    from pipeline.tasks.ranking import Ranking


def reduce_multilabel(chunk: Chunk) -> Accumulator:
    """Keep outputs and labels, since ranks need all of them; both (n, labels)."""
    targets = chunk.targets
    assert targets is not None
    if targets.shape != chunk.baseline.shape:
        message = f"targets of {targets.shape[1:]} a sample do not fit {chunk.baseline.shape[1]} outputs; "
        raise InputError(message + "give 0 or 1 for each output")
    if not ((targets == 0) | (targets == 1)).all():
        message = f"targets run from {targets.min()} to {targets.max()}; give 0 or 1 for each output"
        raise InputError(message)
    rows = {
        "truth": targets.astype(bool),
        "baseline_score": chunk.baseline,
        "quantized_score": chunk.quantized,
        "baseline": independent_probabilities(chunk.baseline, from_logits=chunk.from_logits).astype(
            "float32"
        ),
        "quantized": independent_probabilities(chunk.quantized, from_logits=chunk.from_logits).astype(
            "float32"
        ),
    }
    return Accumulator(rows, classes=targets.shape[1])


def evaluate_multilabel(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """Mean average precision, macro AUC, micro F1, whole sets that are right, and binary cross-entropy.

    Average precision comes first: labels are mostly absent, so that a share of right answers, and even AUC,
    hardly shows when those few that are there are no longer found.
    """
    truth, baseline, quantized = (kept.rows[name] for name in ("truth", "baseline", "quantized"))
    predicted_before, predicted_after = baseline > 0.5, quantized > 0.5
    whole_before, whole_after = (
        (predicted_before == truth).all(axis=1),
        (predicted_after == truth).all(axis=1),
    )
    ranked = [label for label in range(kept.classes) if ranking.has_both(truth[:, label])]
    estimates, note = [], ""
    if ranked:
        precision = _ranked("mean average precision", ranking.average_precision, kept, ranked)
        estimates += [precision, _ranked("macro AUC", ranking.auc, kept, ranked)]
        note = _at_chance(estimates[1].baseline, truth, ranked)
    else:
        note = "no label is there in some samples and not in others, so that nothing can be ranked"
    # Without a label to rank, the whole sets are what is left to judge.
    whole = share("subset accuracy", whole_before, whole_after)
    counts = [(truth & predicted, predicted) for predicted in (predicted_before, predicted_after)]
    if truth.any():
        sums = [(found.sum(axis=1), predicted.sum(axis=1)) for found, predicted in counts]
        estimates.append(pooled_f1("micro F1", truth.sum(axis=1), sums[0], sums[1]))
    estimates.insert(len(estimates) if ranked else 0, whole)
    losses = [
        loss(np.where(truth, probability, 1 - probability)).mean(axis=1)
        for probability in (baseline, quantized)
    ]
    estimates.append(mean("loss", losses[0], losses[1], unit="nats a label"))
    columns = [(found.sum(axis=0), predicted.sum(axis=0)) for found, predicted in counts]
    return TaskMetrics(
        estimates=tuple(estimates),
        note=note,
        classes=class_scores(names, truth.sum(axis=0), columns[0], columns[1]),
        flips=flips(whole_before, whole_after),
        agreement=float((predicted_before == predicted_after).mean()),
        confidence_drift=float(np.abs(quantized - baseline).mean()),
        baseline_calibration_error=_calibration_error(baseline, truth),
        quantized_calibration_error=_calibration_error(quantized, truth),
    )


def _ranked(
    name: str,
    by: Callable[[NDArray[Any], NDArray[np.bool_]], Ranking],
    kept: Accumulator,
    labels: list[int],
) -> Estimate:
    """Return the mean over the labels of how well each is ranked."""
    before, after, truth = (kept.rows[key] for key in ("baseline_score", "quantized_score", "truth"))
    each = [ranking.estimate("", by, before[:, at], after[:, at], truth[:, at]) for at in labels]
    influences = [estimate.influence for estimate in each if estimate.influence is not None]
    return Estimate(
        name=name,
        baseline=float(np.mean([estimate.baseline for estimate in each])),
        quantized=float(np.mean([estimate.quantized for estimate in each])),
        influence=np.sum(influences, axis=0) / len(each),
        reach=max(estimate.reach for estimate in each) / len(each),
    )


def _at_chance(area: float, truth: NDArray[np.bool_], ranked: list[int]) -> str:
    """Labels may go together, so that their mean is allowed what one of them is."""
    limit = float(np.mean([ranking.chance_area(truth[:, label]) for label in ranked]))
    if area > 100 * limit:
        return ""
    return ranking.at_chance_note(area, "macro AUC", fix="are the labels in the model's order?")


def _calibration_error(probabilities: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    predicted = probabilities > 0.5
    confidence = np.where(predicted, probabilities, 1 - probabilities)
    return calibration_error(confidence.ravel(), (predicted == truth).ravel())
