"""What is found where two models answer the same samples: metrics with intervals, classes, flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.task_rules import TASK_RULES, Task

Better = Literal["higher", "lower"]
POINTS = "points"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of both models.

    Attributes:
        unit: ``"points"`` for what is on a scale to 100; otherwise the unit in words, "" where there is none.
        difference: int8 minus float.
        low: lower end of the difference's paired 95 % interval; None where a metric has none, as a maximum.
        high: upper end.
    """

    name: str
    unit: str
    better: Better
    baseline: float
    quantized: float
    difference: float
    low: float | None
    high: float | None

    @property
    def gain(self) -> tuple[float, float, float]:
        """Difference and its interval with a sign that says whether int8 is better: estimate, low, high."""
        low = self.difference if self.low is None else self.low
        high = self.difference if self.high is None else self.high
        if self.better == "higher":
            return self.difference, low, high
        return -self.difference, -high, -low


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well one model finds one class, 0..1; None where the division is by zero.

    Attributes:
        recall: share of the class's samples that are found.
        precision: share of what is said to be the class that is.
        f1: their harmonic mean; of positions it is Dice's coefficient.
    """

    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Samples that one model alone has right.

    Attributes:
        mcnemar_p: exact two-sided p of the hypothesis that flips are as likely either way.
    """

    right_to_wrong: int
    wrong_to_right: int
    mcnemar_p: float


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class.

    Attributes:
        support: its samples, or its positions in a segmentation.
        flips: among its samples, where each has one answer.
        f1_change: paired difference of its F1 in points, where each sample has one answer.
    """

    name: str
    support: int
    baseline: Scores
    quantized: Scores
    flips: Flips | None = None
    f1_change: Metric | None = None

    @property
    def recall_change(self) -> float:
        """In points; 0 where there are no samples."""
        return 100 * ((self.quantized.recall or 0) - (self.baseline.recall or 0))

    @property
    def precision_change(self) -> float:
        """In points; what is never said counts as 0."""
        return 100 * ((self.quantized.precision or 0) - (self.baseline.precision or 0))


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One number of a regression, or one channel of the last axis of a map, a series or a reconstruction.

    Attributes:
        spread: standard deviation of its targets, in their unit.
        explained: its R2 in points.
    """

    name: str
    spread: float
    explained: Metric


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One output of the int8 model against its float baseline, on the same samples.

    Attributes:
        output: the output's name; "" where the model has one.
        samples: how many both models judged.
        metrics: the primary one first: it is on a scale to 100, and the gate judges it.
        note: what keeps the comparison from showing much, such as a float model no better than chance.
        classes: every class of a classifier, a multi-label model or a segmentation.
        channels: of numbers, where there are several: those that lose most first.
        channel_count: how many channels there are.
        flips: where answers are right or wrong: classes, and whole sets of labels.
        agreement: share of answers that are the same, right or wrong, 0..1.
        confidence_drift: mean absolute change of the probability of what the float model says.
        baseline_calibration_error: expected |confidence - accuracy| over 15 bins (Guo et al. 2017).
    """

    output: str
    task: Task
    samples: int
    metrics: tuple[Metric, ...]
    note: str = ""
    classes: tuple[ClassScores, ...] = ()
    channels: tuple[Channel, ...] = ()
    channel_count: int = 0
    flips: Flips | None = None
    agreement: float | None = None
    confidence_drift: float | None = None
    baseline_calibration_error: float | None = None
    quantized_calibration_error: float | None = None

    @property
    def counted(self) -> str:
        """What the classes are counted in: samples, or positions of samples."""
        return "positions" if TASK_RULES[self.task].has_positions else "samples"

    @property
    def primary(self) -> Metric:
        return self.metrics[0]

    @property
    def gated(self) -> tuple[Metric, ...]:
        """The metrics that the accuracy gate judges: the primary one, and the AUC of two classes."""
        also = [metric for metric in self.metrics[1:] if metric.name == "AUC"]
        return (self.primary, *also)

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def non_inferior(metric: Metric, margin: float) -> bool | None:
    """Say whether int8 is worse than float by less than the margin, in the metric's unit.

    Returns:
        True where the whole interval of the difference is within the margin, False where all of it is at or
        beyond it, None where the samples do not tell.
    """
    _, low, high = metric.gain
    if low > -margin:
        return True
    return False if high <= -margin else None
