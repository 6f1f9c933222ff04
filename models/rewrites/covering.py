"""Rewrites that give each scaling and each rectifier a convolution that TF-MOT quantizes it with.

TF-MOT covers ``convolution, BatchNormalization, ReLU`` and nothing of it out of that order: a
BatchNormalization elsewhere is refused, and the weights before a separate ReLU are skipped without a word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from models.graph import Graph, Layer
from models.layer_rules import LAYERS
from models.rewrites.edit import Edit, Rewrite, affine, identity_depthwise
from models.rewrites.inputs import with_float_inputs
from models.rewrites.scalings import as_normalization
from models.shape_inference import infer_shapes

_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose"})


def cover_scalings(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Put a 1x1 depthwise convolution before each scaling that has no convolution to be folded into.

    The convolution is the identity, and a BatchNormalization after it stays one, so that training goes on as
    it would have; it is folded at conversion. Rescaling and Normalization become a frozen one.
    """
    graph = with_float_inputs(graph)
    edit, shapes = Edit(graph), infer_shapes(graph)
    linear = _linear_calls(graph)
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        scaling = None
        if LAYERS[layer.kind].scales and len(shapes[index]) in {2, 3, 4}:
            scaling = as_normalization(layer, shapes[index])
        source = call.inputs[0] if call.inputs else -1
        before = linear.get(source) if layer.kind == "BatchNormalization" else None
        if scaling is None or before in _CONVOLUTIONS:
            edit.moved.append(edit.keep(call))
        else:
            why = f"TF-MOT covers a {layer.kind} only after a convolution"
            edit.note(layer.name, "a 1x1 depthwise identity was put before it", why)
            edit.moved.append(_covered(edit, scaling, shapes[index], edit.moved[source]))
    return edit.finish(), edit.rewrites


def fuse_relu(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Fuse ReLU into the convolution or Dense before it; put a frozen identity before a ReLU6."""
    edit, shapes = Edit(graph), infer_shapes(graph)
    linear = _linear_calls(graph)
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        source = call.inputs[0] if call.inputs else -1
        if layer.kind != "ReLU" or source not in linear:
            edit.moved.append(edit.keep(call))
            continue
        before = graph.layers[graph.calls[source].layer]
        why = f"TF-MOT skips the weights of a {before.kind} before a separate ReLU"
        if not any(layer.config.get(key) for key in ("max_value", "threshold", "negative_slope")):
            edit.layers[before.name] = replace(before, config=before.config | {"activation": "relu"})
            edit.note(layer.name, f"was fused into {before.name!r}", why)
            edit.moved.append(edit.moved[source])
            continue
        ones = np.ones(shapes[index][-1] or 1, np.float32)
        edit.note(layer.name, "a frozen identity BatchNormalization was put before it", why)
        middle = edit.add(affine(edit.fresh(before.name, "identity"), ones, ones * 0), edit.moved[source])
        edit.layers[layer.name] = layer
        edit.moved.append(edit.again(layer.name, middle))
    return edit.finish(), edit.rewrites


def _linear_calls(graph: Graph) -> dict[int, str]:
    """Return the class of the layer behind each tensor that a linear one with weights gives to one reader."""
    consumers = graph.consumers()
    counts: dict[str, int] = {}
    for call in graph.calls:
        counts[call.layer] = counts.get(call.layer, 0) + 1
    found = {}
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        alone = len(consumers[index]) == counts[call.layer] == 1 and index not in graph.outputs
        is_linear = layer.config.get("activation", "linear") == "linear"
        if layer.kind in {*_CONVOLUTIONS, "Dense"} and alone and is_linear:
            found[index] = layer.kind
    return found


def _covered(edit: Edit, scaling: Layer, shape: tuple[int | None, ...], tensor: int) -> int:
    """Apply identity and scaling, in four dimensions whatever ``shape`` has."""
    name, channels = scaling.name, int(shape[-1] or 1)
    lengths = [-1 if length is None else length for length in shape[1:]]
    if len(shape) < 4:
        square = {"target_shape": [1] * (4 - len(shape)) + lengths}
        tensor = edit.add(Layer(edit.fresh(name, "2d"), "Reshape", square), tensor)
    tensor = edit.add(identity_depthwise(edit.fresh(name, "depthwise"), channels), tensor)
    tensor = edit.add(replace(scaling, config=_last_axis(scaling.config)), tensor)
    if len(shape) < 4:
        tensor = edit.add(Layer(edit.fresh(name, "back"), "Reshape", {"target_shape": lengths}), tensor)
    return tensor


def _last_axis(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"axis": -1}
