"""Codebooks: weights that share few values, found by k-means in one dimension, on NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

Start = Literal["k-means++", "density", "linear"]

# Of one kernel; k-means on a line has converged long before in practice.
_MAX_ROUNDS = 100


class Codebooks(NamedTuple):
    """Weights that share values.

    Attributes:
        values: float32 (values,), those of all groups one after the other.
        codes: int32 (n, groups), the place in ``values`` of each weight.
        fixed: bool (values,), the zeros that stand for pruned weights.
    """

    values: Floats
    codes: NDArray[np.int32]
    fixed: NDArray[np.bool_]

    @property
    def weights(self) -> Floats:
        """What the codes stand for, float32 (n, groups)."""
        return self.values[self.codes]


def share_values(
    weights: Floats, clusters: int, start: Start, keeps_zeros: bool, rng: np.random.Generator
) -> Codebooks:
    """Give the weights of each group at most ``clusters`` values, those of least squared error nearby.

    The values start in one of the three ways of Han et al. (2016, arXiv:1510.00149, section 3.1; random ones
    by k-means++), and k-means refines them (Lloyd's algorithm).

    Args:
        weights: (n, groups).
        keeps_zeros: whether the weights that are zero stay zero. Zero is then one of the values, has exactly
            these weights, and is not moved. A group without zeros has no such value.
        rng: draws the values of "k-means++".
    """
    codes = np.empty(weights.shape, np.int32)
    values: list[float] = []
    fixed: list[bool] = []
    for group, column in enumerate(weights.T.astype(np.float64)):
        zero = column == 0 if keeps_zeros else np.zeros(len(column), bool)
        has_zero = bool(zero.any())
        centroids, members = _k_means(column[~zero], clusters - has_zero, start, rng)
        first = len(values)
        codes[zero, group] = first
        codes[~zero, group] = first + has_zero + members
        values += [0.0] * has_zero + centroids.tolist()
        fixed += [True] * has_zero + [False] * len(centroids)
    return Codebooks(np.asarray(values, np.float32), codes, np.asarray(fixed, bool))


def _k_means(
    weights: Doubles, clusters: int, start: Start, rng: np.random.Generator
) -> tuple[Doubles, NDArray[np.intp]]:
    """Return at most ``clusters`` means, ascending, and the place in them of each of the weights (n,)."""
    if not len(weights):
        return np.empty(0), np.empty(0, np.intp)
    centroids = np.unique(_STARTS[start](weights, clusters, rng))
    members = _nearest(weights, centroids)
    for _ in range(_MAX_ROUNDS):
        sizes = np.bincount(members, minlength=len(centroids))
        sums = np.bincount(members, weights, minlength=len(centroids))
        np.divide(sums, sizes, out=centroids, where=sizes > 0)
        before, members = members, _nearest(weights, centroids)
        if np.array_equal(before, members):
            break
    used, members = np.unique(members, return_inverse=True)
    return centroids[used], members


def _nearest(weights: Doubles, centroids: Doubles) -> NDArray[np.intp]:
    """Return the place of the nearest of ascending centroids for each weight."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, weights)


def _plus_plus(weights: Doubles, clusters: int, rng: np.random.Generator) -> Doubles:
    """Draw weights, each with a probability in proportion to its squared distance from those drawn before.

    Arthur and Vassilvitskii, 2007, "k-means++: The Advantages of Careful Seeding".
    """
    drawn = [rng.choice(weights)]
    distances = np.square(weights - drawn[0])
    while len(drawn) < clusters and distances.any():
        drawn.append(rng.choice(weights, p=distances / distances.sum()))
        distances = np.minimum(distances, np.square(weights - drawn[-1]))
    return np.asarray(drawn)


def _by_density(weights: Doubles, clusters: int, rng: np.random.Generator) -> Doubles:
    """Return the weights at which the distribution function reaches evenly spaced shares."""
    return np.asarray(np.quantile(weights, (np.arange(clusters) + 0.5) / clusters))


def _linear(weights: Doubles, clusters: int, rng: np.random.Generator) -> Doubles:
    """Return evenly spaced values from the smallest to the largest weight."""
    return np.linspace(float(weights.min()), float(weights.max()), clusters)


_STARTS: dict[Start, Callable[[Doubles, int, np.random.Generator], Doubles]] = {
    "k-means++": _plus_plus,
    "density": _by_density,
    "linear": _linear,
}
