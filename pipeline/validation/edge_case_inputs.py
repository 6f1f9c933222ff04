"""Edge-case inputs: extreme, saturated, constant, alternating, random, NaN and infinite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.runtimes.session import ModelDetails, Tensor

SAMPLES = 4
BEYOND = 10
"""Factor between the ordinary range of a float input and its edge cases."""


def make_edge_cases(ordinary: list[NDArray[Any]], details: ModelDetails) -> dict[str, list[NDArray[Any]]]:
    """Return edge-case inputs by name, each with an array (4, ...) per input in its dtype.

    Args:
        ordinary: samples, for each input an array (n, ...).
        details: of the model; integers without a scale are indices and stay among the ordinary ones.
    """
    rng = np.random.default_rng(0)
    bounds = [_bounds(array, tensor) for array, tensor in zip(ordinary, details.inputs, strict=True)]
    few = [np.resize(array, (SAMPLES, *array.shape[1:])) for array in ordinary]

    def filled(pattern: Any) -> list[NDArray[Any]]:
        return [
            np.broadcast_to(pattern(array, *ends), array.shape).astype(array.dtype)
            for array, ends in zip(few, bounds, strict=True)
        ]

    kinds = {
        "random": filled(_random(rng)),
        "all smallest": filled(lambda _, low, high: low),
        "all largest": filled(lambda _, low, high: high),
        "saturated": filled(lambda array, low, high: np.where(rng.random(array.shape) < 0.5, low, high)),
        "constant": filled(lambda array, low, high: array.ravel()[0]),
        "alternating": filled(
            lambda array, low, high: np.where(np.arange(array.size).reshape(array.shape) % 2, low, high)
        ),
    }
    if any(array.dtype.kind == "f" for array in few):
        for name, value in (("NaN", np.nan), ("infinite", np.inf)):
            kinds[name] = [np.full_like(array, value) if array.dtype.kind == "f" else array for array in few]
    return kinds


def _bounds(array: NDArray[Any], tensor: Tensor) -> tuple[Any, Any]:
    """Return the ends of what an input takes."""
    if tensor.scale is not None:
        limits = np.iinfo(array.dtype)
        return limits.min, limits.max
    if array.dtype.kind == "f":
        most = BEYOND * max(float(np.abs(array).max()), 1.0)
        return -most, most
    return array.min(), array.max()


def _random(rng: np.random.Generator) -> Any:
    def make(array: NDArray[Any], low: Any, high: Any) -> NDArray[Any]:
        if array.dtype.kind == "f":
            return rng.uniform(low, high, array.shape)
        return rng.integers(int(low), int(high), array.shape, np.int64, endpoint=True)

    return make
