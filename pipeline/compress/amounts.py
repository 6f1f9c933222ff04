"""How many zeros each kernel gets, so that all of them together have the share that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.training.keras_io import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Kernels = Mapping[str, NDArray[np.float32]]

Amounts = Literal["uniform", "global", "sensitivity"]

MAX_SPARSITY = 0.98
"""Of a single kernel: with hardly any weight left, it would cut the model in two."""
PROBED = (0.25, 0.5, 0.625, 0.75, 0.875, 0.94, MAX_SPARSITY)
"""Sparsities at which the sensitivity of a kernel is measured; it is interpolated between them."""
HALVINGS = 50
SMALLEST_VARIANCE = 1e-12


def uniform(kernels: Kernels, share: float) -> dict[str, float]:
    """Return the same sparsity for every kernel."""
    return dict.fromkeys(kernels, share)


def by_magnitude(kernels: Kernels, share: float) -> dict[str, float]:
    """Return the sparsity of each kernel if the smallest weights of all of them together become zero.

    Weights of different layers are comparable as scores: the square of a weight over the sum of the squares
    of those of its kernel that are not smaller (LAMP: Lee et al., 2021, arXiv:2010.07611). Unlike plain
    magnitudes, these do not empty a layer whose weights happen to be small.

    Args:
        kernels: float32 weights of any shape, by the layer's name.
        share: of all of the weights, at least 0 and below 1.
    """
    scores = {name: _scores(kernel) for name, kernel in kernels.items()}
    return _shared_out(
        kernels, share, lambda limit: {name: float(np.mean(found < limit)) for name, found in scores.items()}
    )


def by_sensitivity(
    model: Any, kernels: Kernels, share: float, inputs: list[NDArray[Any]]
) -> dict[str, float]:
    """Return sparsities at which all kernels do the same damage, each measured alone.

    The damage is the mean squared change of the model's first output, over that output's variance.

    Args:
        model: a Keras model; its weights are the same afterwards.
        kernels: those to prune, by the layer's name.
        share: of all of the weights, at least 0 and below 1.
        inputs: for each of the model's inputs an array (n, ...).
    """
    expected = predict(model, inputs)[0]
    unit = max(float(expected.var()), SMALLEST_VARIANCE)
    damage = {}
    for name, kernel in kernels.items():
        variable, found = model.get_layer(name).kernel, [0.0]
        for sparsity in PROBED:
            variable.assign(without_smallest(kernel, sparsity))
            found.append(float(np.mean((predict(model, inputs)[0] - expected) ** 2)) / unit)
        variable.assign(kernel)
        damage[name] = np.maximum.accumulate(found)
    points = np.array([0.0, *PROBED])
    return _shared_out(
        kernels,
        share,
        lambda limit: {name: float(np.interp(limit, found, points)) for name, found in damage.items()},
    )


def without_smallest(kernel: NDArray[np.float32], sparsity: float) -> NDArray[np.float32]:
    """Return a kernel whose share of smallest weights is zero."""
    order = np.argsort(np.abs(kernel), axis=None, kind="stable")[: round(sparsity * kernel.size)]
    pruned = kernel.copy()
    pruned.flat[order] = 0
    return pruned


def _scores(kernel: NDArray[np.float32]) -> NDArray[np.float64]:
    squares = np.sort(np.square(kernel.ravel().astype(np.float64)))
    not_smaller = np.cumsum(squares[::-1])[::-1]
    return np.divide(squares, not_smaller, out=np.ones_like(squares), where=not_smaller > 0)


def _shared_out(kernels: Kernels, share: float, at: Callable[[float], dict[str, float]]) -> dict[str, float]:
    """Return the sparsities of the limit at which all kernels together have the share of zeros.

    Args:
        at: sparsity of each kernel by a limit, which does not fall as the limit rises.
    """
    sizes = {name: kernel.size for name, kernel in kernels.items()}
    wanted = share * sum(sizes.values())
    low, high = -60.0, 60.0  # exponents of two
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        zeros = sum(sizes[name] * min(each, MAX_SPARSITY) for name, each in at(2.0**middle).items())
        low, high = (middle, high) if zeros < wanted else (low, middle)
    return {name: min(each, MAX_SPARSITY) for name, each in at(2.0**high).items()}
