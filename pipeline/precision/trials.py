"""Files with some wider layers: what they compute, what they cost, and where they are right."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import extract, inputs_of, with_outputs
from pipeline.flatbuffer.simulation import MOVING, is_rounded
from pipeline.flatbuffer.widening import moved_along, widen
from pipeline.quantize.choice import compared_tensors, decibels, relative_errors
from pipeline.runtimes.evaluation import infer_files
from pipeline.runtimes.quantization import real_outputs, tensor_inputs
from pipeline.runtimes.runtime import host_runtime, reference_kernels
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch
from pipeline.tasks.spec import TASKS
from pipeline.validation.accuracy import Evaluator
from pipeline.validation.delegation import multiply_accumulates
from pipeline.validation.gates.quality import accuracy_of, class_recall_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.config import GatesConfig
    from pipeline.flatbuffer import Tensor, TfliteModel
    from pipeline.flatbuffer.widening import Width
    from pipeline.precision.search import Units
    from pipeline.runtimes.runtime import Runtime
    from pipeline.samples import Samples
    from pipeline.tasks.comparison import Comparison
    from pipeline.validation.layer_errors import Group
    from pipeline.validation.model_under_test import OutputSpec

    Arrays = list[NDArray[Any]]

BOOTSTRAP = 500
COUNTED_SAMPLES = 3
# As a share of the range of a layer's outputs. A wrong kernel is off by tens of percent; rounding of a format
# by less, and the gates judge what that costs.
MAX_DIFFERENCE = 2e-3
MAX_FORMAT_ERROR = 0.05
CHECKED_SAMPLES = 4
INT16_FACTOR = 6
"""How many times the instructions of int8 an int16 convolution takes on an emulated Cortex-A72."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A file with some wider layers, on the samples of the search.

    Attributes:
        error: of the outputs and of what a softmax or sigmoid before them reads; see ``OutputErrors.errors``.
        change: of the first output's primary metric against float, in points, positive if better; None
            without targets.
        is_within: whether the estimates of all gated metrics are within the gates' margins, and none failed.
        is_shown: whether the gates pass, so that the loss is shown to be within the margins.
        passes: whether it is good enough for the search.
    """

    error: float
    change: float | None
    is_within: bool
    is_shown: bool
    passes: bool = False

    @property
    def sqnr_db(self) -> float:
        return decibels(self.error)


@dataclass(frozen=True)
class Model:
    """An int8 file, and what it was made of.

    Attributes:
        flat: a file that passes ``require_simulated``.
        exact: its constants before they were rounded.
        groups: its layers and inputs.
    """

    flat: TfliteModel
    exact: Mapping[int, NDArray[np.float32]]
    groups: tuple[Group, ...]

    def operators(self, units: Units) -> frozenset[int]:
        """Return the operators of some groups, and those that only move values between them."""
        return moved_along(self.flat, {index for unit in units for index in self.groups[unit].operators})

    def file(self, units: Units, width: Width) -> bytes:
        """Return the file in which these groups are wide; errors as ``widen``."""
        if not units:
            return self.flat.content
        inputs = {index for unit in units for index in self.groups[unit].inputs}
        return widen(self.flat, self.exact, self.operators(units), width, inputs=inputs)

    @cached_property
    def units(self) -> tuple[int, ...]:
        """The groups that round something."""
        return tuple(place for place, group in enumerate(self.groups) if self._rounds(group))

    def _rounds(self, group: Group) -> bool:
        operators = [self.flat.operators[index] for index in group.operators]
        return bool(group.inputs) or any(
            each.name not in MOVING and any(is_rounded(self.flat.tensors[index]) for index in each.outputs)
            for each in operators
        )

    def neighbours(self) -> Iterator[tuple[int, int]]:
        """Yield pairs of these groups of which one reads the other, directly or moved."""
        source: dict[int, set[int]] = {}
        for place, group in enumerate(self.groups):
            source |= {index: {place} for index in group.inputs}
        owner = {index: place for place, group in enumerate(self.groups) for index in group.operators}
        units = set(self.units)
        for operator in self.flat.operators:
            before = set().union(*(source.get(index, set()) for index in operator.inputs))
            place = owner.get(operator.index, -1)
            source |= dict.fromkeys(operator.outputs, {place} if place in units else before)
            if place in units:
                yield from ((each, place) for each in before if each != place)

    def estimated_operations(self, units: Units, width: Width) -> float:
        """Estimate what wide groups add: their multiply-accumulates, and an operation per value converted."""
        tensors = self.flat.tensors
        total = 0
        for index in self.operators(units):
            operator = self.flat.operators[index]
            total += multiply_accumulates(operator, self.flat)
            values = [i for i in (*operator.inputs, *operator.outputs) if i >= 0 and is_rounded(tensors[i])]
            total += sum(tensors[i].elements for i in values)
        return float(total) * (INT16_FACTOR if width == "int16" else 1)


class Trials:
    """Runs files on samples and judges their outputs against the float model as the gates do.

    Args:
        model: the int8 model.
        samples: training samples.
        outputs: how outputs are evaluated.
        baseline: the float file that the gates compare with.
        original: the float file with the weights of the int8 one.
        allowed: the margins.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        model: Model,
        samples: Samples,
        outputs: OutputSpec,
        baseline: bytes,
        original: bytes,
        allowed: GatesConfig,
        seed: int,
    ) -> None:
        self.model, self.samples, self.outputs = model, samples, outputs
        self.allowed, self.seed = allowed, seed
        self.values = samples.model_inputs()
        found = self._run({"baseline": baseline, "original": original})
        self._baseline, self._original = found["baseline"], found["original"]

    @property
    def has_metric(self) -> bool:
        """Whether there is anything to judge outputs by."""
        return any(True for _ in self._judged())

    @property
    def metric(self) -> str:
        """What the change of a trial is of; "" without targets."""
        return next((self._compared(index, self._baseline).primary.name for index in self._judged()), "")

    def measure(self, files: Sequence[tuple[Units, Width]]) -> list[Trial]:
        """Return what files compute in which these groups have these formats."""
        found = self._run({each: self.model.file(*each) for each in files})
        return [self._trial(found[each]) for each in files]

    def _run(self, files: Mapping[Any, bytes]) -> dict[Any, Arrays]:
        """Return for each file its outputs, then what the softmax or sigmoid before them reads."""
        found: dict[Any, Arrays] = {}
        contents = {}
        for key, content in files.items():
            flat = read_tflite(content)
            ends = flat.subgraphs[0].outputs
            inner = [index for index in compared_tensors(flat) if index not in ends]
            contents[key] = lambda flat=flat, tensors=(*ends, *inner): with_outputs(flat, tensors)
        infer_files(host_runtime("litert"), contents, self.values, found.__setitem__)
        return found

    def _judged(self) -> Iterator[int]:
        for index, task in enumerate(self.outputs.tasks):
            if self.samples.target(index) is not None or not TASKS[task].needs_targets:
                yield index

    def _compared(self, index: int, found: Arrays) -> Comparison:
        spec = self.outputs
        evaluator = Evaluator(
            spec.tasks[index], seed=self.seed, output=spec.names[index], from_logits=spec.from_logits[index],
            bootstrap=BOOTSTRAP, classes=spec.classes,
        )  # fmt: skip
        right = self._baseline[index]
        target = self.samples.target(index)
        evaluator.add(right, found[index].reshape(right.shape), target, self.values[0])
        return evaluator.finish()

    def _trial(self, found: Arrays) -> Trial:
        error = float(relative_errors(self._original, found).mean())
        compared = [self._compared(index, found) for index in self._judged()]
        verdicts = [verdict for each in compared for verdict in accuracy_of(each, self.allowed)]
        verdicts += filter(None, (class_recall_of(each, self.allowed) for each in compared))
        margin = self.allowed.accuracy_drop_points
        estimates = [metric.gain[0] for each in compared for metric in each.gated]
        outcomes = {verdict.outcome for verdict in verdicts}
        return Trial(
            error=error,
            change=estimates[0] if estimates else None,
            is_within="failed" not in outcomes and all(each > -margin for each in estimates),
            is_shown=outcomes <= {"passed"},
        )


