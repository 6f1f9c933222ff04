"""Two models compared on samples that are all there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.validation.accuracy import BOOTSTRAP, Evaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.task_rules import Task
    from pipeline.tasks.comparison import Comparison


def compare(
    task: Task,
    baseline: NDArray[Any],
    quantized: NDArray[Any],
    targets: NDArray[Any] | None,
    *,
    seed: int,
    output: str = "",
    from_logits: bool | None = None,
    inputs: NDArray[Any] | None = None,
    bootstrap: int = BOOTSTRAP,
    classes: tuple[str, ...] = (),
) -> Comparison:
    """Compare two models on the samples that both judged; the arguments are those of ``Evaluator``.

    Raises:
        InputError: if shapes disagree, values are not finite, or labels name no class.
    """
    evaluator = Evaluator(
        task, seed=seed, output=output, from_logits=from_logits, bootstrap=bootstrap, classes=classes
    )
    evaluator.add(baseline, quantized, targets, inputs)
    return evaluator.finish()
