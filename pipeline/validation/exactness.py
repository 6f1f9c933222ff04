"""Check whether outputs are bit-exact, and measure their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def differences(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> tuple[int, float]:
    """Count the samples that differ in any bit from the reference, and find the largest difference in steps.

    A step is that of an integer output, and of a float one what it would be in int8: 1/255 of the range of
    the reference's values.
    """
    gap = _gaps(outputs, reference)
    return int(np.count_nonzero(gap)), float(gap.max())


def differing(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which samples (n,) differ in any bit."""
    return _gaps(outputs, reference) > 0


def _gaps(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> NDArray[np.float64]:
    gaps = [_gap(ours, theirs[: len(ours)]) for ours, theirs in zip(outputs, reference, strict=True)]
    largest: NDArray[np.float64] = np.max(gaps, axis=0)
    return largest


def _gap(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest difference of each sample (n,); NaN equals NaN."""
    a, b = (array.astype(np.float64).reshape(len(array), -1) for array in (ours, theirs))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    step = 1.0
    if theirs.dtype.kind == "f":
        finite = b[np.isfinite(b)]
        step = float(np.ptp(finite)) / 255 if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf) / (step or 1.0))
    largest: NDArray[np.float64] = gaps.max(axis=1, initial=0.0)
    return largest


def count_not_finite(outputs: list[NDArray[Any]]) -> int:
    """Return how many samples have an output that is infinite or no number."""
    bad = [
        ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        for array in outputs
        if array.dtype.kind == "f"
    ]
    return int(np.count_nonzero(np.any(bad, axis=0))) if bad else 0
