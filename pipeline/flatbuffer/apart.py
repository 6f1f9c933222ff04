"""Operators of a .tflite file side by side, each with inputs of its own.

What one of them computes wrong does not reach the next: each gets the inputs that it is given.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer.edit import (
    add_constant,
    add_reshape_code,
    pack,
    stands_alone,
    unpack,
    with_outputs,
)
from pipeline.flatbuffer.read import read_tflite
from pipeline.flatbuffer.schema import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.flatbuffer.model import TfliteModel


@dataclass(frozen=True)
class Apart:
    """A file of operators side by side; tensors without a batch are (1, elements) in it.

    Attributes:
        content: the file.
        inputs: the tensors of the model that it is given, in this order.
        outputs: the tensors that it computes from them.
    """

    content: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def apart(model: TfliteModel, tensors: Sequence[int]) -> Apart:
    """Return a file that computes each of some tensors from the nearest others, which it is given.

    Args:
        model: a verified file.
        tensors: computed ones. Operators between two of them stay together. A tensor that needs an operator
            without a meaning of its own is left out.
    """
    known = {*tensors, *model.subgraphs[0].inputs}
    cannot: set[int] = set()
    for operator in model.operators:
        if not stands_alone(model, operator) or cannot & ({*operator.inputs} - known):
            cannot.update(operator.outputs)
    writer = _Writer(model)
    for operator in model.operators:
        if not cannot & {*operator.outputs}:
            writer.add(operator.index, known)
    return writer.finish([index for index in tensors if index not in cannot])


class _Writer:
    """A file of operators side by side while it is written."""

    def __init__(self, model: TfliteModel) -> None:
        self.model, self.flat = model, unpack(model.content)
        self.flat.subgraphs, self.flat.signatureDefs = self.flat.subgraphs[:1], []
        self.graph = self.flat.subgraphs[0]
        self.whole = list(self.graph.operators)
        self.graph.operators, self.graph.inputs = [], []
        self.given: dict[int, int] = {}
        self.reshape: int | None = None

    def add(self, operator: int, known: set[int]) -> None:
        """Add an operator that reads known tensors from the file's inputs."""
        node = self.whole[operator]
        node.inputs = [self._given(int(index)) if index in known else index for index in node.inputs]
        self.graph.operators.append(node)

    def finish(self, outputs: list[int]) -> Apart:
        self.graph.outputs = outputs
        flat = read_tflite(pack(self.flat))
        return Apart(with_outputs(flat, outputs), tuple(self.given), tuple(outputs))

    def _given(self, index: int) -> int:
        """Return the tensor that holds a value which the file is given."""
        if index not in self.given:
            tensor = copy.copy(self.graph.tensors[index])
            tensor.buffer, shape = 0, self.model.tensors[index].shape
            place = self._append(tensor)
            if shape[:1] == (1,):
                self.graph.inputs.append(place)
            else:
                self._reshaped(index, place)
            self.given[index] = place
        return self.given[index]

    def _reshaped(self, index: int, place: int) -> None:
        """Take a tensor without a batch as (1, elements)."""
        described = self.model.tensors[index]
        tensor = copy.copy(self.graph.tensors[place])
        tensor.shape, tensor.shapeSignature = [1, described.elements], None
        if self.reshape is None:
            self.reshape = add_reshape_code(self.flat)
        shape = add_constant(self.flat, np.array(described.shape, np.int32), "shape")
        node: Any = schema().OperatorT()
        self.graph.inputs.append(self._append(tensor))
        node.opcodeIndex, node.inputs, node.outputs = self.reshape, [self.graph.inputs[-1], shape], [place]
        self.graph.operators.append(node)

    def _append(self, tensor: Any) -> int:
        self.graph.tensors = [*self.graph.tensors, tensor]
        return len(self.graph.tensors) - 1
