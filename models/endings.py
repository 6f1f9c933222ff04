"""A model that ends in an argmax is read up to the scores, which training and the metrics need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.graph import Graph

if TYPE_CHECKING:
    from models.graph import Layer


def without_argmax(graph: Graph) -> Graph:
    """Return the graph with the scores as its outputs instead of the places of the largest.

    An output that is among the others already is left out.

    Raises:
        ModelError: something in the graph computes with an argmax.
    """
    left_out = {i for i, call in enumerate(graph.calls) if is_argmax(graph.layers[call.layer])}
    if not left_out:
        return graph
    for call in graph.calls:
        for tensor in left_out.intersection(call.inputs):
            name = graph.calls[tensor].layer
            msg = (
                f"operation {name!r} (argmax) is not supported where {call.layer!r} computes with it; end "
                "the model at the scores, which training and validation need; predict.py names the best class"
            )
            raise ModelError(msg)
    kept = [i for i in range(len(graph.calls)) if i not in left_out]
    place = {old: new for new, old in enumerate(kept)}
    calls = [
        replace(graph.calls[i], inputs=tuple(place[tensor] for tensor in graph.calls[i].inputs)) for i in kept
    ]
    scores = [graph.calls[tensor].inputs[0] if tensor in left_out else tensor for tensor in graph.outputs]
    return Graph(
        graph.name,
        {name: layer for name, layer in graph.layers.items() if not is_argmax(layer)},
        tuple(calls),
        tuple(place[tensor] for tensor in graph.inputs),
        tuple(place[tensor] for tensor in dict.fromkeys(scores)),
    )


def is_argmax(layer: Layer) -> bool:
    """Return whether it gives the place of the largest value of the last axis."""
    return layer.kind == "Operation" and layer.config.get("function") == "argmax"
