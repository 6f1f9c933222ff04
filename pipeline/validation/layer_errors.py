"""How far the values of each layer of an int8 model are from those of the same operators in float."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_outputs
from pipeline.flatbuffer.simulation import is_rounded, simulate_apart
from pipeline.progress import track
from pipeline.runtimes.quantization import dequantize, quantize_inputs, tensor_inputs
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Tensor, TfliteModel

    Arrays = list[NDArray[Any]]

CHUNK_BYTES = 1 << 26
MIN_DB = -100.0
"""Where there is noise and no signal."""
BINS = 32
"""Of a histogram; of an int8 tensor each has eight levels."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """What rounds together: the operators of a layer, or one of the model's inputs.

    Attributes:
        layer: its name.
        operators: indices, in the order of execution.
        inputs: the tensor of the input, if the caller of the model rounds it.
        is_input: whether it is one of the model's inputs.
    """

    layer: str
    operators: tuple[int, ...]
    inputs: tuple[int, ...] = ()
    is_input: bool = False


@dataclass(frozen=True, kw_only=True)
class SignalError:
    """A tensor of the int8 model, against float.

    Attributes:
        sqnr_db: signal-to-quantization-noise ratio in dB; None if it is equal to float.
        channel_sqnr_db: the same of the median channel of the last axis.
        low: the smallest value in float.
        high: the largest.
        int8_low: the smallest value that the int8 tensor can have.
        int8_high: the largest.
        saturated: share of values at an end of the integers' range, unless that end is zero, as after a ReLU.
        counts: histogram of the float values from ``int8_low`` to ``int8_high``; others count at its ends.
        int8_counts: histogram of the int8 tensor's values.
    """

    sqnr_db: float | None
    channel_sqnr_db: float | None
    low: float
    high: float
    int8_low: float
    int8_high: float
    saturated: float
    counts: tuple[int, ...] = ()
    int8_counts: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """Errors of one layer.

    Attributes:
        output: the layer's output, or the worst of several.
        input_sqnr_db: the same figure of its worst input; None if that is exact.
        added_sqnr_db: of its output if its inputs are exact: what the layer itself adds; None if nothing.
    """

    output: SignalError
    input_sqnr_db: float | None
    added_sqnr_db: float | None


def to_db(signal: float, noise: float) -> float | None:
    """Return a ratio of powers in dB; None if there is no noise."""
    if noise <= 0:
        return None
    return max(MIN_DB, 10 * math.log10(signal / noise)) if signal > 0 else MIN_DB


def grouped(flat: TfliteModel, names: Sequence[str]) -> tuple[Group, ...]:
    """Return the model's inputs, then its layers in the order of execution.

    Args:
        names: the layer of each operator.
    """
    groups: list[Group] = []
    taken: set[int] = set()
    for index in flat.subgraphs[0].inputs:
        tensor = flat.tensors[index]
        rounding = tuple(
            operator.index
            for operator in flat.operators
            if operator.name == "QUANTIZE" and operator.inputs == (index,) and tensor.is_float
        )
        if is_rounded(tensor) or rounding:
            given = (index,) if is_rounded(tensor) else ()
            groups.append(Group(layer=tensor.name, operators=rounding, inputs=given, is_input=True))
            taken.update(rounding)
    of_layers: dict[str, list[int]] = {}
    for operator, name in zip(flat.operators, names, strict=True):
        if operator.index not in taken:
            of_layers.setdefault(name or f"{operator.index} {operator.name}", []).append(operator.index)
    groups += [Group(layer=name, operators=tuple(indices)) for name, indices in of_layers.items()]
    return tuple(groups)


@dataclass
class _Sums:
    """Powers and extremes of one tensor, over chunks of samples."""

    tensor: Tensor
    signal: Any = 0.0
    noise: Any = 0.0
    added: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    at_limits: int = 0
    values: int = 0
    counts: Any = 0
    int8_counts: Any = 0

    def add(self, real: NDArray[Any], integers: NDArray[Any], apart: NDArray[Any] | None = None) -> None:
        """Count a chunk, (n, ...): float values, the int8 model's, and those of the layer rounding apart."""
        scale, zero = self.tensor.scales[0], self.tensor.zero_points[0]
        error = dequantize(integers, scale, zero).astype(np.float64) - real
        axes = tuple(range(real.ndim - 1))
        self.signal = self.signal + (real.astype(np.float64) ** 2).sum(axis=axes)
        self.noise = self.noise + (error**2).sum(axis=axes)
        self.low, self.high = min(self.low, float(real.min())), max(self.high, float(real.max()))
        limits = np.iinfo(self.tensor.dtype)
        ends = [end for end in (limits.min, limits.max) if end != zero]
        self.at_limits += int(np.isin(integers, ends).sum())
        self.values += integers.size
        edges = np.linspace(float(limits.min), float(limits.max) + 1.0, BINS + 1)
        levels = np.clip(np.rint(real / scale) + zero, limits.min, limits.max)
        self.counts = self.counts + np.histogram(levels, edges)[0]
        self.int8_counts = self.int8_counts + np.histogram(integers, edges)[0]
        self.added += float((error**2 if apart is None else (apart.astype(np.float64) - real) ** 2).sum())

    @property
    def ratio(self) -> float:
        """Power of the noise relative to that of the signal."""
        return float(np.sum(self.noise)) / max(float(np.sum(self.signal)), 1e-30)

    def error(self) -> SignalError:
        scale, zero = self.tensor.scales[0], self.tensor.zero_points[0]
        limits = np.iinfo(self.tensor.dtype)
        signal, noise = np.atleast_1d(self.signal), np.atleast_1d(self.noise)
        alive = signal > 0
        channels = sorted(
            math.inf if (db := to_db(*pair)) is None else db
            for pair in zip(signal[alive].tolist(), noise[alive].tolist(), strict=True)
        )
        median = channels[len(channels) // 2] if channels else math.inf
        return SignalError(
            sqnr_db=to_db(float(signal.sum()), float(noise.sum())),
            channel_sqnr_db=None if math.isinf(median) else median,
            low=self.low,
            high=self.high,
            int8_low=(limits.min - zero) * scale,
            int8_high=(limits.max - zero) * scale,
            saturated=self.at_limits / max(self.values, 1),
            counts=tuple(np.atleast_1d(self.counts).tolist()),
            int8_counts=tuple(np.atleast_1d(self.int8_counts).tolist()),
        )


@dataclass
class _Edges:
    """For each group the tensors that it gives to others, and those that it reads."""

    outputs: list[list[int]] = field(default_factory=list)
    inputs: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, flat: TfliteModel, groups: Sequence[Group]) -> _Edges:
        edges = cls()
        for group in groups:
            inside = set(group.operators)
            made = [index for at in group.operators for index in flat.operators[at].outputs]
            read = [index for at in group.operators for index in flat.operators[at].inputs if index >= 0]
            others = {index for each in flat.operators if each.index not in inside for index in each.inputs}
            leaving = [index for index in made if index in others or index in flat.subgraphs[0].outputs]
            entering = [index for index in dict.fromkeys(read) if index not in made]
            edges.outputs.append([i for i in (*group.inputs, *leaving) if _has_steps(flat, i)])
            edges.inputs.append([i for i in entering if _has_steps(flat, i)])
        return edges


