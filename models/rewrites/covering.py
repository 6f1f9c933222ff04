"""Rewrites that give each scaling and each rectifier a convolution that TF-MOT quantizes it with.

TF-MOT covers ``convolution, BatchNormalization, ReLU`` and nothing of it out of that order: a
BatchNormalization elsewhere is refused, and the weights before a separate ReLU are skipped without a word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from models.graph import Call, Graph, Layer
from models.rewrites.edit import Edit, Rewrite, affine, identity_depthwise
from models.shapes import infer_shapes

_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose"})
_SCALINGS = frozenset({"BatchNormalization", "Rescaling", "Normalization"})
_DEFAULT_EPSILON = 1e-3  # of tf_keras's BatchNormalization
_NORMALIZATION_EPSILON = 1e-7  # tf_keras.backend.epsilon()


def cover_scalings(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Fold BatchNormalization into Dense; put a 1x1 depthwise convolution before what has none.

    The convolution is the identity, and a BatchNormalization after it stays one, so that training goes on as
    it would have; it is folded at conversion. Rescaling and Normalization become a frozen one.
    """
    edit, shapes = Edit(graph), infer_shapes(graph)
    linear = _linear_calls(graph)
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        if layer.kind == "InputLayer" and layer.config["dtype"] != "float32":
            layer = _float_input(layer, index, graph)
            edit.layers[layer.name] = layer
            edit.moved.append(edit.again(layer.name))
            continue
        scaling = _scaling(layer, shapes[index]) if layer.kind in _SCALINGS else None
        source = call.inputs[0] if call.inputs else -1
        before = linear.get(source) if layer.kind == "BatchNormalization" else None
        if scaling is None or before in _CONVOLUTIONS:
            edit.moved.append(edit.keep(call))
        elif before == "Dense":
            edit.moved.append(_fold_into_dense(edit, graph.calls[source], layer, edit.moved[source]))
        else:
            why = f"TF-MOT covers a {layer.kind} only after a convolution"
            edit.note(layer.name, "a 1x1 depthwise identity was put before it", why)
            edit.moved.append(_covered(edit, scaling, shapes[index], edit.moved[source]))
    return edit.finish(), edit.rewrites


def cover_rectifiers(graph: Graph) -> tuple[Graph, list[Rewrite]]:
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
        middle = edit.add(affine(f"{before.name}_identity", ones, ones * 0), edit.moved[source])
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


def _float_input(layer: Layer, index: int, graph: Graph) -> Layer:
    """Let an image input be float32, as whatever reads it would make it; indices stay integers."""
    readers = {graph.layers[graph.calls[call].layer].kind for call in graph.consumers()[index]}
    return layer if "Embedding" in readers else replace(layer, config=layer.config | {"dtype": "float32"})


def _scaling(layer: Layer, shape: tuple[int | None, ...]) -> Layer | None:
    """Return the BatchNormalization over the last axis that does the work of ``layer``, or None."""
    config, channels = layer.config, shape[-1]
    axis = config.get("axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if channels is None or len(shape) not in {2, 3, 4}:
        return None
    if layer.kind == "BatchNormalization":
        return layer if axes in ([-1], [len(shape) - 1]) else None
    if layer.kind == "Rescaling":
        scale, offset = (np.asarray(config.get(key, 0.0), np.float32) for key in ("scale", "offset"))
        if not {scale.size, offset.size} <= {1, channels}:
            return None
        return affine(layer.name, *(np.broadcast_to(x.ravel(), (channels,)) for x in (scale, offset)))
    mean, variance = (np.asarray(config.get(key), np.float64).ravel() for key in ("mean", "variance"))
    if axes not in ([-1], [len(shape) - 1], [None], []) or not {mean.size, variance.size} <= {1, channels}:
        return None
    deviation = np.maximum(np.sqrt(np.broadcast_to(variance, (channels,))), _NORMALIZATION_EPSILON)
    mean = np.broadcast_to(mean, (channels,))
    if config.get("invert"):
        return affine(layer.name, deviation, mean)
    return affine(layer.name, 1 / deviation, np.zeros(channels), mean)


def _covered(edit: Edit, scaling: Layer, shape: tuple[int | None, ...], tensor: int) -> int:
    """Apply identity and scaling, in four dimensions whatever ``shape`` has."""
    name, channels = scaling.name, int(shape[-1] or 1)
    lengths = [-1 if length is None else length for length in shape[1:]]
    if len(shape) < 4:
        square = {"target_shape": [1] * (4 - len(shape)) + lengths}
        tensor = edit.add(Layer(f"{name}_2d", "Reshape", square), tensor)
    tensor = edit.add(identity_depthwise(f"{name}_depthwise", channels), tensor)
    tensor = edit.add(replace(scaling, config=_last_axis(scaling.config)), tensor)
    if len(shape) < 4:
        tensor = edit.add(Layer(f"{name}_back", "Reshape", {"target_shape": lengths}), tensor)
    return tensor


def _last_axis(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"axis": -1}


def _fold_into_dense(edit: Edit, call: Call, norm: Layer, tensor: int) -> int:
    """Multiply the normalization into the kernel: later it would move it off the grid of its one scale."""
    dense = edit.layers[edit.calls[tensor].layer]
    arrays = iter(array.astype(np.float64) for array in norm.weights)
    gamma = next(arrays) if norm.config.get("scale", True) else 1.0
    beta = next(arrays) if norm.config.get("center", True) else 0.0
    mean, variance = arrays
    gain = gamma / np.sqrt(variance + norm.config.get("epsilon", _DEFAULT_EPSILON))
    bias = np.asarray(dense.weights[1] if len(dense.weights) > 1 else 0.0, np.float64)
    weights = (dense.weights[0] * gain, (bias - mean) * gain + beta)
    edit.layers[dense.name] = Layer(
        dense.name,
        "Dense",
        dense.config | {"use_bias": True},
        tuple(array.astype(np.float32) for array in weights),
    )
    edit.note(norm.name, f"was folded into {call.layer!r}", "the kernel has one scale for all its columns")
    return tensor
