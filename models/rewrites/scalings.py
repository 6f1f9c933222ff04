"""Layers that multiply and shift each channel at inference, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.layer_rules import LAYERS
from models.rewrites.edit import affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.graph import Layer
    from models.shapes import Shape

_DEFAULT_EPSILON = 1e-3  # default of tf_keras's BatchNormalization
_NORMALIZATION_EPSILON = 1e-7  # tf_keras.backend.epsilon()


@dataclass(frozen=True)
class Affine:
    """``x * scale + offset``, float64 arrays that broadcast to one sample of ``x``."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def inverse(self) -> Affine:
        """Return what undoes it; no scale may be zero."""
        return Affine(1 / self.scale, -self.offset / self.scale)

    def then(self, after: Affine) -> Affine:
        """Return the two one after the other."""
        return Affine(self.scale * after.scale, self.offset * after.scale + after.offset)


def as_normalization(layer: Layer, shape: Shape) -> Layer | None:
    """Return the BatchNormalization over the last axis that does the work of ``layer``, or None.

    Args:
        layer: one that ``scales``.
        shape: of its input, the batch first.
    """
    config, channels = layer.config, shape[-1]
    axis = config.get("axis", -1)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    if channels is None or len(shape) < 2:
        return None
    if layer.kind == "BatchNormalization":
        return layer if axes in ([-1], [len(shape) - 1]) else None
    if layer.kind == "Rescaling":
        scale, offset = (np.asarray(config.get(key, 0.0), np.float32) for key in ("scale", "offset"))
        if not all(x.size == 1 or x.shape[-1] == x.size == channels for x in (scale, offset)):
            return None
        return affine(layer.name, *(np.broadcast_to(x.ravel(), (channels,)) for x in (scale, offset)))
    mean, variance = (np.asarray(config.get(key), np.float64).ravel() for key in ("mean", "variance"))
    if axes not in ([-1], [len(shape) - 1], [None], []) or not {mean.size, variance.size} <= {1, channels}:
        return None
    deviation = np.maximum(np.sqrt(np.broadcast_to(variance, (channels,))), _NORMALIZATION_EPSILON)
    mean = np.broadcast_to(mean, (channels,))
    if config.get("invert"):
        return affine(layer.name, deviation, mean)
    return affine(layer.name, 1 / deviation, np.zeros(channels), mean)


def affine_of(layer: Layer, shape: Shape) -> Affine | None:
    """Return what a layer does to each channel at inference, or None; arguments as above."""
    norm = as_normalization(layer, shape) if LAYERS[layer.kind].scales else None
    if norm is None or not norm.weights:
        return None
    arrays = iter(np.asarray(array, np.float64) for array in norm.weights)
    gamma: Any = next(arrays) if norm.config.get("scale", True) else 1.0
    beta: Any = next(arrays) if norm.config.get("center", True) else 0.0
    mean, variance = arrays
    gain = gamma / np.sqrt(variance + norm.config.get("epsilon", _DEFAULT_EPSILON))
    return Affine(gain, beta - mean * gain)
