"""What one runtime does with a model: its bits for the golden set and the samples, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError, StageError
from pipeline.runtimes.evaluation import infer_all
from pipeline.runtimes.scaling import as_real, tensor_inputs
from pipeline.runtimes.session import Session
from pipeline.validate.costs import count_emulated, measure_device
from pipeline.validate.delegation import list_placements

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.runtimes.runtime import Runtime
    from pipeline.runtimes.session import ModelDetails
    from pipeline.samples import Samples
    from pipeline.validate.costs import DeviceLatency, EmulatedCost
    from pipeline.validate.delegation import Delegation
    from pipeline.validate.subject import Golden, Subject

GOLDEN_MACS = 4_000_000_000
"""Multiply-accumulates for the golden set on an emulated core, where a large model takes seconds to infer.

Work is counted instead of time, so that the set does not depend on what else the machine does.
"""
LEAST_GOLDEN = 4


@dataclass(frozen=True)
class GoldenSet:
    """For each input and each output an array (golden_samples, ...) in the model's own dtype."""

    inputs: list[NDArray[Any]]
    outputs: list[NDArray[Any]]


@dataclass(frozen=True)
class OnRuntime:
    """What one runtime did with the model: its own bits for the samples and for the golden set.

    Attributes:
        costs: of the model first, then of the others that were to be counted; emulated cores only.
        latency: real devices only.
    """

    runtime: Runtime
    details: ModelDetails
    placed: Delegation
    golden: GoldenSet
    outputs: list[NDArray[Any]] | None = None
    costs: tuple[EmulatedCost, ...] = ()
    latency: DeviceLatency | None = None

    def real(self, index: int, place: slice) -> NDArray[Any]:
        """One output of some samples as real numbers."""
        assert self.outputs is not None
        return as_real(self.outputs[index][place], self.details.outputs[index])


@dataclass(frozen=True)
class Refused:
    """A runtime that cannot run the model, and why."""

    runtime: Runtime
    reason: str


def answer(runtime: Runtime, subject: Subject, golden: Golden, samples: Samples | None) -> OnRuntime:
    """Answer the golden set, and all samples where there are any.

    Raises:
        InputError: the runtime refuses the file, or the samples do not fit it.
        StageError: it crashed or hung.
        ToolchainError: the emulator is not provisioned.
    """
    with Session(runtime, subject.path) as session:
        found = _start(session, subject, golden)
    if samples is None:
        return found
    return replace(found, outputs=infer_samples(runtime, subject, samples))


def answer_if_possible(
    runtime: Runtime, subject: Subject, golden: Golden, samples: Samples | None
) -> OnRuntime | Refused:
    """Answer on a runtime that the target does not need: where it cannot, that is a result."""
    try:
        return answer(runtime, subject, golden, samples)
    except (InputError, StageError) as error:
        return Refused(runtime, str(error))


def answer_and_count(
    runtime: Runtime, subject: Subject, golden: Golden, others: tuple[Subject, ...]
) -> OnRuntime:
    """Answer the golden set and, on an emulated core, count instructions: the model's and the others'.

    Raises: as ``answer``.
    """
    with Session(runtime, subject.path) as session:
        found = _start(session, subject, golden, most_macs=GOLDEN_MACS)
        if not runtime.capabilities.counts:
            return found
        costs = tuple(count_emulated(session, each, golden) for each in (subject, *others))
    return replace(found, costs=costs)


def answer_and_time(runtime: Runtime, subject: Subject, golden: Golden, *, runs: int) -> OnRuntime:
    """Answer the golden set on a real device, then time it there on one thread.

    Raises:
        DeviceError: the device was not reached, or no longer is.
        InputError: as ``answer``.
        StageError: as ``answer``.
    """
    found = answer(runtime, subject, golden, None)
    return replace(found, latency=measure_device(runtime, subject, golden, threads=1, runs=runs))


def infer_samples(runtime: Runtime, subject: Subject, samples: Samples) -> list[NDArray[Any]]:
    """For each output an array (n, ...) of its own dtype, for all samples.

    Raises: as ``answer``.
    """
    return infer_all(
        runtime,
        subject.path,
        lambda details: (tensor_inputs(chunk.model_inputs(), details) for chunk in samples.chunks()),
    )


def count_not_finite(outputs: list[NDArray[Any]]) -> int:
    """How many samples have an output that is infinite or no number."""
    bad = [
        ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        for array in outputs
        if array.dtype.kind == "f"
    ]
    return int(np.count_nonzero(np.any(bad, axis=0))) if bad else 0


def _start(session: Session, subject: Subject, golden: Golden, most_macs: int | None = None) -> OnRuntime:
    """Answer the golden set, or as much of it as takes at most ``most_macs`` multiply-accumulates."""
    details = session.describe()
    inputs = golden.inputs(details)
    placed = list_placements(session.runtime.title, details, subject.flat)
    if most_macs is not None:
        count = max(LEAST_GOLDEN, most_macs // max(sum(placed.multiply_accumulates.values()), 1))
        inputs = [array[:count] for array in inputs]
    return OnRuntime(session.runtime, details, placed, GoldenSet(inputs, session.run(inputs)))


def differences(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> tuple[int, float]:
    """How many samples differ in any bit from the reference's first, and the largest difference in steps.

    A step is that of an integer output, and of a float one what it would be in int8: 1/255 of the range of
    the reference's values.
    """
    gap = _gaps(outputs, reference)
    return int(np.count_nonzero(gap)), float(gap.max())


def differing(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Which samples (n,) differ in any bit."""
    return _gaps(outputs, reference) > 0


def _gaps(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> NDArray[np.float64]:
    gaps = [_gap(ours, theirs[: len(ours)]) for ours, theirs in zip(outputs, reference, strict=True)]
    largest: NDArray[np.float64] = np.max(gaps, axis=0)
    return largest


def _gap(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """The largest difference of each sample (n,); two values that are no numbers are the same."""
    a, b = (array.astype(np.float64).reshape(len(array), -1) for array in (ours, theirs))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    step = 1.0
    if theirs.dtype.kind == "f":
        finite = b[np.isfinite(b)]
        step = float(np.ptp(finite)) / 255 if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf) / (step or 1.0))
    largest: NDArray[np.float64] = gaps.max(axis=1, initial=0.0)
    return largest
