"""Table of tasks, one row each: data, heads, losses, scores and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from models.task_rules import TASK_RULES, TaskRule
from pipeline.tasks import losses, standing
from pipeline.tasks.classifiers import (
    evaluate_binary,
    evaluate_classification,
    reduce_binary,
    reduce_classification,
)
from pipeline.tasks.embedding import evaluate_embedding, reduce_embedding
from pipeline.tasks.multilabel import evaluate_multilabel, reduce_multilabel
from pipeline.tasks.regression import (
    evaluate_anomaly,
    evaluate_reconstruction,
    evaluate_regression,
    reduce_anomaly,
    reduce_reconstruction,
    reduce_regression,
)
from pipeline.tasks.segmentation import evaluate_segmentation, reduce_segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from calibration.strata import ContentName
    from pipeline.tasks.evidence import Accumulator, Chunk, TaskMetrics
    from pipeline.tasks.standing import PredictClasses, Standard

    Array = NDArray[Any]
    Score = Callable[[Array, Array, Array | None], float | None]
    AgainstChance = Callable[[Array, Array, Array | None, bool | None], Standard | None]
    Aim = Callable[[Array | None, list[Array], tuple[int, ...]], NDArray[np.float32] | None]

Ordered = Literal["", "classes", "labels", "numbers"]


@dataclass(frozen=True, kw_only=True)
class TaskSpec(TaskRule):
    """What is known of a task, besides what reading its data needs.

    Attributes:
        metric: what the float model's score is called.
        score: of outputs, 1 is best; None if no score tells whether they are right.
        against_chance: compares outputs with the best constant answer; None if there is none.
        predict_classes: returns the classes that outputs name; None if they are numbers.
        ordered: what may be numbered otherwise than the model's outputs: classes, or the columns of labels or
            numbers.
        independent: whether each number of an output is a probability of its own, even beside others.
        content: how training samples are grouped by their targets, a key of ``calibration.strata.CONTENT``;
            "" if they are not.
        located: whether the targets may say where something is in a sample.
        loss: returns the Keras loss that fine-tuning minimizes.
        aim: returns what an output is trained towards; None if only the float model's outputs say that.
        reduce: what comparing two models keeps of a chunk of their outputs.
        tags: Hugging Face's names of the task, by the rank of the model's only input; None is any other.
        evaluate: makes the metrics of all that was kept; given the names of classes, labels or numbers.
    """

    metric: str
    score: Score | None = None
    against_chance: AgainstChance | None = None
    predict_classes: PredictClasses | None = None
    ordered: Ordered = ""
    independent: bool = False
    content: ContentName = ""
    located: bool = False
    loss: Callable[[bool, bool], Any] = losses.squared_error
    aim: Aim | None = None
    tags: Mapping[int | None, str] = field(default_factory=dict)
    reduce: Callable[[Chunk], Accumulator]
    evaluate: Callable[[Accumulator, tuple[str, ...]], TaskMetrics]

    @property
    def supervised(self) -> bool:
        """Whether it is trained on targets other than the input."""
        return self.needs_targets and not self.of_input

    def is_sigmoid(self, classes: int | None, activation: str) -> bool:
        """Return whether each number of an output with so many is a probability of its own."""
        return self.independent or classes == 1 or activation == "sigmoid"


_CLASSIFICATION_TAGS = {1: "tabular-classification", 3: "image-classification"}


def _extended(task: str, **more: Any) -> TaskSpec:
    return TaskSpec(**vars(TASK_RULES[task]), **more)


TASKS: dict[str, TaskSpec] = {
    "classification": _extended(
        "classification",
        metric="accuracy",
        content="ids",
        score=partial(standing.share_right, standing.one_class),
        against_chance=partial(standing.of_classes, standing.one_class, "accuracy"),
        predict_classes=standing.one_class,
        ordered="classes",
        loss=losses.cross_entropy,
        aim=losses.one_hot,
        tags=_CLASSIFICATION_TAGS,
        reduce=reduce_classification,
        evaluate=evaluate_classification,
    ),
    "binary": _extended(
        "binary",
        metric="accuracy",
        content="ids",
        score=partial(standing.share_right, standing.one_class),
        against_chance=partial(standing.of_classes, standing.one_class, "accuracy"),
        predict_classes=standing.one_class,
        ordered="classes",
        independent=True,
        loss=losses.cross_entropy,
        aim=losses.as_stored,
        tags=_CLASSIFICATION_TAGS,
        reduce=reduce_binary,
        evaluate=evaluate_binary,
    ),
    "multi-label": _extended(
        "multi-label",
        metric="accuracy",
        content="labels",
        score=partial(standing.share_right, standing.each_label),
        against_chance=standing.of_labels,
        predict_classes=standing.each_label,
        ordered="labels",
        independent=True,
        loss=losses.cross_entropy,
        aim=losses.as_stored,
        reduce=reduce_multilabel,
        evaluate=evaluate_multilabel,
    ),
    "regression": _extended(
        "regression",
        metric=standing.R2,
        content="numbers",
        score=standing.determination,
        against_chance=standing.of_numbers,
        ordered="numbers",
        located=True,
        aim=losses.as_stored,
        tags={1: "tabular-regression"},
        reduce=reduce_regression,
        evaluate=evaluate_regression,
    ),
    "reconstruction": _extended(
        "reconstruction",
        metric=standing.EXPLAINED,
        score=standing.explained,
        against_chance=standing.of_reconstruction,
        aim=losses.the_input,
        reduce=reduce_reconstruction,
        evaluate=evaluate_reconstruction,
    ),
    "anomaly": _extended(
        "anomaly",
        metric=standing.EXPLAINED,
        score=standing.explained,
        against_chance=standing.of_anomalies,
        aim=losses.the_input,
        reduce=reduce_anomaly,
        evaluate=evaluate_anomaly,
    ),
    "segmentation": _extended(
        "segmentation",
        metric="pixel accuracy",
        content="masks",
        score=partial(standing.share_right, standing.each_position),
        against_chance=partial(standing.of_classes, standing.each_position, "pixel accuracy"),
        predict_classes=standing.each_position,
        ordered="classes",
        located=True,
        loss=losses.cross_entropy,
        aim=losses.one_hot,
        tags={3: "image-segmentation"},
        reduce=reduce_segmentation,
        evaluate=evaluate_segmentation,
    ),
    "embedding": _extended(
        "embedding",
        metric="score",
        content="ids",
        tags={None: "feature-extraction"},
        reduce=reduce_embedding,
        evaluate=evaluate_embedding,
    ),
}
