"""Results of comparing two models on the same samples: metrics with intervals, classes, flips."""

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
        unit: ``"points"`` on a scale to 100; otherwise the unit in words, "" if there is none.
        difference: int8 minus float.
        low: lower end of the difference's paired 95 % interval; None for metrics without one.
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
        """Return the difference and its interval (estimate, low, high); positive if int8 is better."""
        low = self.difference if self.low is None else self.low
        high = self.difference if self.high is None else self.high
        if self.better == "higher":
            return self.difference, low, high
        return -self.difference, -high, -low


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Recall, precision and F1 of one model for one class, 0..1; None for a division by zero.

    Attributes:
        recall: share of the samples of the class that are predicted as it.
        precision: share of the predictions of the class that are right.
        f1: their harmonic mean; for positions, the Dice coefficient.
    """

    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Counts of samples that only one of the models has right.

    Attributes:
        mcnemar_p: exact two-sided p-value of the hypothesis that flips in both directions are equally likely.
    """

    right_to_wrong: int
    wrong_to_right: int
    mcnemar_p: float


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Comparison of one class.

    Attributes:
        support: number of its samples, or of its positions in a segmentation.
        flips: flips of its samples, if each sample has one class.
        f1_change: paired difference of its F1 in points, if each sample has one class.
    """

    name: str
    support: int
    baseline: Scores
    quantized: Scores
    flips: Flips | None = None
    f1_change: Metric | None = None

    @property
    def recall_change(self) -> float:
        """In points; 0 without samples."""
        return 100 * ((self.quantized.recall or 0) - (self.baseline.recall or 0))

    @property
    def precision_change(self) -> float:
        """In points; 0 for a class that is never predicted."""
        return 100 * ((self.quantized.precision or 0) - (self.baseline.precision or 0))


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One number of a regression, or one channel of the last axis of a map, a series or a reconstruction.

    Attributes:
        spread: standard deviation of its targets, in their unit.
        explained: R2 in points.
    """

    name: str
    spread: float
    explained: Metric


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of samples by class: a row for each true class, a column for each predicted one."""

    baseline: tuple[tuple[int, ...], ...]
    quantized: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Confidences:
    """Counts of samples by the probability of the predicted class, in bins of equal width from 0 to 1."""

    baseline: tuple[int, ...]
    quantized: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FlippedSample:
    """A sample that only one of the models has right.

    Attributes:
        sample: its place among the compared samples.
        label: the name of its class.
        baseline: the class that the float model predicts, with its probability.
        quantized: the class that the int8 model predicts, with its probability.
        picture: the first input as a small PNG in base64, if it is an image; else "".
        series: the first input as lines of numbers, if it is none.
    """

    sample: int
    label: str
    baseline: tuple[str, float]
    quantized: tuple[str, float]
    picture: str = ""
    series: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of one output of the int8 model with its float baseline, on the same samples.

    Attributes:
        output: the output's name; "" if the model has only one.
        samples: number of samples.
        metrics: the primary one, which has a scale to 100 and is judged by the gate, comes first.
        note: why the comparison shows little, such as a float model that is no better than chance.
        classes: every class of a classifier, a multi-label model or a segmentation.
        channels: channels of a regression with several, those that lose most first.
        channel_count: how many channels there are.
        flips: flips of tasks whose answers are right or wrong: classes, and whole sets of labels.
        agreement: share of samples with the same answer of both models, right or wrong, 0..1.
        confidence_drift: mean absolute change of the probability of the float model's answer.
        baseline_calibration_error: expected |confidence - accuracy| over 15 bins (Guo et al. 2017).
        confusion: of exclusive classes, if they are few.
        confidences: of exclusive classes.
        flipped: some of the flips, those that the wrong model is surest of.
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
    confusion: Confusion | None = None
    confidences: Confidences | None = None
    flipped: tuple[FlippedSample, ...] = ()

    @property
    def counted(self) -> str:
        """The unit of the class counts: samples, or positions of samples."""
        return "positions" if TASK_RULES[self.task].has_positions else "samples"

    @property
    def primary(self) -> Metric:
        return self.metrics[0]

    @property
    def gated(self) -> tuple[Metric, ...]:
        """Return the metrics that the accuracy gate judges: the primary one, and the AUC of two classes."""
        also = [metric for metric in self.metrics[1:] if metric.name == "AUC"]
        return (self.primary, *also)

    def metric(self, name: str) -> Metric | None:
        """Return the metric with a name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def non_inferior(metric: Metric, margin: float) -> bool | None:
    """Return whether int8 is worse than float by less than the margin, in the metric's unit.

    Returns:
        True if the whole interval of the difference is within the margin, False if all of it is at or beyond
        the margin, None if the samples do not suffice to decide.
    """
    _, low, high = metric.gain
    if low > -margin:
        return True
    return False if high <= -margin else None
