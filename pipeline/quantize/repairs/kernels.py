"""Kernels of a float .tflite file: the weights and biases that repairs change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.flatbuffer import Operator, TfliteModel

KINDS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
INT8_LIMIT = 127
"""TFLite's int8 weights are symmetric: -127 to 127."""


@dataclass(frozen=True)
class Kernel:
    """The weights and the bias of a convolution or a dense layer.

    As a matrix, the weights have a row for each output channel and a column for each product of its sum, in
    groups of channels that read the same inputs: float32 (groups, channels, products). A depthwise
    convolution has a group for each input channel, and nearly all other layers have one group.

    Attributes:
        operator: in the main subgraph.
        weights: float32, in the shape that the file has.
        bias: float32 (output channels,); zeros where the operator has none.
        in_channels: how many the operator reads.
    """

    operator: Operator
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    in_channels: int

    @property
    def is_depthwise(self) -> bool:
        return self.operator.name == "DEPTHWISE_CONV_2D"

    @property
    def groups(self) -> int:
        return self.in_channels if self.is_depthwise else self.in_channels // self.weights.shape[-1]

    def matrix(self) -> NDArray[np.float32]:
        """Return the weights as float32 (groups, channels, products)."""
        if self.is_depthwise:
            by_place = self.weights.reshape(-1, self.groups, self.weights.shape[-1] // self.groups)
            return np.ascontiguousarray(by_place.transpose(1, 2, 0))
        return self.weights.reshape(self.groups, len(self.weights) // self.groups, -1)

    def weights_of(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weights of a matrix (groups, channels, products) in the shape that the file has."""
        if self.is_depthwise:
            matrix = matrix.transpose(2, 0, 1)
        return np.ascontiguousarray(matrix, np.float32).reshape(self.weights.shape)


def find_kernels(model: TfliteModel) -> dict[int, Kernel]:
    """Return operator's index -> kernel, for each kernel of the main subgraph that can be changed alone.

    Weights that several operators read are left out, also if a converter stored them once for each of these,
    as are weights that are computed, sparse or not float32.
    """
    found = {}
    for operator in model.operators:
        if operator.name in KINDS and (kernel := _kernel(model, operator)) is not None:
            found[operator.index] = kernel
    readers = Counter(index for each in model.operators for index in each.inputs)
    stored = Counter(each.data for graph in model.subgraphs for each in graph.tensors if each.is_constant)
    copies = Counter(kernel.weights.tobytes() for kernel in found.values())

    def is_own(kernel: Kernel) -> bool:
        tensor = model.tensors[kernel.operator.inputs[1]]
        return readers[tensor.index] == stored[tensor.data] == copies[kernel.weights.tobytes()] == 1

    return {index: kernel for index, kernel in found.items() if is_own(kernel)}


def _kernel(model: TfliteModel, operator: Operator) -> Kernel | None:
    source, weights = (model.tensors[index] for index in operator.inputs[:2])
    index = operator.inputs[2] if len(operator.inputs) > 2 else -1
    constants = [weights] if index < 0 else [weights, model.tensors[index]]
    if source.dtype != "float32" or not all(
        each.is_readable and each.dtype == "float32" for each in constants
    ):
        return None
    channels = weights.shape[-1 if operator.name == "DEPTHWISE_CONV_2D" else 0]
    return Kernel(
        operator,
        model.constant(weights),
        np.zeros(channels, np.float32) if index < 0 else model.constant(constants[1]),
        weights.shape[-1] if operator.name == "FULLY_CONNECTED" else source.shape[-1],
    )
