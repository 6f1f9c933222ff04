"""Properties of a verified .tflite file: float operators, sparsity of kernels, download size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.flatbuffer import layout

if TYPE_CHECKING:
    from pipeline.flatbuffer.model import Subgraph, Tensor, TfliteModel

# Operator -> which of its inputs is the kernel.
KERNEL_INPUTS = {
    "CONV_2D": 1,
    "CONV_3D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}


class ZeroCount(NamedTuple):
    """How many of a kernel's weights are exactly zero."""

    zeros: int
    total: int

    @property
    def fraction(self) -> float:
        """Zeros in 0..1 of all."""
        return self.zeros / self.total


@dataclass(frozen=True, kw_only=True)
class FloatOperator:
    """An operator that reads or writes floating-point numbers.

    Attributes:
        index: of the operator in its subgraph.
        name: of its kind, e.g. "CONV_2D".
        dtype: of its first floating-point tensor.
        tensor: that tensor's name.
    """

    subgraph: int
    index: int
    name: str
    dtype: str
    tensor: str

    @property
    def is_cast(self) -> bool:
        """Whether it only converts between integers and floats."""
        return self.name in {"QUANTIZE", "DEQUANTIZE"}

    def __str__(self) -> str:
        where = f"{self.subgraph}/{self.index}" if self.subgraph else str(self.index)
        return f"{where} {self.name} ({self.dtype} {self.tensor})"


def float_operators(model: TfliteModel) -> tuple[FloatOperator, ...]:
    """Return the operators that read or write floating-point numbers, in order of execution."""
    found = []
    for number, graph in enumerate(model.subgraphs):
        for operator in graph.operators:
            touched = [graph.tensors[i] for i in (*operator.outputs, *operator.inputs) if i >= 0]
            if floating := next((tensor for tensor in touched if tensor.is_float), None):
                found.append(
                    FloatOperator(
                        subgraph=number,
                        index=operator.index,
                        name=operator.name,
                        dtype=floating.dtype,
                        tensor=floating.name,
                    )
                )
    return tuple(found)


def integer_io(model: TfliteModel) -> bool:
    """Return whether no input and no output is floating-point."""
    return not any(tensor.is_float for tensor in (*model.inputs, *model.outputs))


def kernels(graph: Subgraph) -> dict[int, Tensor]:
    """Return the operator's index -> its constant kernel, for each convolution and dense layer that has one.

    A float16 or sparse kernel is found behind the operator that widens it.
    """
    widened = {
        output: graph.tensors[operator.inputs[0]]
        for operator in graph.operators
        if operator.name in ("DEQUANTIZE", "DENSIFY")
        for output in operator.outputs
    }
    found = {}
    for operator in graph.operators:
        position = KERNEL_INPUTS.get(operator.name)
        if position is None or len(operator.inputs) <= position:
            continue
        tensor = graph.tensors[operator.inputs[position]]
        tensor = widened.get(tensor.index, tensor)
        if tensor.is_constant:
            found[operator.index] = tensor
    return found


def count_zeros(model: TfliteModel, tensor: Tensor) -> ZeroCount:
    """Count the weights of a constant that stand for exactly zero.

    That is the zero point where the tensor is quantized, the channel's own where it is per-channel. Of a
    sparsely encoded constant the weights that are not stored count, and nothing of a type NumPy lacks.
    """
    if not tensor.is_readable:
        stored = tensor.size_bytes * 8 // (layout.bits(tensor.dtype) or 8)
        return ZeroCount(max(tensor.elements - stored, 0), tensor.elements)
    values = model.constant(tensor)
    zero: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = np.asarray(tensor.zero_points or (0,))
    if len(zero) > 1:
        zero = zero.reshape([-1 if axis == tensor.axis else 1 for axis in range(values.ndim)])
    return ZeroCount(int(np.count_nonzero(values == zero)), values.size)


def weight_sparsity(model: TfliteModel) -> dict[str, ZeroCount]:
    """Return kernel's tensor name -> its zeros, for each convolution and dense layer of the main graph."""
    return {tensor.name: count_zeros(model, tensor) for tensor in kernels(model.subgraphs[0]).values()}
