"""Data between the steps of a comparison: chunks of outputs, accumulators, estimates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.comparison import POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.tasks.comparison import Better, ClassScores, Confidences, Confusion, FlippedSample, Flips


@dataclass(frozen=True)
class Chunk:
    """Checked outputs of both models for the same samples, (n, *output_shape), with targets and inputs."""

    baseline: NDArray[Any]
    quantized: NDArray[Any]
    targets: NDArray[Any] | None
    inputs: NDArray[Any] | None
    from_logits: bool


@dataclass(frozen=True)
class Accumulator:
    """The reduced content of a chunk.

    Attributes:
        rows: arrays with one entry per sample.
        totals: sums over the samples.
        classes: number of classes of the model, if it has classes.
    """

    rows: dict[str, NDArray[Any]]
    totals: dict[str, NDArray[Any]] = field(default_factory=dict)
    classes: int = 0


def merge(chunks: Sequence[Accumulator]) -> Accumulator:
    """Concatenate the rows of chunks in order, and add up their totals."""
    rows = {name: np.concatenate([chunk.rows[name] for chunk in chunks]) for name in chunks[0].rows}
    totals = {name: np.sum([chunk.totals[name] for chunk in chunks], axis=0) for name in chunks[0].totals}
    return Accumulator(rows, totals, chunks[0].classes)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric of both models before it has an interval.

    Attributes:
        influence: float64 (n,); influence function of the difference of the models: to first order, the
            difference on other samples is the difference here plus the mean of their influences. None if
            it does not exist.
        reach: the largest influence that one sample can have. Two half samples with it, one in each
            direction, are added (Agresti and Min 2005), so that few samples without a difference do not give
            an interval of zero width.
    """

    name: str
    baseline: float
    quantized: float
    influence: NDArray[np.float64] | None
    unit: str = POINTS
    better: Better = "higher"
    reach: float = 0.0


def share(name: str, baseline: NDArray[Any], quantized: NDArray[Any]) -> Estimate:
    """A figure in points from what is right, bool (n,) of each model."""
    change = 100.0 * (quantized.astype(np.float64) - baseline)
    return Estimate(
        name=name,
        baseline=100 * float(baseline.mean()),
        quantized=100 * float(quantized.mean()),
        influence=change,
        reach=100.0,
    )


def mean(
    name: str,
    baseline: NDArray[Any],
    quantized: NDArray[Any],
    *,
    unit: str,
    better: Better = "lower",
) -> Estimate:
    """A figure that is the mean over the samples, float (n,) of each model."""
    return Estimate(
        name=name,
        baseline=float(baseline.mean()),
        quantized=float(quantized.mean()),
        influence=quantized - baseline,
        unit=unit,
        better=better,
    )


@dataclass(frozen=True)
class ChannelEstimate:
    """A channel before it has an interval; the attributes are those of ``Channel``."""

    spread: float
    explained: Estimate


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """What a task's own judgement finds; the attributes are those of ``Comparison``.

    ``class_counts`` (7, classes) are those that ``resampling.f1_changes`` takes.
    """

    estimates: tuple[Estimate, ...]
    note: str = ""
    classes: tuple[ClassScores, ...] = ()
    class_counts: NDArray[np.int64] | None = None
    channels: tuple[ChannelEstimate, ...] = ()
    channel_count: int = 0
    flips: Flips | None = None
    agreement: float | None = None
    confidence_drift: float | None = None
    baseline_calibration_error: float | None = None
    quantized_calibration_error: float | None = None
    confusion: Confusion | None = None
    confidences: Confidences | None = None
    flipped: tuple[FlippedSample, ...] = ()
