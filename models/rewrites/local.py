"""Rewrites that look at one layer alone: one form of each activation, separable convolutions in two parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models.errors import ModelError
from models.graph import Call, Graph, Layer
from models.rewrites.edit import Edit, Rewrite

NOISE = frozenset({"GaussianNoise", "GaussianDropout", "AlphaDropout"})
# Layers whose activation TF-MOT quantizes together with them, and the activations it then knows. It knows
# swish too, but TFLite does not fuse it, so that its input would be left without a range.
_WITH_ACTIVATION = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense"})
_FUSED = frozenset({"linear", "relu", "softmax", "sigmoid", "tanh"})
_LEAK = 0.2  # of the activation called leaky_relu
# Measured with TensorFlow 2.21: one scale for exp(x) over all x leaves nothing of its values below 1.
_NO_INT8 = {
    "elu": "TFLite computes ELU in float only",
    "selu": "TFLite's int8 SELU loses everything below 0",
    "softplus": "TFLite's int8 softplus needs a LOG that tflite-runtime 2.14 does not have",
    "mish": "TFLite's int8 mish needs a LOG that tflite-runtime 2.14 does not have",
}


def normalise_layers(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Rewrite each layer that has a form which TF-MOT covers better.

    Raises:
        ModelError: an activation has no int8 form.
    """
    edit = Edit(graph)
    shared: dict[str, tuple[Layer, ...]] = {}
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if layer.kind == "InputLayer":
            edit.moved.append(edit.keep(call))
            continue
        if layer.kind in NOISE or (layer.kind == "Activation" and layer.config.get("activation") == "linear"):
            edit.note(layer.name, f"{layer.kind} was left out", "it does nothing at inference")
            edit.moved.append(edit.moved[call.inputs[0]])
            continue
        if call.layer not in shared:
            shared[call.layer] = _steps(layer, edit)
        edit.moved.append(_chain(edit, shared, call))
    return edit.finish(), edit.rewrites


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
        depthwise, pointwise = _split_separable(layer)
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
    after = Layer(f"{layer.name}_{activation}", "Activation", {"activation": activation})
    return replace(layer, config=layer.config | {"activation": "linear"}), _activation(after, edit)


def _activation(layer: Layer, edit: Edit) -> Layer:
    """Give an activation its one form: a layer of its own class, where there is one."""
    config, name = layer.config, layer.name
    no_int8 = _NO_INT8.get("elu" if layer.kind == "ELU" else config.get("activation", ""))
    if no_int8 is not None:
        msg = f"layer {name!r}: {no_int8}; train with ReLU, LeakyReLU, gelu or swish instead"
        raise ModelError(msg)
    if layer.kind == "Activation":
        classes: dict[str, tuple[str, dict[str, Any]]] = {
            "relu": ("ReLU", {}),
            "relu6": ("ReLU", {"max_value": 6.0}),
            "leaky_relu": ("LeakyReLU", {"alpha": _LEAK}),
        }
        activation = config["activation"]
        return Layer(name, *classes[activation]) if activation in classes else layer
    if config.get("negative_slope") and config.get("max_value") is None and not config.get("threshold"):
        edit.note(name, "ReLU became LeakyReLU", "TF-MOT skips the weights before any ReLU layer")
        return Layer(name, "LeakyReLU", {"alpha": config["negative_slope"]})
    return layer


def _split_separable(layer: Layer) -> tuple[Layer, Layer]:
    dimension = layer.kind[-2:]
    config = layer.config
    window = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    depthwise = {key: config[key] for key in window if key in config} | {"use_bias": False}
    pointwise = {key: config[key] for key in ("filters", "activation", "use_bias") if key in config}
    return (
        Layer(f"{layer.name}_depthwise", f"DepthwiseConv{dimension}", depthwise, layer.weights[:1]),
        Layer(layer.name, f"Conv{dimension}", pointwise | {"kernel_size": 1}, layer.weights[1:]),
    )
