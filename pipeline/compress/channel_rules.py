"""How each class of layer hands on the channels of its inputs: one row a class.

Channels lie along the last axis of a tensor. A rule gets what it needs as ``Applied`` and returns the labels
of the output's last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.layer_rules import LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.graph import Layer
    from models.shapes import Shape
    from pipeline.compress.channel_couplings import Couplings, Labels, Role

# Functions of the layer "Operation" that compute each channel by itself.
_BY_CHANNEL = frozenset(
    {"abs", "square", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "floor", "gelu_tanh", "reciprocal"}
    | {"divide", "power", "clip", "where", "greater", "greater_equal", "less", "less_equal", "equal"}
)
_REDUCTIONS = frozenset({"mean", "sum", "max", "min"})
# Activations that compute a channel from all of them.
_MIXING = frozenset({"softmax", "log_softmax"})
_GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}


class Applied(NamedTuple):
    """A layer that is called.

    Attributes:
        to: where labels are coupled.
        layer: with its configuration and arrays.
        inputs: the labels of each input.
        shapes: of each input, the batch first.
        output: the shape of what it returns.
    """

    to: Couplings
    layer: Layer
    inputs: list[Labels]
    shapes: list[Shape]
    output: Shape

    @property
    def name(self) -> str:
        return self.layer.name

    def weight(self, index: int) -> Any:
        """Return one of the arrays, or None."""
        return self.layer.weights[index] if index < len(self.layer.weights) else None

    def refused(self, why: str = "") -> Labels:
        """Keep all channels that go in and come out."""
        why = why or "is not known to compute each channel by itself"
        reason = f"{self.name!r} ({self.layer.kind}) {why}"
        for labels in self.inputs:
            self.to.keep(labels, reason)
        made = self.to.fresh(width(self.output))
        self.to.keep(made, reason)
        return made


def width(shape: Shape) -> int:
    """Return how long the last axis is; 0 if there is none but the batch."""
    return (shape[-1] or 0) if len(shape) > 1 else 0


def hand_on(applied: Applied) -> Labels:
    """Return the labels of what a layer returns."""
    layer = applied.layer
    if layer.config.get("data_format") == "channels_first" or layer.inner is not None:
        return applied.refused()
    return _RULES.get(layer.kind, Applied.refused)(applied)


def _convolution(applied: Applied) -> Labels:
    if (applied.layer.config.get("groups") or 1) > 1:
        return applied.refused("has groups of channels")
    last = applied.weight(0).ndim - 1
    return _filters(applied, 0, inputs=last - 1, outputs=last, read=applied.inputs[0])


def _transposed(applied: Applied) -> Labels:
    last = applied.weight(0).ndim - 1
    return _filters(applied, 0, inputs=last, outputs=last - 1, read=applied.inputs[0])


def _separable(applied: Applied) -> Labels:
    between = _depthwise_kernel(applied)
    last = applied.weight(1).ndim - 1
    return _filters(applied, 1, inputs=last - 1, outputs=last, read=between)


def _filters(applied: Applied, weight: int, *, inputs: int, outputs: int, read: Labels) -> Labels:
    """Label a kernel, whose ``inputs`` and ``outputs`` are axes, and the bias after it."""
    to, name = applied.to, applied.name
    to.along(name, weight, inputs, "input", read)
    made = to.along(name, weight, outputs, "filter", None, applied.weight(weight).shape[outputs])
    return _finished(applied, weight + 1, made)


def _finished(applied: Applied, bias: int, made: Labels) -> Labels:
    """Label the bias, and look at the activation."""
    if applied.weight(bias) is not None:
        applied.to.along(applied.name, bias, 0, "other", made)
    if applied.layer.config.get("activation") in _MIXING:
        applied.to.keep(made, f"the activation of {applied.name!r} depends on all of them")
    return made


def _depthwise_kernel(applied: Applied) -> Labels:
    kernel = applied.weight(0)
    applied.to.along(applied.name, 0, kernel.ndim - 2, "filter", applied.inputs[0])
    return np.repeat(applied.inputs[0], kernel.shape[-1])


def _depthwise(applied: Applied) -> Labels:
    return _finished(applied, 1, _depthwise_kernel(applied))


def _embedding(applied: Applied) -> Labels:
    table = applied.weight(0)
    return applied.to.along(applied.name, 0, 1, "filter", None, table.shape[1])


def _recurrent(applied: Applied) -> Labels:
    """Label the units; each gate has the same ones, and the last states too."""
    to, name, gates = applied.to, applied.name, _GATES[applied.layer.kind]
    kernel, recurrent, bias = (applied.weight(index) for index in range(3))
    to.along(name, 0, 0, "input", applied.inputs[0])
    units = to.along(name, 1, 0, "input", None, recurrent.shape[0])
    of_gates = np.tile(units, gates)
    to.along(name, 0, kernel.ndim - 1, "filter", of_gates)
    to.along(name, 1, recurrent.ndim - 1, "filter", of_gates)
    if bias is not None:
        to.along(name, 2, bias.ndim - 1, "other", of_gates)
    for state in applied.inputs[1:]:
        to.couple(state, units)
    if {applied.layer.config.get(key) for key in ("activation", "recurrent_activation")} & _MIXING:
        to.keep(units, f"the activation of {name!r} depends on all of them")
    return units


def _batch_normalization(applied: Applied) -> Labels:
    if not _is_last_axis(applied):
        return applied.refused("normalizes along another axis")
    has_scale = applied.layer.config.get("scale", True)
    for index in range(len(applied.layer.weights)):
        role: Role = "scale" if has_scale and not index else "other"
        applied.to.along(applied.name, index, 0, role, applied.inputs[0])
    return applied.inputs[0]


def _layer_normalization(applied: Applied) -> Labels:
    """Normalize what is left: the mean and the variance are those of the channels that remain."""
    if not _is_last_axis(applied) or applied.layer.config.get("rms_scaling"):
        return applied.refused("normalizes along other axes")
    for index in range(len(applied.layer.weights)):
        applied.to.along(applied.name, index, 0, "other", applied.inputs[0])
    return applied.inputs[0]


def _is_last_axis(applied: Applied) -> bool:
    rank, axis = len(applied.shapes[0]), applied.layer.config.get("axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return [one % rank for one in axes] == [rank - 1]


def _layer_scale(applied: Applied) -> Labels:
    applied.to.along(applied.name, 0, 0, "other", applied.inputs[0])
    return applied.inputs[0]


def _prelu(applied: Applied) -> Labels:
    alpha, labels = applied.weight(0), applied.inputs[0]
    if alpha.shape[-1] == len(labels) > 1:
        applied.to.along(applied.name, 0, alpha.ndim - 1, "other", labels)
    return labels


def _by_channel(applied: Applied) -> Labels:
    """Couple the channels at the same place; a single one is for all of the others."""
    if applied.layer.config.get("activation") in _MIXING:
        return applied.refused("depends on all of them")
    scales = (applied.layer.config.get(key) for key in ("scale", "offset"))
    if any(isinstance(value, list | tuple) for value in scales):
        return applied.refused("has a scale for each channel in its configuration")
    result, *others = sorted(applied.inputs, key=len, reverse=True)
    for labels in others:
        if len(labels) == len(result):
            applied.to.couple(result, labels)
    return result


def _concatenate(applied: Applied) -> Labels:
    if applied.layer.config.get("axis", -1) % len(applied.output) == len(applied.output) - 1:
        return np.concatenate(applied.inputs)
    return _by_channel(applied)


def _same(applied: Applied) -> Labels:
    return applied.inputs[0]


def _reshape(applied: Applied) -> Labels:
    """Follow the last axis: kept, joined with axes before it (as by Flatten), or split."""
    labels, length = applied.inputs[0], width(applied.output)
    if length and len(labels) and length % len(labels) == 0:
        return np.tile(labels, length // len(labels))
    if length and len(labels) and len(labels) % length == 0:
        blocks = labels.reshape(-1, length)
        for block in blocks[1:]:
            applied.to.couple(blocks[0], block)
        return np.asarray(blocks[0])
    return applied.refused("splits channels")


def _permute(applied: Applied) -> Labels:
    if applied.layer.config["dims"][-1] != len(applied.layer.config["dims"]):
        return applied.refused("moves channels to another axis")
    return applied.inputs[0]


def _operation(applied: Applied) -> Labels:
    config, rank = applied.layer.config, len(applied.shapes[0])
    function = config["function"]
    if function in _BY_CHANNEL:
        return _by_channel(applied)
    if function in _REDUCTIONS:
        passes = rank - 1 not in {axis % rank for axis in config["axis"]}
    else:
        passes = function == "pad" and not any(config["paddings"][-1])
    return applied.inputs[0] if passes else applied.refused()


_Rule = dict[str, "Callable[[Applied], Labels]"]
_DIMENSIONS = ("1D", "2D", "3D")
_RULES: _Rule = {
    **{f"Conv{n}": _convolution for n in _DIMENSIONS},
    **{f"Conv{n}Transpose": _transposed for n in _DIMENSIONS},
    **{f"DepthwiseConv{n}": _depthwise for n in _DIMENSIONS[:2]},
    **{f"SeparableConv{n}": _separable for n in _DIMENSIONS[:2]},
    "Dense": _convolution,
    "Embedding": _embedding,
    **dict.fromkeys(_GATES, _recurrent),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "LayerScale": _layer_scale,
    "PReLU": _prelu,
    "ThresholdedReLU": _by_channel,
    **{kind: _by_channel for kind, rule in LAYERS.items() if rule.elementwise},
    **{kind: _same for kind, rule in LAYERS.items() if rule.training_only},
    **{f"{kind}Pooling{n}": _same for kind in ("Max", "Average") for n in _DIMENSIONS},
    **{f"Global{kind}Pooling{n}": _same for kind in ("Max", "Average") for n in _DIMENSIONS},
    **{f"{kind}{n}": _same for kind in ("ZeroPadding", "Cropping", "UpSampling") for n in _DIMENSIONS},
    **dict.fromkeys(("Resizing", "CenterCrop", "RepeatVector"), _same),
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    "Permute": _permute,
    "Concatenate": _concatenate,
    "Operation": _operation,
}
