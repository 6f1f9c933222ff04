"""The scaling of a model's inputs, taken out of the model or put into its first layers.

An int8 input has one scale for the whole tensor. Where one feature counts thousands and another lies between
0 and 1, nothing of the second is left; so the features are brought to one range before they are quantized, by
the program that calls the model.
"""

from __future__ import annotations

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

    from models.graph import Graph

    Scaling = tuple[NDArray[np.float64], NDArray[np.float64]]

_VECTOR_OR_SERIES = (2, 3)  # dimensions, with the batch


def lift_normalization(graph: Graph) -> tuple[Graph, dict[str, Scaling], list[Rewrite]]:
    """Remove scalings from the model that are the only readers of a float vector or series.

    Several in a row are taken out together.

    Returns:
        The model without them; for each input that had one, by its name, float64 arrays ``scale`` and
        ``offset`` of shape (channels,): the new model computes on ``x * scale + offset`` what the given one
        does on ``x``; and what was rewritten.
    """
    lifted: dict[str, Affine] = {}
    rewrites: list[Rewrite] = []
    while (found := _first_scaling(graph)) is not None:
        index, name, does = found
        layer = graph.calls[index].layer
        rewrites.append(
            Rewrite(layer, f"became the preprocessing of {name!r}", "one int8 scale serves all its channels")
        )
        lifted[name] = lifted[name].then(does) if name in lifted else does
        graph = without(graph, {index}, {})
    return graph, {name: (does.scale, does.offset) for name, does in lifted.items()}, rewrites


def _first_scaling(graph: Graph) -> tuple[int, str, Affine] | None:
    shapes, consumers = infer_shapes(graph), graph.consumers()
    for tensor in graph.inputs:
        given = graph.layers[graph.calls[tensor].layer]
        readers = consumers[tensor]
        if len(readers) != 1 or tensor in graph.outputs or len(shapes[tensor]) not in _VECTOR_OR_SERIES:
            continue
        index = readers[0]
        layer = graph.layers[graph.calls[index].layer]
        is_shared = sum(call.layer == layer.name for call in graph.calls) > 1
        is_float = str(given.config.get("dtype", "float32")).startswith("float")
        if LAYERS[layer.kind].scales and is_float and not is_shared and index not in graph.outputs:
            does = affine_of(layer, shapes[index])
            if does is not None:
                return index, given.name, Affine(*np.broadcast_arrays(does.scale, does.offset))
    return None


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
