"""What a model does on the emulated board, and whether its answers there are the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.emulation.board.run import BoardRun, measure_board
from pipeline.runtimes.scaling import tensor_inputs
from pipeline.runtimes.session import Session
from pipeline.tasks.comparison import Comparison  # noqa: TC001 - pydantic reads the annotations
from pipeline.validate.on_runtime import differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from pipeline.config import BoardConfig
    from pipeline.runtimes.runtime import Runtime
    from pipeline.samples import Samples
    from pipeline.validate.subject import Golden, Subject


@dataclass(frozen=True, kw_only=True)
class BoardResult:
    """One model on the emulated board.

    Attributes:
        run: what it cost there and what was done to it.
        samples: that it answered.
        differing_samples: of them, those whose output bits are not the host's.
        largest_difference: in steps of the output's scale.
        accuracy: of each output, on the board's own answers; none without labelled data or a float model.
    """

    run: BoardRun
    samples: int
    differing_samples: int
    largest_difference: float
    accuracy: tuple[Comparison, ...]


def measure_on_board(
    host: Runtime,
    subject: Subject,
    golden: Golden,
    samples: Samples | None,
    config: BoardConfig,
    judge: Callable[[Samples, list[NDArray[Any]]], tuple[Comparison, ...]],
) -> BoardResult:
    """Measure a model on the emulated board.

    Args:
        host: whose bits the board is to give.
        golden: what it answers where there are no samples.
        samples: of the test set, the first of which the board answers.
        judge: of samples and the board's answers to them.

    Raises:
        ToolchainError: the board is not provisioned.
        StageError: the board did not get to the end.
    """
    chosen = samples.choose(config.samples, golden.seed) if samples is not None else None
    with Session(host, subject.path) as session:
        details = session.describe()
        inputs = golden.inputs(details) if chosen is None else tensor_inputs(chosen.model_inputs(), details)
        expected = session.run(inputs)
    run, outputs = measure_board(subject.path, inputs, config)
    count = len(outputs[0])
    differing, steps = differences(outputs, [array[:count] for array in expected])
    return BoardResult(
        run=run,
        samples=count,
        differing_samples=differing,
        largest_difference=steps,
        accuracy=judge(chosen.take(slice(0, count)), outputs) if chosen is not None else (),
    )
