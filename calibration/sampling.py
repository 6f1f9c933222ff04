"""Choose the calibration samples: stratified by class, with a seed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def sample_hashes(inputs: Sequence[NDArray[Any]]) -> list[str]:
    """Return the SHA-256 of each sample, over bytes, dtype and shape of all its inputs, each (n, ...)."""
    hashes = [hashlib.sha256() for _ in inputs[0]]
    for values in inputs:
        header = f"{values.dtype.str}{values.shape[1:]}".encode()
        for digest, sample in zip(hashes, values, strict=True):
            digest.update(header + np.ascontiguousarray(sample).tobytes())
    return [digest.hexdigest() for digest in hashes]


def choose(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose representative training samples.

    Every class gets its share of ``count`` by largest remainder, and at least one sample if ``count``
    allows it; within a class the choice is random under ``seed``.

    Args:
        labels: int64 (n,) class ids of the training samples.
        count: number of samples; all if there are fewer.
        seed: random seed.

    Returns:
        int64 (k,) row numbers of the training samples, ascending.

    Raises:
        CalibrationError: the training set is empty.
    """
    if not len(labels):
        msg = "the calibration set is empty: there are no training samples"
        raise CalibrationError(msg)
    return _stratified(labels, min(count, len(labels)), np.random.default_rng(seed))


def check(inputs: Sequence[NDArray[Any]]) -> None:
    """Reject calibration samples that would give wrong ranges.

    Args:
        inputs: for each of the model's inputs (k, ...) chosen samples.

    Raises:
        CalibrationError: there are no samples, one is not finite, or all are constant.
    """
    for samples in inputs:
        if not len(samples):
            msg = "the calibration set is empty; use at least one sample"
            raise CalibrationError(msg)
        if samples.dtype.kind not in "fiub":
            msg = f"the calibration samples are {samples.dtype}; they must be numbers"
            raise CalibrationError(msg)
        if samples.dtype.kind == "f" and not np.isfinite(samples).all():
            bad = int(np.flatnonzero(~np.isfinite(samples.reshape(len(samples), -1)).all(axis=1))[0])
            msg = f"calibration sample {bad} contains NaN or Inf; remove or impute it"
            raise CalibrationError(msg)
        if samples.min() == samples.max():
            value = samples.flat[0]
            msg = f"every calibration value is {value}: constant samples have no range; use real samples"
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