def _has_steps(flat: TfliteModel, index: int) -> bool:
    tensor = flat.tensors[index]
    return is_rounded(tensor) and not tensor.is_variable and len(tensor.scales) == 1


def layer_errors(
    flat: TfliteModel, exact: Mapping[int, NDArray[np.float32]], groups: Sequence[Group], values: Arrays
) -> list[LayerError | None]:
    """Return the errors of each group; None if nothing that it gives to others is in steps.

    Args:
        flat: an int8 file that passes ``require_simulated``.
        exact: its constants before they were rounded, by tensor.
        values: for each input real numbers (n, ...), or indices.

    Raises:
        StageError: a runtime crashed or hung.
    """
    edges = _Edges.of(flat, groups)
    sums: dict[int, _Sums] = {
        index: _Sums(flat.tensors[index])
        for side in (edges.outputs, edges.inputs)
        for of in side
        for index in of
    }
    _add_inputs(flat, groups, sums, values)
    for chunk in _traced(flat, exact, groups, edges, values):
        for index, real in chunk.real.items():
            sums[index].add(real, chunk.integers[index], chunk.apart[index])
    found: list[LayerError | None] = []
    for outputs, inputs in zip(edges.outputs, edges.inputs, strict=True):
        if not outputs:
            found.append(None)
            continue
        worst = max((sums[index] for index in outputs), key=lambda each: each.ratio)
        signal = float(np.sum(worst.signal))
        before = max((sums[index] for index in inputs), key=lambda each: each.ratio, default=None)
        found.append(
            LayerError(
                output=worst.error(),
                input_sqnr_db=before.error().sqnr_db if before else None,
                added_sqnr_db=to_db(signal, worst.added),
            )
        )
    return found


