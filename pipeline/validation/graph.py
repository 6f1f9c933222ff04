"""The operators of a .tflite file as the report lists and draws them: what each reads, makes and stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.weights import count_zeros, kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.flatbuffer import Operator, TfliteModel

GIVEN = -1
"""In ``GraphNode.reads``: an input of the model."""


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """An operator of the main subgraph.

    Attributes:
        index: its position in the order of execution.
        op: name of its kind, e.g. "CONV_2D".
        layer: its Keras layer; "" if unknown.
        reads: indices of the operators whose outputs it reads, each once; -1 for an input of the model.
        shape: of its first output.
        dtype: of its first output.
        constant_bytes: of its constants in the file; one that several operators read counts for the first.
        weights: how many its kernel has; 0 without one.
        zeros: how many of them are exactly zero.
    """

    index: int
    op: str
    layer: str
    reads: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int
    weights: int
    zeros: int


def graph_of(flat: TfliteModel, layers: Mapping[str, str] | None = None) -> tuple[GraphNode, ...]:
    """Return the operators of the main subgraph, in order.

    Args:
        flat: a verified file.
        layers: the user's layer by the name of each that was converted, as for ``user_layers``.
    """
    names, kernel_of = user_layers(flat, layers or {}), kernels(flat.subgraphs[0])
    makers = dict.fromkeys(flat.subgraphs[0].inputs, GIVEN)
    counted: set[int] = set()
    nodes = []
    for operator, layer in zip(flat.operators, names, strict=True):
        output = flat.tensors[operator.outputs[0]] if operator.outputs else None
        kernel = kernel_of.get(operator.index)
        found = None if kernel is None else count_zeros(flat, kernel)
        nodes.append(
            GraphNode(
                index=operator.index,
                op=operator.name,
                layer=layer,
                reads=tuple(dict.fromkeys(makers[index] for index in operator.inputs if index in makers)),
                shape=output.shape if output else (),
                dtype=output.dtype if output else "",
                constant_bytes=_constant_bytes(flat, operator, counted),
                weights=found.total if found else 0,
                zeros=found.zeros if found else 0,
            )
        )
        makers |= dict.fromkeys(operator.outputs, operator.index)
    return tuple(nodes)


def _constant_bytes(flat: TfliteModel, operator: Operator, counted: set[int]) -> int:
    """Return the bytes of an operator's constants that were not ``counted``, and count them."""
    size = 0
    for tensor in (flat.tensors[index] for index in operator.inputs if index >= 0):
        if tensor.is_constant and tensor.data.start not in counted:
            counted.add(tensor.data.start)
            size += tensor.size_bytes
    return size
