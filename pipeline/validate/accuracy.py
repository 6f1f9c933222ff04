"""Accuracy of the int8 model against its float baseline, on the same samples.

Both models judge every sample, so what counts is where they differ: the pairs carry far more evidence
than two accuracies do. Nothing here needs a runtime; the inputs are the outputs of both models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Task = Literal["classification", "binary"]

CONFIDENCE = 0.95
CALIBRATION_BINS = 15
# Half a step of an int8 softmax (scale 1/256): below it, int8 says 0. Both models' losses are floored there.
MIN_PROBABILITY = 2.0**-9


@dataclass(frozen=True, kw_only=True)
class AccuracyComparison:
    """Paired accuracy of two classifiers.

    Attributes:
        samples: how many both models judged.
        difference_points: int8 minus float, in percentage points; negative where int8 is worse.
        low_points: lower end of the difference's 95 % interval.
        high_points: upper end.
        right_to_wrong: samples that only the float model has right.
        wrong_to_right: samples that only the int8 model has right.
        mcnemar_p: exact two-sided p of the hypothesis that flips are as likely either way.
        agreement: share of samples with the same predicted class, right or wrong.
        confidence_drift: mean absolute change of the probability of the float model's class.
        baseline_recall: share of each class's samples that are right; None where a class has none.
        baseline_calibration_error: expected |confidence - accuracy| over 15 bins (Guo et al. 2017).
        baseline_loss: mean negative log-likelihood in nats, probabilities floored at 1/512 in both models.
    """

    task: Task
    samples: int
    baseline_accuracy: float
    quantized_accuracy: float
    difference_points: float
    low_points: float
    high_points: float
    right_to_wrong: int
    wrong_to_right: int
    mcnemar_p: float
    agreement: float
    confidence_drift: float
    baseline_recall: tuple[float | None, ...]
    quantized_recall: tuple[float | None, ...]
    baseline_calibration_error: float
    quantized_calibration_error: float
    baseline_loss: float
    quantized_loss: float


def compare(
    baseline_outputs: NDArray[Any],
    quantized_outputs: NDArray[Any],
    labels: NDArray[Any],
    *,
    seed: int,
    bootstrap: int = 2000,
    from_logits: bool | None = None,
) -> AccuracyComparison:
    """Compare two classifiers on the samples that both judged.

    Args:
        baseline_outputs: float (n, classes), or (n, 1) where one output says class 1.
        quantized_outputs: the int8 model's, dequantized, of the same shape.
        labels: integer class ids (n,).
        seed: of the bootstrap.
        bootstrap: how many resamples the interval is made of.
        from_logits: whether outputs are logits; told from the float model's range where None.

    Raises:
        InputError: if shapes disagree, outputs are not finite, or labels name no class.
    """
    labels = np.asarray(labels).reshape(-1)
    _check(baseline_outputs, quantized_outputs, len(labels))
    binary = baseline_outputs.shape[1] == 1
    classes = 2 if binary else baseline_outputs.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        found = f"labels run from {labels.min()} to {labels.max()}"
        message = f"{found} where the model has {classes} classes; give class ids from 0 to {classes - 1}"
        raise InputError(message)
    if from_logits is None:
        from_logits = not _are_probabilities(baseline_outputs)
    baseline = _probabilities(baseline_outputs, from_logits)
    quantized = _probabilities(quantized_outputs, from_logits)

    baseline_class, quantized_class = _predicted(baseline), _predicted(quantized)
    baseline_right, quantized_right = baseline_class == labels, quantized_class == labels
    lost = int(np.count_nonzero(baseline_right & ~quantized_right))
    gained = int(np.count_nonzero(quantized_right & ~baseline_right))
    low, high = _difference_interval(lost, gained, len(labels), seed, bootstrap)
    rows = np.arange(len(labels))
    drift = np.abs(quantized[rows, baseline_class] - baseline[rows, baseline_class])
    return AccuracyComparison(
        task="binary" if binary else "classification",
        samples=len(labels),
        baseline_accuracy=float(baseline_right.mean()),
        quantized_accuracy=float(quantized_right.mean()),
        difference_points=100 * (gained - lost) / len(labels),
        low_points=100 * low,
        high_points=100 * high,
        right_to_wrong=lost,
        wrong_to_right=gained,
        mcnemar_p=mcnemar_exact(lost, gained),
        agreement=float((baseline_class == quantized_class).mean()),
        confidence_drift=float(drift.mean()),
        baseline_recall=_recall(baseline_right, labels, classes),
        quantized_recall=_recall(quantized_right, labels, classes),
        baseline_calibration_error=calibration_error(baseline.max(axis=1), baseline_right),
        quantized_calibration_error=calibration_error(quantized.max(axis=1), quantized_right),
        baseline_loss=_loss(baseline, labels),
        quantized_loss=_loss(quantized, labels),
    )


def non_inferior(comparison: AccuracyComparison, margin_points: float) -> bool | None:
    """Say whether int8 is worse than float by less than the margin.

    Returns:
        True where the whole interval of the difference is above ``-margin_points``, False where all of it is
        at or below, None where the samples do not tell.
    """
    if comparison.low_points > -margin_points:
        return True
    return False if comparison.high_points <= -margin_points else None


def mcnemar_exact(lost: int, gained: int) -> float:
    """Return the exact two-sided p of McNemar's test: flips are Binomial(lost + gained, 1/2)."""
    flips, fewer = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    k = np.arange(1, fewer + 1)
    log_terms = np.concatenate([[0.0], np.cumsum(np.log((flips - k + 1) / k))]) - flips * np.log(2)
    return float(min(1.0, 2 * np.exp(np.logaddexp.reduce(log_terms))))


