"""Which training samples the converter sees: stratified by class, seeded, and never a test sample."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Real data sets have a few exact duplicates across their splits; more than this is a wrong split.
LEAKAGE_LIMIT = 0.01


def sample_hashes(inputs: NDArray[Any]) -> list[str]:
    """sha256 of each sample's bytes, dtype and shape; inputs are (n, ...)."""
    header = f"{inputs.dtype.str}{inputs.shape[1:]}".encode()
    return [hashlib.sha256(header + np.ascontiguousarray(sample).tobytes()).hexdigest() for sample in inputs]


def choose(
    train_inputs: NDArray[Any],
    train_labels: NDArray[np.int64],
    test_inputs: NDArray[Any],
    count: int,
    seed: int,
) -> NDArray[np.int64]:
    """Choose a representative data set.

    Training samples that are also test samples are never chosen. Every class gets its share of ``count`` by
    largest remainder, and at least one sample where ``count`` allows it; within a class the choice is random
    under ``seed``.

    Args:
        train_inputs: (n, ...) training samples.
        train_labels: int64 (n,) class ids.
        test_inputs: (m, ...) test samples, to be kept out.
        count: how many samples to choose; all where there are fewer.
        seed: of the random choice.

    Returns:
        int64 (k,) indices into the training samples, ascending.

    Raises:
        CalibrationError: the training set is empty or overlaps with the test set, a chosen sample is not
            finite, or all chosen samples are constant.
    """
    if not len(train_inputs):
        msg = "the calibration set is empty: there are no training samples to choose from; give some"
        raise CalibrationError(msg)
    allowed = _not_in_test(train_inputs, test_inputs)
    picked = _stratified(train_labels[allowed], min(count, len(allowed)), np.random.default_rng(seed))
    chosen: NDArray[np.int64] = allowed[picked]
    check(train_inputs[chosen], test_inputs)
    return chosen


def _not_in_test(train_inputs: NDArray[Any], test_inputs: NDArray[Any]) -> NDArray[np.int64]:
    """Indices of the training samples that are not test samples; a stray duplicate is passed over."""
    tested = set(sample_hashes(test_inputs))
    allowed = np.array(
        [i for i, digest in enumerate(sample_hashes(train_inputs)) if digest not in tested], np.int64
    )
    shared = len(train_inputs) - len(allowed)
    if shared > LEAKAGE_LIMIT * len(train_inputs):
        msg = (
            f"{shared} of {len(train_inputs)} training samples are also test samples: keep the two sets apart"
        )
        raise CalibrationError(msg)
    return allowed


def check(samples: NDArray[Any], test_inputs: NDArray[Any]) -> None:
    """Refuse a calibration set that would give wrong ranges or that has seen the test.

    Raises:
        CalibrationError: see ``choose``.
    """
    if not len(samples):
        msg = "the calibration set is empty: choose at least one sample"
        raise CalibrationError(msg)
    if samples.dtype.kind not in "fiub":
        msg = f"the calibration samples are {samples.dtype}: give numbers"
        raise CalibrationError(msg)
    if samples.shape[1:] != test_inputs.shape[1:]:
        shapes = f"{samples.shape[1:]} and the test samples {test_inputs.shape[1:]}"
        msg = f"the calibration samples are {shapes}: give one shape"
        raise CalibrationError(msg)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples.reshape(len(samples), -1)).all(axis=1))[0])
        msg = f"calibration sample {bad} holds NaN or Inf: remove or mend it"
        raise CalibrationError(msg)
    if samples.min() == samples.max():
        msg = f"every calibration value is {samples.flat[0]}: constant samples have no range; give real ones"
        raise CalibrationError(msg)
    shared = set(sample_hashes(samples)) & set(sample_hashes(test_inputs))
    if shared:
        overlap = f"{len(shared)} of {len(samples)} calibration samples"
        msg = f"{overlap} are also test samples: keep the two sets apart"
        raise CalibrationError(msg)


def _stratified(labels: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes / sizes.sum()
    quota = np.floor(exact).astype(np.int64)
    if count >= len(classes):
        quota = np.maximum(quota, 1)
    by_remainder = np.argsort(quota - exact, kind="stable")
    while quota.sum() > count:
        quota[np.argmax(quota)] -= 1
    quota[by_remainder[: count - quota.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, quota, strict=True)]
    return np.sort(np.concatenate(chosen))