def _add_inputs(flat: TfliteModel, groups: Sequence[Group], sums: dict[int, _Sums], values: Arrays) -> None:
    """Count the model's inputs, which are not computed by it."""
    places = {index: at for at, index in enumerate(flat.subgraphs[0].inputs)}
    for group in groups:
        if group.is_input:
            rounding = [
                (flat.operators[at].inputs[0], flat.operators[at].outputs[0]) for at in group.operators
            ]
            for given, index in [(index, index) for index in group.inputs] + rounding:
                tensor, real = flat.tensors[index], values[places[given]]
                integers = quantize_inputs(real, tensor.scales[0], tensor.zero_points[0], tensor.dtype)
                if index in sums:
                    sums[index].add(real, integers)


@dataclass(frozen=True)
class _Chunk:
    """Values of tensors for some samples (n, ...), by tensor: in float, in int8, and of each group apart."""

    real: dict[int, NDArray[Any]]
    integers: dict[int, NDArray[Any]]
    apart: dict[int, NDArray[Any]]


def _traced(
    flat: TfliteModel,
    exact: Mapping[int, NDArray[np.float32]],
    groups: Sequence[Group],
    edges: _Edges,
    values: Arrays,
) -> Iterator[_Chunk]:
    """Run the model with the tensors between groups as its outputs, a chunk of samples at a time."""
    layers = [(group, of) for group, of in zip(groups, edges.outputs, strict=True) if not group.is_input]
    of_layers = [index for _, of in layers for index in of]
    if not of_layers:
        return
    apart = simulate_apart(flat, exact, [g.operators for g, _ in layers], [of for _, of in layers])
    files = (with_outputs(flat, of_layers), _with_outputs(apart))
    size = max(1, CHUNK_BYTES // sum(9 * flat.tensors[index].elements for index in of_layers))
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("errors"))
        sessions = []
        for number, content in enumerate(files):
            (path := folder / f"{number}.tflite").write_bytes(content)
            sessions.append(stack.enter_context(Session(host_runtime("litert"), path)))
        advance = stack.enter_context(track("layer errors", len(values[0]), "samples"))
        for start in range(0, len(values[0]), size):
            chunk = [array[start : start + size] for array in values]
            integers, real = (session.run(tensor_inputs(chunk, session.describe())) for session in sessions)
            halves = real[: len(of_layers)], integers, real[len(of_layers) :]
            yield _Chunk(*(dict(zip(of_layers, arrays, strict=True)) for arrays in halves))
            advance(len(chunk[0]))


def _with_outputs(content: bytes) -> bytes:
    """Return a file whose outputs all have the batch first."""
    flat = read_tflite(content)
    return with_outputs(flat, flat.subgraphs[0].outputs)
