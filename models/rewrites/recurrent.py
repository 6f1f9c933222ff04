"""Recurrent layers step by step: plain layers to the converter, without a state between inferences.

The converter makes one operator of an LSTM, which XNNPACK does not take and which remembers the sample before
until a program resets it; on a GRU it crashes. Unrolled, either is matrix products and activations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.rewrites.edit import Edit, Rewrite
from models.shapes import infer_shapes

if TYPE_CHECKING:
    from models.graph import Graph, Layer

MAX_STEPS = 128  # each is some twenty operators
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN"})


def unroll_recurrent(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Unroll every recurrent layer.

    Raises:
        ModelError: one has too many steps, or an open number of them.
    """
    edit, shapes = Edit(graph), infer_shapes(graph)
    for call in graph.calls:
        edit.moved.append(edit.keep(call))
        layer = graph.layers[call.layer]
        if _is_recurrent(layer):
            steps = shapes[call.inputs[0]][1]
            if steps is None or steps > MAX_STEPS:
                found = "an open number of" if steps is None else str(steps)
                msg = (
                    f"layer {layer.name!r} ({layer.kind}): {found} steps, at most {MAX_STEPS} are unrolled; "
                    "shorten the sequence first, e.g. with a Conv1D with strides"
                )
                raise ModelError(msg)
            edit.layers[layer.name] = _unrolled(layer)
            edit.note(layer.name, f"was unrolled over {steps} steps", "int8 kernels have no loops or state")
    return edit.finish(), edit.rewrites


def _is_recurrent(layer: Layer) -> bool:
    return layer.kind in _RECURRENT or (layer.inner is not None and layer.inner.kind in _RECURRENT)


def _unrolled(layer: Layer) -> Layer:
    if layer.inner is None:
        return replace(layer, config=layer.config | {"unroll": True})
    backward = layer.inner_backward
    return replace(
        layer,
        inner=_unrolled(layer.inner),
        inner_backward=None if backward is None else _unrolled(backward),
    )
