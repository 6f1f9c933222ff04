"""Score outputs against their targets, with the rows of ``pipeline.tasks.spec``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.tasks import standing
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.task_rules import Task
    from pipeline.tasks.standing import Standard


RESAMPLES = 400
# Fewer resamples of large outputs, such as maps, which bounds the work.
MAX_RESAMPLED_VALUES = 200_000_000
MIN_RESAMPLES = 50


class Gain(NamedTuple):
    """How much better one model is than another on the same samples.

    Attributes:
        points: difference of the scores.
        low: lower end of its paired 95 % interval.
        high: upper end.
    """

    points: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the second model is measurably better."""
        return self.low > 0

    def __str__(self) -> str:
        return f"{self.points:+.2f} points (95 % interval {self.low:+.2f} to {self.high:+.2f})"


def score_of(
    task: Task, outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None
) -> float | None:
    """Score outputs (n, ...): 1 is best. None if there are no targets to score them with.

    Args:
        task: of the output.
        outputs: real numbers, probabilities or logits.
        inputs: the first input of the model, (n, ...), which autoencoders are compared with.
        target: as ``models.task_rules`` says.
    """
    score = TASKS[task].score
    return None if score is None else score(outputs, inputs, target)


def paired_gain(
    task: Task,
    before: NDArray[Any],
    after: NDArray[Any],
    inputs: NDArray[Any],
    target: NDArray[Any] | None,
) -> Gain | None:
    """Return what ``after`` gains over ``before``, with a paired bootstrap interval (Efron, 1979).

    Args:
        before: outputs (n, ...) of one model.
        after: outputs of the other model for the same samples.
        inputs: as of ``score_of``.
        target: likewise.

    Returns:
        None if there is no score.
    """

    def difference(places: NDArray[np.int64]) -> float | None:
        of = None if target is None else target[places]
        given = inputs[places] if TASKS[task].of_input else inputs  # a copy for each resample is slow
        scores = [score_of(task, outputs[places], given, of) for outputs in (before, after)]
        return None if None in scores else 100 * (scores[1] - scores[0])  # type: ignore[operator]

    count = len(before)
    gained = difference(np.arange(count))
    if gained is None:
        return None
    resamples = int(np.clip(MAX_RESAMPLED_VALUES // max(before.size, 1), MIN_RESAMPLES, RESAMPLES))
    rng = np.random.default_rng(0)
    drawn = [difference(rng.integers(0, count, count)) for _ in range(resamples)]
    low, high = np.percentile([gained if each is None else each for each in drawn], [2.5, 97.5])
    return Gain(gained, float(low), float(high))


def against_chance(
    task: Task,
    outputs: NDArray[Any],
    inputs: NDArray[Any],
    target: NDArray[Any] | None,
    *,
    from_logits: bool | None = None,
) -> Standard | None:
    """Compare outputs with the best constant answer; None if not comparable. Arguments as ``score_of``."""
    against = TASKS[task].against_chance
    return None if against is None or len(outputs) < 2 else against(outputs, inputs, target, from_logits)


def compared(
    task: Task, outputs: NDArray[Any], target: NDArray[Any], from_logits: bool | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes that outputs name and the true ones, as ``standing.compared`` does."""
    predict_classes = TASKS[task].predict_classes
    assert predict_classes is not None, task
    return standing.compared(predict_classes, outputs, target, from_logits)


def macro_f1(task: Task, outputs: NDArray[Any], target: NDArray[Any]) -> float | None:
    """Return the mean of the F1 of the classes, or of the labels, in points; None for a task without.

    A class that is neither there nor predicted does not count.
    """
    if TASKS[task].predict_classes is None:
        return None
    found, true = compared(task, outputs, target)
    if TASKS[task].ordered == "labels":
        hits, predicted, there = (found & true).sum(0), found.sum(0), true.sum(0)
    else:
        size = int(max(found.max(), true.max())) + 1
        hits = np.bincount(true[found == true], minlength=size)
        predicted, there = (np.bincount(each.ravel(), minlength=size) for each in (found, true))
    occurring = predicted + there
    return float(100 * np.mean(2 * hits[occurring > 0] / occurring[occurring > 0]))
