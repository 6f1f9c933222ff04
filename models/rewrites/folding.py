"""Scalings of channels that disappear into the weights of a layer beside them.

``convolution, BatchNormalization`` stays: TF-MOT quantizes the pair as what it becomes. Not so after Dense, a
transposed or a grouped convolution, and before a convolution.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.layer_rules import LAYERS
from models.rewrites.absorbing import absorb_after, absorb_in_readers
from models.rewrites.edit import Edit, Rewrite, affine
from models.rewrites.scalings import Affine, affine_of
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from models.graph import Graph, Layer
    from models.shapes import Shape

# A kernel has one int8 scale for all the channels that it reads, and fine-tuning one step size: weights that
# became much smaller than the others, or than they were, would be lost to the one or the other.
_WIDEST = 4.0


def fold_scalings(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Fold BatchNormalization, Rescaling and Normalization into their neighbours where that is exact."""
    rewrites = []
    while (folded := _fold_one(graph)) is not None:
        graph, rewrite = folded
        rewrites.append(rewrite)
    return graph, rewrites


def _fold_one(graph: Graph) -> tuple[Graph, Rewrite] | None:
    """Fold the first scaling that can be; None if there is none."""
    shapes = infer_shapes(graph)
    consumers = graph.consumers()
    uses = [call.layer for call in graph.calls]
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        does = affine_of(layer, shapes[index])
        if does is None or uses.count(layer.name) > 1:
            continue
        source = call.inputs[0]
        before = graph.layers[graph.calls[source].layer]
        alone = len(consumers[source]) == uses.count(before.name) == 1 and source not in graph.outputs
        changed = _fold_after(before, layer, does, shapes[source]) if alone else None
        if changed is None and _is_mild(does):
            changed = absorb_in_readers(graph, shapes, index, does)
        if changed:
            names = " and ".join(repr(name) for name in changed)
            why = "a scaling by itself would cost an operation and a rounding"
            return without(graph, {index}, changed), Rewrite(layer.name, f"was folded into {names}", why)
    return None


def _fold_after(before: Layer, layer: Layer, does: Affine, shape: Shape) -> dict[str, Layer] | None:
    """Return the layer before, changed so that it does the work of ``layer`` too."""
    if LAYERS[before.kind].scales:
        first = affine_of(before, shape)
        if first is None:
            return None
        return {before.name: _joined(before, first, does)}
    is_covered = before.kind in {"Conv2D", "DepthwiseConv2D"} and (before.config.get("groups") or 1) == 1
    if is_covered and layer.kind == "BatchNormalization":
        return None
    new = absorb_after(before, does)
    return None if new is None else {before.name: new}


def _joined(before: Layer, first: Affine, second: Affine) -> Layer:
    """Return one scaling for two; a BatchNormalization that is trained stays one."""
    if before.kind != "BatchNormalization" or not before.config.get("trainable", True):
        both = first.then(second)
        return affine(before.name, both.scale, both.offset)
    config, arrays = before.config, [np.asarray(array, np.float64) for array in before.weights]
    gamma = arrays.pop(0) if config.get("scale", True) else np.ones_like(arrays[-1])
    beta = arrays.pop(0) if config.get("center", True) else np.zeros_like(arrays[-1])
    trained = (gamma * second.scale, beta * second.scale + second.offset, *arrays)
    weights = tuple(array.astype(np.float32) for array in trained)
    return replace(before, config=config | {"scale": True, "center": True}, weights=weights)


def _is_mild(does: Affine) -> bool:
    size = np.abs(does.scale)
    return bool(size.min() * _WIDEST >= 1 and size.max() <= _WIDEST)


def without(graph: Graph, dropped: set[int], changed: dict[str, Layer]) -> Graph:
    """Return the graph with calls left out, each of whose input takes its place, and with layers changed."""
    kept = {name: replace(layer, made_of=graph.layers[name].made_of) for name, layer in changed.items()}
    edit = Edit(replace(graph, layers=graph.layers | kept))
    for index, call in enumerate(graph.calls):
        edit.moved.append(edit.moved[call.inputs[0]] if index in dropped else edit.keep(call))
    return edit.finish()
