"""Layer normalizations over a single value, whose result is their beta whatever they are given.

The value less its mean is zero, and the int8 SQUARED_DIFFERENCE of LiteRT 2.3 aborts on numbers that are all
zero. Tutorials of transformers have such layers: a series of one channel, normalized over its channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.graph import Layer
from models.rewrites.edit import Edit, Rewrite
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from models.graph import Graph
    from models.shapes import Shape

_WHY = "a normalization over a single value gives the same for every sample"


def fold_constants(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Rewrite the sum of a tensor and such a normalization as the tensor and an offset.

    What led to the normalization alone is left out with it.
    """
    edit, shapes = Edit(graph), infer_shapes(graph)
    constants: dict[int, float] = {}
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        value = _constant(layer, [shapes[tensor] for tensor in call.inputs])
        if value is not None:
            constants[index] = value
        known = [tensor for tensor in call.inputs if tensor in constants]
        rest = [tensor for tensor in call.inputs if tensor not in constants]
        is_sum = layer.kind == "Add" and len(known) == len(rest) == 1
        if not is_sum or shapes[rest[0]] != shapes[index]:
            edit.moved.append(edit.keep(call))
            continue
        edit.note(graph.calls[known[0]].layer, "became a constant, without the layers before it", _WHY)
        tensor, offset = edit.moved[rest[0]], constants[known[0]]
        if offset:
            tensor = edit.add(Layer(layer.name, "Rescaling", {"scale": 1.0, "offset": offset}), tensor)
        edit.moved.append(tensor)
    return edit.finish(), edit.rewrites


def _constant(layer: Layer, inputs: list[Shape]) -> float | None:
    """Return the only value that a layer ever gives, or None."""
    if layer.kind != "LayerNormalization":
        return None
    axis = layer.config.get("axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if any(inputs[0][one] != 1 for one in axes):
        return None
    return float(np.ravel(layer.weights[-1])[0]) if layer.config.get("center", True) else 0.0
