"""Choose the calibration samples among the training samples, with a seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from calibration.errors import CalibrationError
from calibration.features import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from calibration.strata import Strata

    Array = NDArray[Any]
    Places = NDArray[np.int64]

AUTO = "auto"
MAX_CANDIDATES = 8192
"""Training samples that coverage sampling compares; a random part of more."""


@dataclass(frozen=True)
class Pool:
    """The training samples to choose from.

    Attributes:
        size: how many there are.
        strata: their groups, by each property that is known of them; () if there are no targets.
        features: given int64 (k,) ascending row numbers, returns float32 (k, features) of these samples.
    """

    size: int
    strata: Sequence[Strata] = ()
    features: Callable[[Places], NDArray[np.float32]] | None = None


class Choice(NamedTuple):
    """The chosen samples.

    Attributes:
        places: int64 (k,) row numbers of the training samples, ascending.
        sampling: the method that chose them, a key of ``SAMPLING``.
    """

    places: Places
    sampling: str


def choose(pool: Pool, count: int, seed: int, sampling: str = AUTO) -> Choice:
    """Choose training samples.

    Args:
        pool: what to choose from.
        count: number of samples; all if there are fewer.
        seed: random seed.
        sampling: a key of ``SAMPLING``; "auto" is "stratified" if there are strata, else "random".

    Raises:
        CalibrationError: the training set is empty, or lacks what the method needs.
    """
    if not pool.size:
        msg = "the calibration set is empty: there are no training samples"
        raise CalibrationError(msg)
    if sampling == AUTO:
        sampling = "stratified" if pool.strata else "random"
    places = SAMPLING[sampling](pool, min(count, pool.size), np.random.default_rng(seed))
    return Choice(np.sort(places), sampling)


def _random(pool: Pool, count: int, rng: np.random.Generator) -> Places:
    """Choose at random, each sample with the same chance."""
    return rng.permutation(pool.size)[:count]


def _stratified(pool: Pool, count: int, rng: np.random.Generator) -> Places:
    """Choose the share of each stratum, and at least one sample of each where ``count`` allows it.

    Samples may be in several strata, such as those of their labels. The rarest stratum is served first,
    because its samples count for common ones, too, as in the iterative stratification of Sechidis, Tsoumakas
    and Vlahavas (2011). Within a stratum the choice is random among the samples that are in the fewest strata
    served before.

    Raises:
        CalibrationError: there are no strata.
    """
    if not pool.strata:
        msg = (
            "there are no targets to stratify calibration samples by; "
            'set [calibration] sampling to "random" or "coverage"'
        )
        raise CalibrationError(msg)
    wanted = [
        (rows, int(quota))
        for strata in pool.strata
        for rows, quota in zip(strata.members.values(), _quotas(strata, pool.size, count), strict=True)
    ]
    chosen, served = np.zeros(pool.size, bool), np.zeros(pool.size, np.int32)

    def take(rows: Places, missing: int) -> None:
        free = rng.permutation(rows[~chosen[rows]])
        chosen[free[np.argsort(served[free], kind="stable")][: max(missing, 0)]] = True

    for rows, quota in sorted(wanted, key=lambda each: len(each[0])):
        take(rows, min(quota - int(chosen[rows].sum()), count - int(chosen.sum())))
        served[rows] += 1
    take(np.arange(pool.size), count - int(chosen.sum()))
    return np.flatnonzero(chosen)


def _quotas(strata: Strata, size: int, count: int) -> Places:
    """Return how many samples of each group to choose: its share, and at least one where ``count`` allows.

    The quotas of exclusive groups are made to sum to ``count`` by largest remainder.
    """
    sizes = np.array([len(rows) for rows in strata.members.values()])
    exact = count * sizes / (sizes.sum() if strata.exclusive else size)
    if not strata.exclusive:
        return np.minimum(np.maximum(np.round(exact).astype(np.int64), 1), sizes)
    quotas = np.floor(exact).astype(np.int64)
    if count >= len(sizes):
        quotas = np.maximum(quotas, 1)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    while quotas.sum() > count:
        quotas[np.argmax(quotas)] -= 1
    quotas[by_remainder[: count - quotas.sum()]] += 1
    return quotas


def _coverage(pool: Pool, count: int, rng: np.random.Generator) -> Places:
    """Choose samples that are far from each other in feature space.

    Greedy k-center (farthest-first traversal): the next sample is the one farthest from all chosen ones
    (Gonzalez 1985; used to choose training samples by Sener and Savarese 2018). It finds rare samples without
    labels, and outliers with them.

    Raises:
        CalibrationError: there are no features.
    """
    if pool.features is None:
        msg = 'there are no features of the samples; set [calibration] sampling to "random"'
        raise CalibrationError(msg)
    candidates = np.sort(rng.permutation(pool.size)[: max(MAX_CANDIDATES, count)])
    features = scaled(pool.features(candidates))
    nearest = np.full(len(candidates), np.inf, np.float32)
    places = [int(rng.integers(len(candidates)))]
    while len(places) < count:
        nearest = np.minimum(nearest, ((features - features[places[-1]]) ** 2).sum(axis=1))
        nearest[places] = -1  # equal samples have no distance
        places.append(int(np.argmax(nearest)))
    return candidates[places]


SAMPLING: dict[str, Callable[[Pool, int, np.random.Generator], Any]] = {
    "random": _random,
    "stratified": _stratified,
    "coverage": _coverage,
}
"""Methods to choose ``count`` of the samples of a pool; each returns their row numbers, int64 (count,)."""


def sample_hashes(inputs: Sequence[Array]) -> list[str]:
    """Return the SHA-256 of each sample, over bytes, dtype and shape of all its inputs, each (n, ...)."""
    hashes = [hashlib.sha256() for _ in inputs[0]]
    for values in inputs:
        header = f"{values.dtype.str}{values.shape[1:]}".encode()
        for digest, sample in zip(hashes, values, strict=True):
            digest.update(header + np.ascontiguousarray(sample).tobytes())
    return [digest.hexdigest() for digest in hashes]


def check(inputs: Sequence[Array]) -> None:
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
