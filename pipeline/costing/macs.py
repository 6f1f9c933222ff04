"""Multiply-accumulates of a Keras model: how often its layers use each weight of a kernel, by shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from models.layer_rules import LAYERS
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.graph import Graph, Layer
    from models.shapes import Shape


class Positions(NamedTuple):
    """How many positions a layer computes for a sample, over all of its calls.

    Attributes:
        before: of its input: height times width.
        between: height of its output times width of its input.
        after: of its output.
    """

    before: int
    between: int
    after: int


ONE = Positions(1, 1, 1)
"""Multiply-accumulates at one position are as many as there are weights."""


def positions_of(graph: Graph, shapes: Sequence[Shape] | None = None) -> dict[str, Positions]:
    """Return the positions of each layer with kernels; of a recurrent one they are its steps.

    Args:
        graph: the model.
        shapes: of its tensors, if they are known.
    """
    shapes, found = infer_shapes(graph) if shapes is None else shapes, dict[str, Positions]()
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        if call.result == 0 and kernels(layer):
            of_call = _positions(layer, shapes[call.inputs[0]], shapes[index])
            before = found.get(call.layer, Positions(0, 0, 0))
            found[call.layer] = Positions(*map(sum, zip(before, of_call, strict=True)))
    return found


def kernels(layer: Layer) -> tuple[int, ...]:
    """Return which of a layer's arrays are kernels."""
    names = LAYERS[layer.kind].weights[: len(layer.weights)]
    return tuple(index for index, weight in enumerate(names) if "kernel" in weight.name)


def uses(layer: Layer, positions: Positions) -> int:
    """Return how often a layer multiplies with each weight of a kernel."""
    return positions.before if layer.kind.endswith("Transpose") else positions.after


def multiply_accumulates(graph: Graph) -> dict[str, int]:
    """Return the multiply-accumulates of each layer with kernels for a sample; no other layer has any."""
    return {
        name: uses(layer, positions) * sum(layer.weights[index].size for index in kernels(layer))
        for name, positions in positions_of(graph).items()
        for layer in [graph.layers[name]]
    }


def _positions(layer: Layer, before: Shape, after: Shape) -> Positions:
    """Return the positions of one call."""
    if LAYERS[layer.kind].states:
        return Positions(*[before[1] or 1] * 3)
    sizes = [math.prod(length or 1 for length in shape[1:-1]) for shape in (before, after)]
    between = (after[1] or 1) * (before[2] or 1) if len(before) == 4 and len(after) == 4 else sizes[1]
    return Positions(sizes[0], between, sizes[1])
