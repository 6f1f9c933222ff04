"""One-dimensional convolutions as two-dimensional ones of height 1: TF-MOT knows only those.

``(n, steps, channels)`` becomes ``(n, 1, steps, channels)`` where a convolution or pooling begins, and goes
back where something reads the three-dimensional form. Layers in between that look at each element or channel
alone stay in the two-dimensional form.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.graph import Call, Graph, Layer
from models.layer_rules import LAYERS
from models.rewrites.edit import Edit, Rewrite
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from models.shapes import Shape

_WHY = "TF-MOT quantizes and prunes two-dimensional convolutions only"
_POOLING = frozenset({"MaxPooling1D", "AveragePooling1D"})
_GLOBAL = frozenset({"GlobalMaxPooling1D", "GlobalAveragePooling1D"})
_CONVOLUTIONS = frozenset({"Conv1D", "DepthwiseConv1D", "SeparableConv1D", "Conv1DTranspose"})
_RESIZING = {"ZeroPadding1D": "padding", "Cropping1D": "cropping", "UpSampling1D": "size"}
_COVERED_AS_THEY_ARE = frozenset({"ZeroPadding1D", "Cropping1D"})
_CHANNEL_AXES = (-1, 2, [-1], [2])


def conv1d_to_conv2d(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Rewrite every one-dimensional convolution and pooling."""
    lift = _Lift(graph, infer_shapes(graph))
    for index, call in enumerate(graph.calls):
        lift.visit(index, call)
    edit = lift.edit
    edit.moved = [lift.flat(index) if index in lift.read_flat else 0 for index in range(len(graph.calls))]
    return edit.finish(), edit.rewrites


class _Lift:
    def __init__(self, graph: Graph, shapes: list[Shape]) -> None:
        self.graph, self.shapes, self.edit = graph, shapes, Edit(graph)
        self.flat_form: dict[int, int] = {}
        self.lifted_form: dict[int, int] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.read_flat = {*graph.inputs, *graph.outputs}

    def visit(self, index: int, call: Call) -> None:
        layer = self.graph.layers[call.layer]
        inputs = call.inputs
        ranks = {len(self.shapes[tensor]) for tensor in inputs}
        is_lifted = any(tensor in self.lifted_form for tensor in inputs)
        new = None
        if ranks == {3}:
            needed = is_lifted or LAYERS[layer.kind].scales  # those need a convolution, if only of themselves
            needed_alone = is_lifted or layer.kind not in _COVERED_AS_THEY_ARE
            new = (_two_dimensional(layer) if needed_alone else None) or (_carried(layer) if needed else None)
        if new is None:
            sources = tuple(self.flat(tensor) for tensor in inputs)
            self.flat_form[index] = self._call(layer, sources, "flat", call.result)
            return
        if layer.kind != new.kind:
            self.edit.note(layer.name, f"{layer.kind} became {new.kind}", _WHY)
        sources = tuple(self.lifted(tensor) for tensor in inputs)
        if padding := _causal_padding(layer):
            padding = replace(padding, name=self.edit.fresh(layer.name, "causal"))
            sources = (self.edit.add(padding, *sources),)
        result = self._call(new, sources, "lifted")
        if layer.kind in _GLOBAL or layer.kind == "Flatten":
            if layer.config.get("keepdims"):
                result = self.edit.add(
                    _reshape(self.edit.fresh(layer.name, "1d"), self.shapes[index]), result
                )
            self.flat_form[index] = result
        else:
            self.lifted_form[index] = result

    def _call(self, layer: Layer, sources: tuple[int, ...], form: str, number: int = 0) -> int:
        if (layer.name, form) in self.names:
            return self.edit.again(self.names[layer.name, form], *sources, result=number)
        result = self.edit.add(layer, *sources, result=number)
        self.names[layer.name, form] = self.edit.calls[result].layer
        return result

    def lifted(self, tensor: int) -> int:
        """Return the tensor as ``(n, 1, steps, channels)``."""
        if tensor not in self.lifted_form:
            shape = self.shapes[tensor]
            name = self.edit.fresh(self.graph.calls[tensor].layer, "2d")
            self.lifted_form[tensor] = self.edit.add(_reshape(name, (None, 1, *shape[1:])), self.flat(tensor))
        return self.lifted_form[tensor]

    def flat(self, tensor: int) -> int:
        """Return the tensor as ``(n, steps, channels)``."""
        if tensor not in self.flat_form:
            name = self.edit.fresh(self.graph.calls[tensor].layer, "1d")
            self.flat_form[tensor] = self.edit.add(
                _reshape(name, self.shapes[tensor]), self.lifted_form[tensor]
            )
        return self.flat_form[tensor]


