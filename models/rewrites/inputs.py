"""The scaling of a model's inputs, taken out of the model or put into its first layers.

The program that calls the model multiplies each value by a factor anyway, to quantize it. A scaling of the
input costs nothing there, and a pass over the whole input where it is a layer.

An int8 input has one scale for the whole tensor. Where one feature counts thousands and another lies between
0 and 1, nothing of the second is left; so the features are brought to one range before they are quantized.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.layer_rules import LAYERS
from models.rewrites.absorbing import absorb_in_readers
from models.rewrites.edit import Rewrite
from models.rewrites.folding import without
from models.rewrites.scalings import Affine, affine_of
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.graph import Graph, Layer

    Scaling = tuple[NDArray[np.float64], NDArray[np.float64]]

_MOVING = frozenset({"Flatten", "Reshape", "Permute", "RepeatVector"})
_OF_CHANNELS = frozenset(
    {"Resizing", "CenterCrop", "Cropping1D", "Cropping2D", "Cropping3D"}
    | {"UpSampling1D", "UpSampling2D", "UpSampling3D"}
)
_PADDING = frozenset({"ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"})


def with_float_inputs(graph: Graph) -> Graph:
    """Return the model with inputs of float32, as its layers compute, in place of other numbers.

    Integers that index a table stay integers, also if other layers move them first.
    """
    lead_to_table: set[int] = set()
    for index, call in reversed(list(enumerate(graph.calls))):
        if graph.layers[call.layer].kind == "Embedding" or index in lead_to_table:
            lead_to_table.update(call.inputs)
    layers = dict(graph.layers)
    for tensor in set(graph.inputs) - lead_to_table:
        name = graph.calls[tensor].layer
        layers[name] = replace(layers[name], config=layers[name].config | {"dtype": "float32"})
    return replace(graph, layers=layers)


def lift_normalization(graph: Graph) -> tuple[Graph, dict[str, Scaling], list[Rewrite]]:
    """Remove scalings from the model that are the only readers of a float input.

    Several in a row are taken out together, also behind layers that only move, crop or resize.

    Returns:
        The model without them; for each input that had one, by its name, float64 arrays ``scale`` and
        ``offset`` of shape (channels,), or (1,) if all values are scaled alike: the new model computes on
        ``x * scale + offset`` what the given one does on ``x``; and what was rewritten.
    """
    lifted: dict[str, Affine] = {}
    rewrites: list[Rewrite] = []
    while (found := _first_scaling(graph)) is not None:
        index, name, does = found
        layer = graph.calls[index].layer
        why = "scaling the input is part of quantizing it"
        rewrites.append(Rewrite(layer, f"became the preprocessing of {name!r}", why))
        lifted[name] = lifted[name].then(does) if name in lifted else does
        graph = without(graph, {index}, {})
    return graph, {name: (does.scale, does.offset) for name, does in lifted.items()}, rewrites


def _first_scaling(graph: Graph) -> tuple[int, str, Affine] | None:
    """Return the call of a scaling that an input can do, the input's name, and what it does there."""
    shapes, consumers = infer_shapes(graph), graph.consumers()
    for tensor in graph.inputs:
        given = graph.layers[graph.calls[tensor].layer]
        if not str(given.config.get("dtype", "float32")).startswith("float"):
            continue
        at = tensor
        passed: list[Layer] = []
        while len(consumers[at]) == 1 and at not in graph.outputs:
            [index] = consumers[at]
            layer = graph.layers[graph.calls[index].layer]
            is_shared = sum(call.layer == layer.name for call in graph.calls) > 1
            if LAYERS[layer.kind].scales and not is_shared and index not in graph.outputs:
                does = affine_of(layer, shapes[at])
                alike = None if does is None else _before(passed, does)
                if alike is not None:
                    return index, given.name, alike
            if not (layer.kind in _MOVING | _OF_CHANNELS | _PADDING or LAYERS[layer.kind].training_only):
                break
            at, passed = index, [*passed, layer]
    return None


def _before(passed: list[Layer], does: Affine) -> Affine | None:
    """Return the scaling that does before some layers what the given one does after them, or None."""
    scale, offset = np.broadcast_arrays(does.scale, does.offset)
    if not (np.ptp(scale) or np.ptp(offset)):
        scale, offset = scale[:1], offset[:1]
    kinds = {layer.kind for layer in passed}
    of_channels = all(layer.config.get("data_format") != "channels_first" for layer in passed)
    if kinds & _PADDING and offset.any():
        return None
    if len(scale) > 1 and (kinds & _MOVING or not of_channels):
        return None
    return Affine(scale, offset)


def fold_inputs(graph: Graph, scalings: Mapping[str, tuple[Any, Any]]) -> Graph | None:
    """Return the model of scaled inputs: on ``x * scale + offset`` it computes what ``graph`` does on ``x``.

    The weights of the layers that read an input first take the inverse in, also behind Flatten, Reshape,
    Permute and Concatenate.

    Args:
        graph: the model.
        scalings: for each input that is scaled, by its name, ``scale`` and ``offset``: numbers, or arrays
            that broadcast to one sample, e.g. of shape (channels,). No scale is zero.

    Returns:
        None if that is not exactly possible: a convolution pads what has an offset, something without
        weights reads an input, or a layer reads two tensors.
    """
    for name, (scale, offset) in scalings.items():
        scaling = Affine(np.asarray(scale, np.float64), np.asarray(offset, np.float64))
        tensor = next((at for at in graph.inputs if graph.calls[at].layer == name), None)
        if tensor is None or not scaling.scale.all():
            return None
        changed = absorb_in_readers(graph, infer_shapes(graph), tensor, scaling.inverse())
        if changed is None:
            return None
        graph = without(graph, set(), changed)
    return graph
