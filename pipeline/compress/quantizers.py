"""Quantizers with few levels, on NumPy arrays: binary, ternary and n-bit weights; n-bit activations.

Weights are float32 (n, channels), one column for each output channel, which has a scale of its own. A
quantizer returns small integers, the codes, and the scales; ``codes * scales`` is what the weights become. A
channel whose weights are all zero has scale 0 and stays zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

INT8 = 8
"""Bits that the conversion gives every weight and activation: no quantizer of this module is applied."""
TERNARY_THRESHOLD = 0.7
"""Of the mean magnitude: smaller weights become zero (Li and Liu, 2016, arXiv:1605.04711, section 2.2)."""
# Scales that are tried first for the least squared error, as shares of the one that spans all weights.
_SHARES = np.linspace(0.1, 1.0, 37, dtype=np.float32)
_MAX_REFITS = 20


class Levels(NamedTuple):
    """Quantized weights.

    Attributes:
        codes: float32 (n, channels), whole numbers.
        scales: float32 (channels,), at least 0.
    """

    codes: Floats
    scales: Floats

    @property
    def weights(self) -> Floats:
        """What the codes stand for, float32 (n, channels)."""
        return self.codes * self.scales


def levels_of(bits: int) -> int:
    """Return the largest code of ``bits`` bits: the codes are symmetric, -7 to 7 for 4 bits.

    Without the code -8, zero is a level and no scale is lost when int8 stores the weights.
    """
    return int(2 ** (bits - 1) - 1)


def binary(weights: Floats) -> Levels:
    """Quantize to -1 and +1 times the mean magnitude of the channel.

    The sign of zero, of -0.0 too, is +1. The mean magnitude is the scale of least squared error (Rastegari et
    al., 2016, arXiv:1603.05279, section 3.1); the signs are those of Courbariaux et al., 2015,
    arXiv:1511.00363.
    """
    return Levels(np.where(weights >= 0, np.float32(1), np.float32(-1)), _mean_magnitudes(weights))


def ternary(weights: Floats, kept: NDArray[np.bool_] | None = None) -> Levels:
    """Quantize to -1, 0 and +1 times the mean magnitude of the weights that are not zeroed.

    A weight is zeroed if its magnitude is at most ``TERNARY_THRESHOLD`` times the mean magnitude of its
    channel (Li and Liu, 2016, arXiv:1605.04711). At least one weight of a channel is larger, unless all are
    zero.

    Args:
        kept: (n, channels), False where pruning made a zero, which the mean magnitude leaves out; None: all
            True.
    """
    magnitudes = np.abs(weights)
    larger = magnitudes > np.float32(TERNARY_THRESHOLD) * _mean_magnitudes(weights, kept)
    return Levels(np.where(larger, np.sign(weights), np.float32(0)), _mean_magnitudes(weights, larger))


def uniform(weights: Floats, scales: Floats, bits: int) -> Levels:
    """Quantize to multiples of the channels' scales: round half to even, clip to ``levels_of(bits)``."""
    largest = levels_of(bits)
    steps = np.divide(weights, scales, out=np.zeros_like(weights), where=scales > 0)
    return Levels(np.clip(np.rint(steps), -largest, largest), scales)


def max_scales(weights: Floats, bits: int) -> Floats:
    """Return the scales (channels,) with which the largest code stands for the largest magnitude."""
    return np.asarray(np.abs(weights).max(axis=0) / np.float32(levels_of(bits)), np.float32)


def mse_scales(weights: Floats, bits: int) -> Floats:
    """Return scales (channels,) of least squared error.

    Of several shares of ``max_scales`` the best one is refined: the scale of least squared error for given
    codes and the codes for a given scale alternate until the codes are stable (Lloyd's algorithm on a
    uniform grid). Neither can raise the error, so the result is never worse than ``max_scales``.
    """
    best = max_scales(weights, bits)
    candidates = _SHARES[:, None] * best
    errors = [_errors(weights, uniform(weights, scales, bits)) for scales in candidates]
    scales: Floats = candidates[np.argmin(errors, axis=0), np.arange(len(best))]
    codes = uniform(weights, scales, bits).codes
    for _ in range(_MAX_REFITS):
        scales = refitted(weights, codes, scales)
        before, codes = codes, uniform(weights, scales, bits).codes
        if np.array_equal(before, codes):
            break
    return scales


def refitted(weights: Floats, codes: Floats, scales: Floats) -> Floats:
    """Return the scales (channels,) of least squared error for given codes; ``scales`` where all are zero."""
    norms = (codes * codes).sum(axis=0)
    products = (weights * codes).sum(axis=0)
    found = scales.copy()
    np.divide(products, norms, out=found, where=(norms > 0) & (products > 0))
    return found


def rounded_activations(values: Floats, high: float, bits: int) -> Floats:
    """Return activations of any shape on ``2**bits`` levels from 0 to ``high``: PACT's quantizer.

    Values are clipped to 0..high, divided by ``high / (2**bits - 1)`` and rounded half up (Choi et al., 2018,
    arXiv:1805.06085, equations 1 and 2). With ``high`` 0 all are 0.
    """
    step = np.float32(high) / np.float32(2**bits - 1)
    if not step > 0:
        return np.zeros_like(values)
    return np.asarray(
        np.floor(np.clip(values, 0, np.float32(high)) / step + np.float32(0.5)) * step, np.float32
    )


def mse_high(values: Floats, bits: int) -> float:
    """Return the end of the range of least squared error for activations of any shape, at least 0."""
    largest = float(values.max(initial=0))
    errors = [
        float(np.square(rounded_activations(values, share * largest, bits) - values).sum())
        for share in _SHARES
    ]
    return float(_SHARES[int(np.argmin(errors))]) * largest


def _mean_magnitudes(weights: Floats, counted: NDArray[np.bool_] | None = None) -> Floats:
    """Return the mean magnitude of each channel's counted weights, 0 where none counts."""
    if counted is None:
        return np.asarray(np.abs(weights).mean(axis=0), np.float32)
    sums = np.where(counted, np.abs(weights), np.float32(0)).sum(axis=0)
    return np.asarray(sums / np.maximum(counted.sum(axis=0), 1), np.float32)


def _errors(weights: Floats, found: Levels) -> Floats:
    return np.asarray(np.square(found.weights - weights).sum(axis=0), np.float32)
