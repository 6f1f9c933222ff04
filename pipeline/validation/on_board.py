"""Measure a model on the emulated board, and compare its outputs with the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.artifacts import Artifact
from pipeline.emulation.board.run import BoardRun, measure_board
from pipeline.runtimes.quantization import tensor_inputs
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.tasks.comparison import Comparison  # noqa: TC001 - pydantic reads the annotations
from pipeline.validation.evaluate import compare_outputs
from pipeline.validation.exactness import differences
from pipeline.validation.inference import infer_samples, store_outputs
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset, Source
    from pipeline.config import BoardConfig
    from pipeline.validation.model_under_test import InputSpec, OutputSpec


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


@dataclass(frozen=True, kw_only=True)
class OnBoard(Artifact):
    """Results of a model on the emulated board."""

    found: BoardResult


def run_on_board(
    model: Source,
    baseline: Source | None = None,
    *,
    data: Dataset | None,
    inputs: InputSpec,
    outputs: OutputSpec,
    config: BoardConfig,
    out: Path,
) -> OnBoard:
    """Run a model on the emulated board and compare its outputs with the host's.

    Args:
        baseline: the float model, if there is one.
        data: whose test samples the board infers; None for the golden set of noise.

    Raises:
        ToolchainError: the board is not provisioned.
        StageError: the board did not get to the end.
    """
    under_test, host = ModelUnderTest.of(model), host_runtime("litert")
    chosen = None if data is None else inputs.samples(data).choose(config.samples, inputs.seed)
    with Session(host, under_test.path) as session:
        details = session.describe()
        taken = (
            inputs.golden(None).inputs(details)
            if chosen is None
            else tensor_inputs(chosen.model_inputs(), details)
        )
        expected = session.run(taken)
    run, found = measure_board(under_test.path, taken, config)
    count = len(found[0])
    differing, steps = differences(found, [array[:count] for array in expected])
    accuracy: tuple[Comparison, ...] = ()
    if baseline is not None and chosen is not None:
        samples = chosen.take(slice(0, count))
        (of_baseline := out / "baseline").mkdir()
        accuracy = compare_outputs(
            store_outputs(found, details.outputs, out),
            infer_samples(host, ModelUnderTest.of(baseline), samples, of_baseline),
            samples,
            outputs,
            inputs.seed,
        )
    result = BoardResult(
        run=run, samples=count, differing_samples=differing, largest_difference=steps, accuracy=accuracy
    )
    return OnBoard(folder=out, found=result)