class Costs:
    """What files cost on the target: counted on an emulated device, or else estimated from the arithmetic.

    Args:
        model: the int8 model.
        runtimes: of the target's devices; the first one that counts instructions counts.
        values: for each input real numbers (n, ...).
    """

    def __init__(self, model: Model, runtimes: Sequence[Runtime], values: Arrays) -> None:
        self.model, self._values = model, [array[:COUNTED_SAMPLES] for array in values]
        self._runtime = next((each for each in runtimes if each.capabilities.counts), None)
        self._found: dict[tuple[Units, Width], float] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Costs:
        if self._runtime is not None:
            self._path = self._stack.enter_context(scratch("costs")) / "model.tflite"
            self._path.write_bytes(self.model.flat.content)
            self._session = self._stack.enter_context(Session(self._runtime, self._path))
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    @property
    def unit(self) -> str:
        return "estimated operations" if self._runtime is None else "instructions"

    @property
    def device(self) -> str:
        """The device that counts; "" for estimates."""
        return self._runtime.device.name if self._runtime is not None and self._runtime.device else ""

    def of(self, units: Units, width: Width) -> float:
        """Return the cost of one inference of the whole model with these wide groups."""
        if (units, width) not in self._found:
            self._found[units, width] = self._measured(units, width)
        return self._found[units, width]

    def known(self, units: Units, width: Width) -> float | None:
        """Return a cost that was asked for; None otherwise."""
        return self._found.get((units, width))

    def _measured(self, units: Units, width: Width) -> float:
        if self._runtime is None:
            macs = sum(multiply_accumulates(each, self.model.flat) for each in self.model.flat.operators)
            return macs + self.model.estimated_operations(units, width)
        self._path.write_bytes(self.model.file(units, width))
        self._session.load(self._path)
        inputs = tensor_inputs(self._values, self._session.describe())
        return float(self._session.count_instructions(inputs, runs=COUNTED_SAMPLES).instructions)


