"""A smaller model without some channels, and the check that it computes what the masked one does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.graph import Call, Graph, Layer, build_model
from pipeline.errors import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.compress.channel_graph import ChannelGraph

    Removed = NDArray[np.bool_]

STAGE = "remove_channels"
TOLERANCE = 1e-5  # of the outputs, relative to the largest if that is above 1
_SIZES = {"filters", "units", "output_dim"}


def without(channels: ChannelGraph, removed: Removed) -> Graph:
    """Return the model with smaller layers.

    Args:
        removed: bool (channels,): those to leave out.
    """
    layers = dict(channels.graph.layers)
    for name, arrays in _arrays(channels).items():
        for axis in (each for each in channels.axes if each.layer == name):
            arrays[axis.weight] = np.compress(~removed[axis.labels], arrays[axis.weight], axis.axis)
        layers[name] = replace(layers[name], weights=tuple(arrays))
    for call, length in zip(channels.graph.calls, channels.widths(removed), strict=True):
        layers[call.layer] = _resized(layers[call.layer], length)
    return replace(channels.graph, layers=layers)


def _arrays(channels: ChannelGraph) -> dict[str, list[Any]]:
    """Return the arrays of the layers along which channels lie."""
    return {axis.layer: list(channels.graph.layers[axis.layer].weights) for axis in channels.axes}


def _resized(layer: Layer, length: int) -> Layer:
    """Set in the configuration how many channels a layer returns, where it says that."""
    changes: dict[str, Any] = dict.fromkeys(_SIZES & layer.config.keys(), length)
    if layer.kind == "Reshape" and layer.config["target_shape"][-1] != -1:
        changes["target_shape"] = [*layer.config["target_shape"][:-1], length]
    return replace(layer, config=layer.config | changes)


def masked(channels: ChannelGraph, removed: Removed) -> Graph:
    """Return the model in its full size, in which nothing reads the channels that ``removed`` marks.

    Zeros are in the kernels that read a channel. Zeros in those that compute it would not be enough: a batch
    normalization or a sigmoid makes something else of them. A layer normalization takes the mean and the
    variance of the channels that are left.
    """
    graph, layers = channels.graph, dict(channels.graph.layers)
    for name, arrays in _arrays(channels).items():
        for axis in (each for each in channels.axes if each.layer == name and each.role == "input"):
            along = [1] * arrays[axis.weight].ndim
            along[axis.axis] = -1
            keep = (~removed[axis.labels]).astype(np.float32).reshape(along)
            arrays[axis.weight] = arrays[axis.weight] * keep
        layers[name] = replace(layers[name], weights=tuple(arrays))
    calls: list[Call] = []
    moved: list[int] = []
    for call in graph.calls:
        inputs = tuple(moved[tensor] for tensor in call.inputs)
        if layers[call.layer].kind == "LayerNormalization":
            gone = removed[channels.tensors[call.inputs[0]]]
            fill = _filled_with_mean(f"{call.layer}_filled_{len(calls)}", gone)
            layers[fill.name] = fill
            layers[call.layer] = _rescaled(graph.layers[call.layer], len(gone), 1 - float(gone.mean()))
            calls.append(Call(fill.name, inputs))
            inputs = (len(calls) - 1,)
        calls.append(replace(call, inputs=inputs))
        moved.append(len(calls) - 1)
    outputs = tuple(moved[tensor] for tensor in graph.outputs)
    inputs = tuple(moved[tensor] for tensor in graph.inputs)
    return replace(graph, layers=layers, calls=tuple(calls), inputs=inputs, outputs=outputs)


def _filled_with_mean(name: str, gone: Removed) -> Layer:
    """Return a layer that replaces removed channels by the mean of the others, which keeps the mean."""
    kernel = np.diag((~gone).astype(np.float32))
    kernel[np.ix_(~gone, gone)] = 1 / max(np.count_nonzero(~gone), 1)
    return Layer(name, "Dense", {"units": len(gone), "use_bias": False}, (kernel,))


def _rescaled(layer: Layer, width: int, left: float) -> Layer:
    """Return a layer normalization for ``width`` channels and a variance that is ``left`` times as large."""
    config = layer.config | {"epsilon": layer.config.get("epsilon", 1e-3) * left, "scale": True}
    has_scale = layer.config.get("scale", True)
    gamma, *rest = layer.weights if has_scale else (np.ones(width, np.float32), *layer.weights)
    return replace(layer, config=config, weights=(np.multiply(gamma, math.sqrt(left)), *rest))


def smaller_model(channels: ChannelGraph, removed: Removed, inputs: list[NDArray[Any]]) -> Any:
    """Build the model without the channels that ``removed`` marks, and compare it with the masked one.

    Args:
        inputs: a few samples, (n, ...) for each input of the model.

    Raises:
        StageError: the outputs differ by more than ``TOLERANCE``; names the first layer that differs.
    """
    small = build_model(without(channels, removed))
    found = difference(channels, removed, small, inputs)
    if not found <= TOLERANCE:
        layer = _first_layer(channels, removed, inputs)
        cause = f"without {np.count_nonzero(removed)} channels the outputs differ by {found:.1e} from those"
        cause += f" of the model with these channels masked, from layer {layer!r} on"
        raise StageError(STAGE, cause, "please report the layers of the model")
    return small


def difference(channels: ChannelGraph, removed: Removed, small: Any, inputs: list[NDArray[Any]]) -> float:
    """Return how far the outputs of ``small`` are from the masked model's.

    Relative to the largest output if that is above 1.
    """
    return outputs_distance(small, build_model(masked(channels, removed)), inputs)


def outputs_distance(network: Any, reference: Any, inputs: list[NDArray[Any]]) -> float:
    """Return how far the outputs of two tf_keras models are apart, as ``difference`` does."""
    return max(map(_distance, _outputs(network, inputs), _outputs(reference, inputs)))


def _outputs(network: Any, inputs: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Return a model's outputs for a few samples, without compiling a function of it first."""
    outputs = network(inputs[0] if len(inputs) == 1 else inputs, training=False)
    return [each.numpy() for each in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max(initial=0.0)) / max(1.0, float(np.abs(other).max(initial=0.0)))


def _first_layer(channels: ChannelGraph, removed: Removed, inputs: list[NDArray[Any]]) -> str:
    """Return the first layer whose remaining channels are not those of the masked model."""
    calls, reference = channels.graph.calls, masked(channels, removed)
    small, large = (
        _outputs(build_model(replace(graph, outputs=tuple(range(len(graph.calls))))), inputs)
        for graph in (without(channels, removed), reference)
    )
    places = _places([call.layer for call in reference.calls], [call.layer for call in calls])
    for call, labels, found, place in zip(calls, channels.tensors, small, places, strict=True):
        if not _distance(found, np.compress(~removed[labels], large[place], axis=-1)) <= TOLERANCE:
            return call.layer
    return calls[-1].layer


def _places(names: list[str], wanted: list[str]) -> list[int]:
    """Return where ``wanted``, some of ``names`` in order, are among them."""
    places, start = [], 0
    for name in wanted:
        start = names.index(name, start)
        places.append(start)
        start += 1
    return places
