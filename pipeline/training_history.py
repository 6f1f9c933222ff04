"""Records of trainings: what each epoch reached, the ranges it left, and histograms before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Distribution = Literal["weights", "activations"]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The distribution of a layer's weights, or of its outputs on some samples.

    Attributes:
        layer: its name.
        of: whether of its kernel or of its outputs.
        low: lower edge of the first bin.
        high: upper edge of the last bin; all bins have the same width.
        counts: how many values are in each bin.
    """

    layer: str
    of: Distribution
    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedRange:
    """The range of a layer's outputs that quantization-aware training learns.

    Attributes:
        layer: its name.
        lows: lower end after each epoch.
        highs: upper end after each epoch.
    """

    layer: str
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure after each epoch.

    Attributes:
        name: "loss", or a score on the held-out samples in points, such as "held-out accuracy".
        values: after each epoch.
    """

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingHistory:
    """One training.

    Attributes:
        name: what it was for, e.g. "prune".
        curves: figures by epoch.
        ranges: of the outputs, where they are trained.
        before: histograms before it began.
        after: those of the model that it left.
    """

    name: str
    curves: tuple[Curve, ...]
    ranges: tuple[TrainedRange, ...]
    before: tuple[Histogram, ...]
    after: tuple[Histogram, ...]
