"""Rewrites that look at one layer alone: one form of each activation, separable convolutions in two parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models.graph import Call, Graph, Layer
from models.layer_rules import LAYERS
from models.rewrites.edit import Edit, Rewrite

# Layers whose activation TF-MOT quantizes together with them, and the activations it then knows. It knows
# swish too, but TFLite does not fuse it, so that its input would be left without a range.
_WITH_ACTIVATION = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense"})
_FUSED = frozenset({"linear", "relu", "softmax", "sigmoid", "tanh"})
_LEAK = 0.2  # default of the activation leaky_relu


def normalise_layers(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Rewrite each layer that has a form which TF-MOT covers better, and drop those that do nothing.

    Dropout goes too: in training it widens the ranges that quantization-aware training learns, twofold at a
    rate of a half, and the int8 steps with them.
    """
    edit = Edit(graph)
    edit.graph = graph = replace(
        graph, layers={name: _without_dropout(layer, edit) for name, layer in graph.layers.items()}
    )
    shared: dict[str, tuple[Layer, ...]] = {}
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if layer.kind == "InputLayer" or LAYERS[layer.kind].takes_states:
            edit.moved.append(edit.keep(call))
            continue
        if LAYERS[layer.kind].training_only or (
            layer.kind == "Activation" and layer.config.get("activation") == "linear"
        ):
            edit.note(layer.name, f"{layer.kind} was left out", "it does nothing at inference")
            edit.moved.append(edit.moved[call.inputs[0]])
            continue
        if call.layer not in shared:
            shared[call.layer] = _steps(layer, edit)
        edit.moved.append(_chain(edit, shared, call))
    return edit.finish(), edit.rewrites


def _without_dropout(layer: Layer, edit: Edit) -> Layer:
    """Leave out the dropout inside a recurrent layer or an attention."""
    rates = {key: 0.0 for key in ("dropout", "recurrent_dropout") if layer.config.get(key)}
    inner, backward = (
        None if held is None else _without_dropout(held, edit) for held in (layer.inner, layer.inner_backward)
    )
    if rates:
        edit.note(layer.name, "its dropout was left out", "it does nothing at inference")
    return replace(layer, config=layer.config | rates, inner=inner, inner_backward=backward)


def _chain(edit: Edit, shared: dict[str, tuple[Layer, ...]], call: Call) -> int:
    """Apply the steps that stand for a layer, one after another; a second time, the same ones."""
    sources = tuple(edit.moved[tensor] for tensor in call.inputs)
    steps = []
    for step in shared[call.layer]:
        if step.name in edit.layers and edit.layers[step.name] == step:
            sources = (edit.again(step.name, *sources),)
        else:
            sources = (edit.add(step, *sources),)
        steps.append(edit.layers[edit.calls[sources[0]].layer])
    shared[call.layer] = tuple(steps)
    return sources[0]


def _steps(layer: Layer, edit: Edit) -> tuple[Layer, ...]:
    if layer.kind == "TimeDistributed" and layer.inner is not None and layer.inner.kind == "Dense":
        edit.note(layer.name, "TimeDistributed(Dense) became Dense", "it is the same for the last axis")
        return _split_activation(Layer(layer.name, "Dense", layer.inner.config, layer.weights), edit)
    if layer.kind in {"SeparableConv1D", "SeparableConv2D"}:
        edit.note(layer.name, "was split into its two convolutions", "so that masks and ranges hold for each")
        depthwise, pointwise = _split_separable(layer, edit.fresh(layer.name, "depthwise"))
        return (depthwise, *_split_activation(pointwise, edit))
    if layer.kind in {"Activation", "ReLU", "ELU"}:
        return (_activation(layer, edit),)
    return _split_activation(layer, edit)


def _split_activation(layer: Layer, edit: Edit) -> tuple[Layer, ...]:
    activation = layer.config.get("activation", "linear")
    if layer.kind not in _WITH_ACTIVATION or activation in _FUSED:
        return (layer,)
    edit.note(
        layer.name, f"its {activation} became a layer", "TF-MOT does not quantize it inside another one"
    )
    after = Layer(edit.fresh(layer.name, activation), "Activation", {"activation": activation})
    return replace(layer, config=layer.config | {"activation": "linear"}), _activation(after, edit)


def _activation(layer: Layer, edit: Edit) -> Layer:
    """Normalize an activation to a layer of its own class, if there is one."""
    config, name = layer.config, layer.name
    if layer.kind == "Activation":
        classes: dict[str, tuple[str, dict[str, Any]]] = {
            "relu": ("ReLU", {}),
            "relu6": ("ReLU", {"max_value": 6.0}),
            "leaky_relu": ("LeakyReLU", {"alpha": _LEAK}),
            "elu": ("ELU", {"alpha": 1.0}),
        }
        activation = config["activation"]
        return Layer(name, *classes[activation]) if activation in classes else layer
    if config.get("negative_slope") and config.get("max_value") is None and not config.get("threshold"):
        edit.note(name, "ReLU became LeakyReLU", "TF-MOT skips the weights before any ReLU layer")
        return Layer(name, "LeakyReLU", {"alpha": config["negative_slope"]})
    return layer


def _split_separable(layer: Layer, name: str) -> tuple[Layer, Layer]:
    dimension = layer.kind[-2:]
    config = layer.config
    window = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    depthwise = {key: config[key] for key in window if key in config} | {"use_bias": False}
    pointwise = {key: config[key] for key in ("filters", "activation", "use_bias") if key in config}
    return (
        Layer(name, f"DepthwiseConv{dimension}", depthwise, layer.weights[:1]),
        Layer(layer.name, f"Conv{dimension}", pointwise | {"kernel_size": 1}, layer.weights[1:]),
    )