def wrong_on(
    model: Model, units: Units, widths: Sequence[Width], values: Arrays, runtimes: Sequence[Runtime]
) -> dict[Width, str]:
    """Return for each format which runtime does not compute a layer right, and how far off; "" if all do.

    Each layer runs by itself on what it reads in the int8 model. What is right are the outputs of TFLite's
    reference kernels for the same file, which in turn have to be near those of the layer in float32.

    Args:
        model: the int8 model.
        units: the layers; inputs of the model are left out.
        widths: the formats.
        values: for each input real numbers (n, ...).
        runtimes: those to check.
    """
    groups = [model.groups[unit] for unit in sorted(units) if model.groups[unit].operators]
    parts = [read_tflite(each) for each in extract(model.flat, [group.operators for group in groups])]
    given = _read_values(model.flat, groups, [array[:CHECKED_SAMPLES] for array in values])
    reference = reference_kernels()
    right = _answers(reference, parts, ["float32", *widths], given)
    exact = right["float32"]
    found = {
        width: _wrong(reference, groups, right[width], _clipped(exact, parts, width), MAX_FORMAT_ERROR)
        for width in widths
    }
    for runtime in runtimes:
        answers = _answers(runtime, parts, [each for each in widths if not found[each]], given)
        found |= {
            width: _wrong(runtime, groups, ours, right[width], MAX_DIFFERENCE)
            for width, ours in answers.items()
        }
    return found


def _wrong(
    runtime: Runtime,
    groups: Sequence[Group],
    found: list[Arrays] | str,
    right: list[Arrays] | str,
    allowed: float,
) -> str:
    """Return which layer a runtime computes wrong; "" if none."""
    if isinstance(found, str) or isinstance(right, str):
        problem = found if isinstance(found, str) else right
        return f"{runtime.title} does not run these layers by themselves: {problem}"
    for group, ours, theirs in zip(groups, found, right, strict=True):
        off = max(map(_difference, ours, theirs))
        if not off <= allowed:
            return f"{runtime.title} is off by {off:.2%} of the range in layer {group.layer!r}"
    return ""


def _read_values(flat: TfliteModel, groups: Sequence[Group], values: Arrays) -> list[Arrays]:
    """Return for each group what it reads in the int8 model, as it is stored."""
    read = [inputs_of(flat, [flat.operators[index] for index in group.operators]) for group in groups]
    known: dict[int, NDArray[Any]] = {}
    tensors = list(dict.fromkeys(index for each in read for index in each))
    computed = [index for index in tensors if index not in flat.subgraphs[0].inputs]
    with scratch("check") as folder:
        path = folder / "model.tflite"
        path.write_bytes(with_outputs(flat, [*computed, *flat.subgraphs[0].outputs]))
        with Session(host_runtime("litert"), path) as session:
            stored = tensor_inputs(values, session.describe())
            known |= dict(zip(computed, session.run(stored), strict=False))
    known |= dict(zip(flat.subgraphs[0].inputs, stored, strict=True))
    count = len(values[0])
    return [[known[i].reshape(count, *flat.tensors[i].shape[1:]) for i in each] for each in read]


def _answers(
    runtime: Runtime, parts: Sequence[TfliteModel], widths: Sequence[Width], given: Sequence[Arrays]
) -> dict[Width, list[Arrays] | str]:
    """Return for each format the outputs of layers by themselves, real numbers, or why they do not run."""
    found: dict[Width, list[Arrays] | str] = {}
    with scratch("check") as folder:
        path = folder / "model.tflite"
        path.write_bytes(parts[0].content)
        with Session(runtime, path) as session:
            for width in widths:
                answers = []
                try:
                    for part, inputs in zip(parts, given, strict=True):
                        path.write_bytes(widen(part, {}, range(len(part.operators)), width))
                        session.load(path)
                        answers.append(real_outputs(session.run(inputs), session.describe()))
                except InputError as error:
                    found[width] = str(error)
                else:
                    found[width] = answers
    return found


def _clipped(found: list[Arrays] | str, parts: Sequence[TfliteModel], width: Width) -> list[Arrays] | str:
    """Limit outputs to what int16 tensors with the ranges of int8 ones can have."""
    if width != "int16" or isinstance(found, str):
        return found

    def limited(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
        if not is_rounded(tensor):
            return values
        high = tensor.scales[0] * max(127 - tensor.zero_points[0], 128 + tensor.zero_points[0])
        return np.clip(values, -high, high)

    return [list(map(limited, outputs, part.outputs)) for outputs, part in zip(found, parts, strict=True)]


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference as a share of the range of the expected values."""
    if not np.isfinite(found).all():
        return math.inf
    return float(np.abs(found - expected).max() / max(float(np.ptp(expected)), 1e-30))
