"""What two classifiers get wrong, to look at: confusions, confidences and flipped samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.comparison import Confidences, Confusion, FlippedSample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]

MAX_CONFUSED_CLASSES = 40
CONFIDENCE_BINS = 20
MAX_LOST, MAX_GAINED = 16, 8
"""Samples that are kept of those that only float has right, and of those that only int8 has right."""


def confusion(rows: Rows, classes: int) -> Confusion | None:
    """Count true and predicted classes; None for more than ``MAX_CONFUSED_CLASSES``.

    Args:
        rows: arrays (n,): "label", and "baseline_class" and "quantized_class" that were predicted.
    """
    if classes > MAX_CONFUSED_CLASSES:
        return None

    def of(predicted: NDArray[Any]) -> tuple[tuple[int, ...], ...]:
        places = rows["label"] * classes + predicted
        counts = np.bincount(places, minlength=classes * classes).reshape(classes, classes)
        return tuple(tuple(row) for row in counts.tolist())

    return Confusion(baseline=of(rows["baseline_class"]), quantized=of(rows["quantized_class"]))


def confidences(rows: Rows) -> Confidences:
    """Count samples by "baseline_confidence" and "quantized_confidence", 0..1 (n,)."""

    def of(values: NDArray[Any]) -> tuple[int, ...]:
        return tuple(np.histogram(values, CONFIDENCE_BINS, (0.0, 1.0))[0].tolist())

    return Confidences(baseline=of(rows["baseline_confidence"]), quantized=of(rows["quantized_confidence"]))


def flipped_samples(rows: Rows, names: tuple[str, ...]) -> tuple[FlippedSample, ...]:
    """Return samples that only one model has right, those first that the wrong model is surest of.

    Args:
        names: of the classes.
    """

    def described(model: str, place: int) -> tuple[str, float]:
        return names[rows[f"{model}_class"][place]], round(float(rows[f"{model}_confidence"][place]), 4)

    return tuple(
        FlippedSample(
            sample=place,
            label=names[rows["label"][place]],
            baseline=described("baseline", place),
            quantized=described("quantized", place),
        )
        for place in (*_surest(rows, "quantized", MAX_LOST), *_surest(rows, "baseline", MAX_GAINED))
    )


def _surest(rows: Rows, wrong: str, most: int) -> Iterator[int]:
    """Yield the samples that only the other model has right, by the confidence of the wrong one."""
    right = "quantized" if wrong == "baseline" else "baseline"
    places = np.flatnonzero((rows[f"{wrong}_rank"] > 0) & (rows[f"{right}_rank"] == 0))
    order = np.argsort(-rows[f"{wrong}_confidence"][places], kind="stable")
    yield from places[order][:most].tolist()
