"""Placement of each node of a model, weighted by its arithmetic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pipeline.runtimes.session import Node

if TYPE_CHECKING:
    from pipeline.flatbuffer import Operator, TfliteModel
    from pipeline.runtimes.session import ModelDetails


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """Placement of each node of the model by one runtime.

    Attributes:
        runtime: the runtime in words.
        nodes: in the order of the file.
        partitions: how many pieces the delegate was given.
        multiply_accumulates: of one inference, by placement.
    """

    runtime: str
    nodes: tuple[Node, ...]
    partitions: int
    multiply_accumulates: dict[str, int]

    def share(self, placement: str) -> float:
        """Share of the multiply-accumulates that run in ``placement``, 0..1."""
        return self.multiply_accumulates.get(placement, 0) / max(sum(self.multiply_accumulates.values()), 1)


def list_placements(runtime: str, details: ModelDetails, flat: TfliteModel) -> Delegation:
    """Return where ``runtime`` runs each node, and its share of the arithmetic."""
    work: Counter[str] = Counter()
    for node, operator in zip(details.nodes, flat.operators, strict=True):
        work[node.placement] += multiply_accumulates(operator, flat)
    return Delegation(
        runtime=runtime,
        nodes=details.nodes,
        partitions=details.partitions,
        multiply_accumulates=dict(sorted(work.items())),
    )


def multiply_accumulates(operator: Operator, flat: TfliteModel) -> int:
    """Multiply-accumulates of one inference of an operator; 0 for those that only move or compare.

    Convolutions and fully connected layers do one for each output element and each weight that reaches
    it (TFLite kernels are (out, height, width, in), depthwise ones (1, height, width, out)).
    """
    if not operator.outputs:
        return 0
    output = prod(abs(size) for size in flat.tensors[operator.outputs[0]].shape)
    if operator.name in {"CONV_2D", "FULLY_CONNECTED"}:
        return output * prod(flat.tensors[operator.inputs[1]].shape[1:])
    if operator.name == "DEPTHWISE_CONV_2D":
        return output * prod(flat.tensors[operator.inputs[1]].shape[1:3])
    if operator.name == "TRANSPOSE_CONV":
        source = flat.tensors[operator.inputs[2]]
        return source.elements * prod(flat.tensors[operator.inputs[1]].shape[:3])
    if operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":  # four gates: of the input, and of the state
        gates = [flat.tensors[index] for index in operator.inputs[1:9] if index >= 0]
        return output // gates[-1].shape[0] * sum(gate.elements for gate in gates)
    if operator.name == "BATCH_MATMUL":
        return output * flat.tensors[operator.inputs[0]].shape[-1]
    return 0