def calibration_error(confidence: NDArray[Any], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: |confidence - accuracy| over equal bins, weighted by samples.

    Args:
        confidence: probability of the predicted class (n,) in 0..1.
        right: whether the prediction was right (n,).
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _check(baseline: NDArray[Any], quantized: NDArray[Any], samples: int) -> None:
    if baseline.ndim != 2 or baseline.shape != quantized.shape or len(baseline) != samples or not samples:
        shapes = f"float {baseline.shape}, int8 {quantized.shape}, {samples} labels"
        message = f"outputs and labels do not pair up: {shapes}; give both models the same labelled samples"
        raise InputError(message)
    for name, outputs in (("float", baseline), ("int8", quantized)):
        if not np.isfinite(outputs).all():
            row = int(np.argmax(~np.isfinite(outputs).all(axis=1)))
            message = (
                f"the {name} model's output for sample {row} is not finite; check the sample and the model"
            )
            raise InputError(message)


def _are_probabilities(outputs: NDArray[Any]) -> bool:
    if outputs.min() < 0 or outputs.max() > 1:
        return False
    return outputs.shape[1] == 1 or bool(np.abs(outputs.sum(axis=1) - 1).max() < 0.05)


def _probabilities(outputs: NDArray[Any], from_logits: bool) -> NDArray[np.float64]:
    """Return probabilities (n, classes) that sum to 1; one output becomes two classes."""
    values = outputs.astype(np.float64)
    if values.shape[1] == 1:
        # A sigmoid is a softmax over (0, logit).
        values = np.hstack([np.zeros_like(values), values] if from_logits else [1 - values, values])
    if from_logits:
        values = np.exp(values - values.max(axis=1, keepdims=True))
    total = values.sum(axis=1, keepdims=True)
    probabilities: NDArray[np.float64] = values / np.where(total > 0, total, 1)
    return probabilities


def _predicted(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the class ids (n,); a tie goes to the lower one, as on the device."""
    classes: NDArray[np.intp] = probabilities.argmax(axis=1)
    return classes


def _recall(right: NDArray[np.bool_], labels: NDArray[Any], classes: int) -> tuple[float | None, ...]:
    of_class = np.bincount(labels, minlength=classes)
    found = np.bincount(labels[right], minlength=classes)
    return tuple(float(hit / all_) if all_ else None for hit, all_ in zip(found, of_class, strict=True))


def _loss(probabilities: NDArray[np.float64], labels: NDArray[Any]) -> float:
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, MIN_PROBABILITY)).mean())


def _difference_interval(
    lost: int, gained: int, samples: int, seed: int, bootstrap: int
) -> tuple[float, float]:
    """Return the 95 % interval of ``(gained - lost) / samples`` by a paired bootstrap.

    A resample of pairs is one multinomial draw of three counts. Agresti and Min's pseudo-counts (2005: half
    an observation in each cell of the 2x2 table) keep samples without a flip from passing for certainty.
    """
    cells = np.array([lost + 0.5, samples - lost - gained + 1.0, gained + 0.5])
    draws = np.random.default_rng(seed).multinomial(samples, cells / cells.sum(), size=bootstrap)
    return _central((draws[:, 2] - draws[:, 0]) / samples)


def _central(values: NDArray[Any]) -> tuple[float, float]:
    """Return the ends of the central 95 % of bootstrap replicates."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