def _reshape(name: str, shape: tuple[int | None, ...]) -> Layer:
    target = [-1 if length is None else length for length in shape[1:]]
    return Layer(name, "Reshape", {"target_shape": target})


def _wide(value: Any, height: Any = 1) -> Any:
    """Put ``height`` before a one-dimensional size."""
    return [height, value[0] if isinstance(value, list | tuple) else value]


def _two_dimensional(layer: Layer) -> Layer | None:
    """Return the two-dimensional layer that does the work of a one-dimensional one, or None."""
    config, weights = dict(layer.config), layer.weights
    kind = layer.kind.replace("1D", "2D")
    if layer.kind in _CONVOLUTIONS:
        if layer.kind == "Conv1DTranspose" and config.get("output_padding") not in (None, [None]):
            return None
        strides, dilation = config.get("strides", 1), config.get("dilation_rate", 1)
        is_depthwise = layer.kind in {"DepthwiseConv1D", "SeparableConv1D"}  # TensorFlow wants square ones
        config |= {
            "kernel_size": _wide(config["kernel_size"]),
            "strides": [_wide(strides)[1]] * 2 if is_depthwise else _wide(strides),
            "dilation_rate": [_wide(dilation)[1]] * 2 if is_depthwise else _wide(dilation),
        }
        if config.get("padding") == "causal":
            config["padding"] = "valid"
        config.pop("output_padding", None)
        kernels = 2 if layer.kind == "SeparableConv1D" else 1
        weights = (*(np.expand_dims(kernel, 0) for kernel in weights[:kernels]), *weights[kernels:])
    elif layer.kind in _POOLING:
        size = _wide(config.get("pool_size", 2))
        strides = config.get("strides")
        config |= {"pool_size": size, "strides": size if strides in (None, [None]) else _wide(strides)}
    elif layer.kind in _RESIZING:
        key = _RESIZING[layer.kind]
        value = config.get(key, 2 if key == "size" else 1)
        config[key] = _wide(value) if key == "size" else [[0, 0], _pair(value)]
    elif layer.kind not in _GLOBAL:
        return None
    return Layer(layer.name, kind, config, weights)


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value, value]


def _causal_padding(layer: Layer) -> Layer | None:
    config = layer.config
    if layer.kind not in _CONVOLUTIONS or config.get("padding") != "causal":
        return None
    dilation = _wide(config.get("dilation_rate", 1))[1]
    before = dilation * (_wide(config["kernel_size"])[1] - 1)
    return Layer(f"{layer.name}_causal", "ZeroPadding2D", {"padding": [[0, 0], [before, 0]]})


def _carried(layer: Layer) -> Layer | None:
    """Return what does in two dimensions what ``layer`` does to each element or channel, or None."""
    config, kind, weights = dict(layer.config), layer.kind, layer.weights
    if LAYERS[kind].elementwise:
        is_softmax = config.get("activation") == "softmax"
        scales = (config.get("scale", 0.0), config.get("offset", 0.0))
        plain = kind != "Rescaling" or all(isinstance(value, int | float) for value in scales)
        return layer if plain and not is_softmax else None
    normalizes = kind in {"BatchNormalization", "LayerNormalization", "Normalization"}
    if normalizes and config.get("axis", -1) in _CHANNEL_AXES:
        return Layer(layer.name, kind, config | {"axis": -1}, weights)
    if kind == "Concatenate":
        axis = config.get("axis", -1)
        return (
            Layer(layer.name, kind, {"axis": axis + 1 if axis > 0 else axis}) if axis not in (0, -3) else None
        )
    if kind == "Flatten":
        return layer
    if kind == "Dense":
        arguments = {key: value for key, value in config.items() if key != "units"}
        arguments |= {"filters": config["units"], "kernel_size": 1}
        return Layer(layer.name, "Conv2D", arguments, (weights[0][None, None], *weights[1:]))
    return None
