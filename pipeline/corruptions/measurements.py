"""Corruptions of sensor readings: series (n, steps, features) and vectors (n, features).

Strengths are shares of each feature's standard deviation over the clean samples, so that one scale fits a
temperature and an acceleration. A feature that is constant there stays as it is, except under dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.corruptions.severities import MEASUREMENTS as SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Readings = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureStats:
    """Mean and standard deviation (features,) of the clean samples."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, readings: NDArray[Any]) -> FeatureStats:
        """Compute the statistics of readings (n, [steps,] features)."""
        flat = readings.reshape(-1, readings.shape[-1]).astype(np.float64)
        return cls(flat.mean(axis=0), flat.std(axis=0))


def corrupt_readings(
    readings: NDArray[Any], name: str, severity: int, stats: FeatureStats, rng: np.random.Generator
) -> NDArray[Any]:
    """Corrupt a batch.

    Args:
        readings: (n, steps, features) or (n, features) of any dtype; integers are rounded and stay in range.
        name: a key of ``MEASUREMENTS``.
        severity: 1 to 5.
        stats: of the clean samples.
        rng: random generator; the same for every severity, so that only the strength differs.

    Returns:
        Readings of the same shape and dtype.
    """
    strength = SEVERITIES[name][severity - 1]
    found = MEASUREMENTS[name](readings.astype(np.float64), strength, stats, rng)
    if readings.dtype.kind in "iu":
        limits = np.iinfo(readings.dtype)
        found = np.clip(np.rint(found), limits.min, limits.max)
    return found.astype(readings.dtype)


def noise(readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator) -> Readings:
    """Add normal noise to each value."""
    return readings + strength * stats.deviation * rng.standard_normal(readings.shape)


def gain(readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator) -> Readings:
    """Scale each sample's feature about its mean, up or down."""
    return stats.mean + (readings - stats.mean) * (1 + strength * _signs(readings, rng))


def offset(readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator) -> Readings:
    """Add a constant to each sample's feature, up or down."""
    return readings + strength * stats.deviation * _signs(readings, rng)


def drift(readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator) -> Readings:
    """Add a drift that grows from zero to its full size over the steps."""
    ramp = np.linspace(0, 1, readings.shape[1])[:, None]
    return readings + strength * stats.deviation * _signs(readings, rng) * ramp


def clipping(readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator) -> Readings:
    """Saturate beyond so many standard deviations from the mean."""
    reach = strength * stats.deviation
    return np.where(stats.deviation > 0, np.clip(readings, stats.mean - reach, stats.mean + reach), readings)


def dropout(readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator) -> Readings:
    """Lose a share of the steps, or of a vector's features: they read as the mean."""
    lost = rng.random(readings.shape[:2]) < strength
    return np.where(lost[..., None] if readings.ndim == 3 else lost, stats.mean, readings)


def time_shift(
    readings: Readings, strength: float, stats: FeatureStats, rng: np.random.Generator
) -> Readings:
    """Begin earlier or later by a share of the length; the value at the edge goes on."""
    steps = readings.shape[1]
    shift = max(round(strength * steps), 1) * rng.choice([-1, 1], len(readings))
    places = np.clip(np.arange(steps) - shift[:, None], 0, steps - 1)
    return np.take_along_axis(readings, places[..., None], axis=1)


MEASUREMENTS: dict[str, Callable[[Readings, float, FeatureStats, np.random.Generator], Readings]] = {
    "noise": noise,
    "gain": gain,
    "offset": offset,
    "drift": drift,
    "clipping": clipping,
    "dropout": dropout,
    "time_shift": time_shift,
}
OF_SERIES = frozenset({"drift", "time_shift"})
MOVING = frozenset({"time_shift"})
"""Corruptions that shift the steps away from the targets of each step."""


def _signs(readings: Readings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return -1 or 1 for each sample's feature, (n, [1,] features)."""
    shape = (len(readings), *(1,) * (readings.ndim - 2), readings.shape[-1])
    return rng.choice([-1.0, 1.0], shape)
