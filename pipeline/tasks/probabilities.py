"""Probabilities from a model's outputs, and what is counted on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.comparison import ClassScores, Flips, Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_BINS = 15
# Half a step of an int8 softmax (scale 1/256): below it, int8 says 0. Both models' losses are floored there.
MIN_PROBABILITY = 2.0**-9


def are_probabilities(outputs: NDArray[Any], *, exclusive: bool) -> bool:
    """Say from its range whether a float model's output is probabilities; otherwise it is logits.

    Args:
        outputs: (n, ..., classes).
        exclusive: whether one class excludes the others, so that probabilities sum to 1.
    """
    if outputs.min() < 0 or outputs.max() > 1:
        return False
    return not exclusive or bool(np.abs(outputs.sum(axis=-1) - 1).max() < 0.05)


def exclusive_probabilities(outputs: NDArray[Any], *, from_logits: bool) -> NDArray[Any]:
    """Return probabilities (n, ..., classes) that sum to 1, in the floats of the outputs."""
    from scipy.special import softmax

    if from_logits:
        return np.asarray(softmax(outputs, axis=-1))
    values = np.maximum(outputs, 0)
    total = values.sum(axis=-1, keepdims=True)
    return np.asarray(values / np.where(total > 0, total, 1))


def independent_probabilities(outputs: NDArray[Any], *, from_logits: bool) -> NDArray[np.float64]:
    """Return probabilities of the same shape, each on its own."""
    from scipy.special import expit

    values = outputs.astype(np.float64)
    return np.asarray(expit(values) if from_logits else np.clip(values, 0, 1))


def loss(of_truth: NDArray[Any]) -> NDArray[np.float64]:
    """Negative log-likelihoods in nats, from the probability of what is true."""
    nats: NDArray[np.float64] = -np.log(np.maximum(of_truth, MIN_PROBABILITY))
    return nats


def calibration_error(confidence: NDArray[Any], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: |confidence - accuracy| over equal bins, weighted by samples.

    Args:
        confidence: probability of the predicted class (n,) in 0..1.
        right: whether the prediction was right (n,).
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def flips(baseline_right: NDArray[np.bool_], quantized_right: NDArray[np.bool_]) -> Flips:
    """Count the samples that one model alone has right."""
    lost = int(np.count_nonzero(baseline_right & ~quantized_right))
    gained = int(np.count_nonzero(quantized_right & ~baseline_right))
    return counted_flips(lost, gained)


def counted_flips(lost: int, gained: int) -> Flips:
    """Return the samples that float alone has right, and int8 alone, with the exact p of McNemar's test."""
    from scipy.stats import binomtest

    p = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    return Flips(right_to_wrong=lost, wrong_to_right=gained, mcnemar_p=p)


def class_scores(
    names: tuple[str, ...],
    support: NDArray[Any],
    baseline: tuple[NDArray[Any], NDArray[Any]],
    quantized: tuple[NDArray[Any], NDArray[Any]],
) -> tuple[ClassScores, ...]:
    """Score every class.

    Args:
        names: of the classes; ids where their number is not that of the classes.
        support: how many of each class there are (classes,).
        baseline: how many of each class the model found, and how many it said to be of it: (classes,) each.
        quantized: likewise.
    """
    if len(names) != len(support):
        names = tuple(map(str, range(len(support))))
    return tuple(
        ClassScores(
            name=name,
            support=int(support[index]),
            baseline=_scores(*(int(counts[index]) for counts in (support, *baseline))),
            quantized=_scores(*(int(counts[index]) for counts in (support, *quantized))),
        )
        for index, name in enumerate(names)
    )


def _scores(support: int, found: int, predicted: int) -> Scores:
    return Scores(
        recall=found / support if support else None,
        precision=found / predicted if predicted else None,
        f1=2 * found / (support + predicted) if support + predicted else None,
    )
