"""Score outputs against their targets, with the rows of ``pipeline.tasks.spec``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.tasks import standing
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.task_rules import Task
    from pipeline.tasks.standing import Standard


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
