"""Run a model on a runtime of this host: outputs for the golden set and the test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.npy import map_array, read_array
from pipeline.runtimes.evaluation import infer_all
from pipeline.runtimes.quantization import as_real, tensor_inputs
from pipeline.runtimes.session import Session, Tensor
from pipeline.validation.delegation import Delegation, list_placements
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.samples import Samples
    from pipeline.validation.model_under_test import Golden, InputSpec

GOLDEN_MACS = 4_000_000_000
"""Multiply-accumulates for the golden set on an emulated core, where a large model takes seconds to infer.

Work is counted instead of time, so that the set does not depend on what else the machine does.
"""
MIN_GOLDEN = 4


@dataclass(frozen=True, kw_only=True)
class GoldenRun(Artifact):
    """A model's outputs for the golden set on one runtime, and where its nodes ran.

    Attributes:
        runtime: in words.
        inputs: tensors of the model.
        outputs: likewise.
        placed: where each node ran.
    """

    runtime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    placed: Delegation

    def golden_input(self, index: int) -> Path:
        return self.folder / f"golden_input_{index}.npy"

    def golden_output(self, index: int) -> Path:
        return self.folder / f"golden_output_{index}.npy"

    def golden_inputs(self) -> list[NDArray[Any]]:
        """Return for each input an array (golden_samples, ...) in the model's own dtype."""
        return [read_array(self.golden_input(index)) for index in range(len(self.inputs))]

    def golden_outputs(self) -> list[NDArray[Any]]:
        """Return for each output likewise."""
        return [read_array(self.golden_output(index)) for index in range(len(self.outputs))]


@dataclass(frozen=True, kw_only=True)
class SampleOutputs(Artifact):
    """A model's outputs for samples of the test set, in their order.

    Attributes:
        samples: how many.
        outputs: tensors of the model.
    """

    samples: int
    outputs: tuple[Tensor, ...]

    def output(self, index: int) -> Path:
        """One output of all samples, (n, ...) in the model's own dtype."""
        return self.folder / f"output_{index}.npy"

    def real(self, index: int, place: slice = slice(None)) -> NDArray[Any]:
        """One output of some samples as real numbers."""
        return as_real(np.array(map_array(self.output(index))[place]), self.outputs[index])


def run_golden_set(
    model: Source,
    *,
    data: Dataset | None,
    inputs: InputSpec,
    runtime: Runtime,
    out: Path,
) -> GoldenRun:
    """Run a model on the golden set.

    Args:
        data: whose test samples to take; None for noise.
        runtime: one of the host's.

    Raises:
        InputError: the runtime refuses the file, or the samples do not fit it.
        StageError: it crashed or hung.
    """
    under_test = ModelUnderTest.of(model)
    with Session(runtime, under_test.path) as session:
        return record_golden(session, under_test, inputs.golden(data), out)


def infer_test_set(
    model: Source,
    data: Dataset,
    *,
    inputs: InputSpec,
    runtime: Runtime,
    max_samples: int | None = None,
    out: Path,
) -> SampleOutputs:
    """Run a model on the test set, or on its first samples; errors as ``run_golden_set``."""
    chosen = inputs.samples(data).take(slice(0, max_samples))
    return infer_samples(runtime, ModelUnderTest.of(model), chosen, out)


def record_golden(
    session: Session, under_test: ModelUnderTest, golden: Golden, out: Path, max_macs: int | None = None
) -> GoldenRun:
    """Run the golden set, or as much of it as takes at most ``max_macs`` multiply-accumulates."""
    details = session.describe()
    taken = golden.inputs(details)
    placed = list_placements(session.runtime.title, details, under_test.flat)
    if max_macs is not None:
        count = max(MIN_GOLDEN, max_macs // max(sum(placed.multiply_accumulates.values()), 1))
        taken = [array[:count] for array in taken]
    run = GoldenRun(
        folder=out,
        runtime=session.runtime.title,
        inputs=details.inputs,
        outputs=details.outputs,
        placed=placed,
    )
    for index, array in enumerate(taken):
        np.save(run.golden_input(index), array)
    for index, array in enumerate(session.run(taken)):
        np.save(run.golden_output(index), array)
    return run


def infer_samples(runtime: Runtime, under_test: ModelUnderTest, samples: Samples, out: Path) -> SampleOutputs:
    """Run a model on samples and store its outputs in ``out``; errors as ``run_golden_set``."""
    tensors: tuple[Tensor, ...] = ()

    def chunks(details: Any) -> Any:
        nonlocal tensors
        tensors = details.outputs
        return (tensor_inputs(chunk.model_inputs(), details) for chunk in samples.chunks())

    outputs = infer_all(runtime, under_test.path, chunks)
    return store_outputs(outputs, tensors, out)


def store_outputs(arrays: list[NDArray[Any]], outputs: tuple[Tensor, ...], out: Path) -> SampleOutputs:
    """Store outputs (n, ...) that a model gave, in ``out``."""
    found = SampleOutputs(folder=out, samples=len(arrays[0]), outputs=outputs)
    for index, array in enumerate(arrays):
        np.save(found.output(index), array)
    return found
