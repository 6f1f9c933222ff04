"""A scaling of each channel, multiplied into the weights of the layer before it or of those that read it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.layer_rules import LAYERS
from models.rewrites.scalings import Affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.graph import Graph, Layer
    from models.shapes import Shape

    Array = NDArray[Any]

_FORWARD = frozenset({"Conv1D", "Conv2D", "Conv3D"})
_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
_TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})


def absorb_after(layer: Layer, after: Affine) -> Layer | None:
    """Return the linear layer that computes ``layer(x) * scale + offset``, or None."""
    if layer.config.get("activation", "linear") != "linear":
        return None
    gain, kernel = after.scale, _float64(layer.weights[0]) if layer.weights else np.zeros(())
    if layer.kind in {"Dense", *_FORWARD}:
        kernel = kernel * gain
    elif layer.kind in _TRANSPOSED:
        kernel = kernel * gain[:, None]
    elif layer.kind in _DEPTHWISE:
        kernel = kernel * gain.reshape(kernel.shape[-2:])
    else:
        return None
    bias = _float64(layer.weights[1]) if len(layer.weights) > 1 else 0.0
    return _with_weights(layer, kernel, bias * gain + after.offset)


def absorb_before(layer: Layer, before: Affine, shape: Shape) -> Layer | None:
    """Return the layer that computes ``layer(x * scale + offset)``, or None.

    Args:
        layer: a layer that reads ``x``.
        before: arrays that broadcast to one sample of ``x``.
        shape: of ``x``, the batch first.
    """
    by_channel = _by_channel(before, shape)
    if by_channel is None or not (layer.weights or layer.inner):
        return None
    scale, offset = by_channel.scale, by_channel.offset
    if LAYERS[layer.kind].states:
        return _recurrent(layer, by_channel, layer.weights)
    if layer.kind == "Bidirectional" and layer.inner is not None:
        return _bidirectional(layer, by_channel)
    kernel = _float64(layer.weights[0])
    if layer.kind == "Dense":
        more = offset @ kernel
        kernel = kernel * scale[:, None]
    elif layer.kind in _FORWARD and (_never_pads(layer) or not offset.any()):
        groups = layer.config.get("groups") or 1
        each = (groups, -1)  # filter f sees the channels of its group only
        repeat = kernel.shape[-1] // groups
        of_filters = [np.repeat(part.reshape(each), repeat, axis=0).T for part in (scale, offset)]
        more = (kernel * of_filters[1]).sum(axis=tuple(range(kernel.ndim - 1)))
        kernel = kernel * of_filters[0]
    elif layer.kind in _DEPTHWISE and (_never_pads(layer) or not offset.any()):
        more = (kernel * offset[:, None]).sum(axis=tuple(range(kernel.ndim - 2))).ravel()
        kernel = kernel * scale[:, None]
    else:
        return None
    bias = _float64(layer.weights[1]) if len(layer.weights) > 1 else 0.0
    if not offset.any():
        return replace(layer, weights=(_float32(kernel), *layer.weights[1:]))
    return _with_weights(layer, kernel, bias + more)


def absorb_in_readers(
    graph: Graph, shapes: list[Shape], tensor: int, before: Affine
) -> dict[str, Layer] | None:
    """Return the layers changed so that they read ``x`` as they read ``x * scale + offset`` now, or None.

    Args:
        graph: what ``tensor`` is in.
        shapes: of its tensors.
        tensor: ``x``.
        before: arrays that broadcast to one sample of ``x``.
    """
    consumers = graph.consumers()
    changed: dict[str, Layer] = {}
    if tensor in graph.outputs or not consumers[tensor]:
        return None
    for reader in sorted(set(consumers[tensor])):
        layer = graph.layers[graph.calls[reader].layer]
        if layer.kind == "Concatenate":
            passed = _concatenated(graph, shapes, reader, tensor, before)
        else:
            passed = _passed(layer, before, shapes[tensor], shapes[reader])
        if passed is not None:
            found = absorb_in_readers(graph, shapes, reader, passed)
        elif sum(call.layer == layer.name for call in graph.calls) == 1 and not _is_state(
            graph, reader, tensor
        ):
            new = absorb_before(layer, before, shapes[tensor])
            found = None if new is None else {layer.name: new}
        else:
            found = None
        if found is None or found.keys() & changed.keys():
            return None
        changed |= found
    return changed


def _is_state(graph: Graph, reader: int, tensor: int) -> bool:
    """Return whether a recurrent layer reads the tensor as an initial state."""
    call = graph.calls[reader]
    return LAYERS[graph.layers[call.layer].kind].takes_states and tensor in call.inputs[1:]


def _passed(layer: Layer, before: Affine, shape: Shape, output: Shape) -> Affine | None:
    """Return the scaling behind a layer that only moves elements, or None if it is none."""
    lengths, moved = _closed(shape[1:]), _closed(output[1:])
    if lengths is None or moved is None:
        return None
    scale, offset = (np.broadcast_to(part, lengths) for part in (before.scale, before.offset))
    if layer.kind in {"Flatten", "Reshape"}:
        return Affine(scale.reshape(moved), offset.reshape(moved))
    if layer.kind == "Permute":
        axes = [axis - 1 for axis in layer.config["dims"]]
        return Affine(scale.transpose(axes), offset.transpose(axes))
    by_channel = _by_channel(before, shape)
    if layer.kind in {"ZeroPadding1D", "ZeroPadding2D"} and by_channel and not by_channel.offset.any():
        return by_channel
    return None


def _concatenated(
    graph: Graph, shapes: list[Shape], reader: int, tensor: int, before: Affine
) -> Affine | None:
    """Return the scaling of a concatenation of which one part is scaled, or None."""
    sources = graph.calls[reader].inputs
    axis = graph.layers[graph.calls[reader].layer].config.get("axis", -1)
    lengths = [_closed(shapes[source][1:]) for source in sources]
    if axis not in (-1, len(shapes[reader]) - 1) or sources.count(tensor) > 1 or None in lengths:
        return None
    untouched = Affine(np.ones(()), np.zeros(()))
    parts = [before if source == tensor else untouched for source in sources]
    scale, offset = (
        np.concatenate(
            [np.broadcast_to(value, n or ()) for value, n in zip(values, lengths, strict=True)], axis=-1
        )
        for values in ([part.scale for part in parts], [part.offset for part in parts])
    )
    return Affine(scale, offset)


def _closed(lengths: tuple[int | None, ...]) -> tuple[int, ...] | None:
    known = tuple(length for length in lengths if length is not None)
    return known if len(known) == len(lengths) else None


def _by_channel(before: Affine, shape: Shape) -> Affine | None:
    """Return the one scaling of each channel, or None if positions differ."""
    channels = shape[-1]
    if channels is None:
        return None
    parts = []
    for part in (before.scale, before.offset):
        flat = np.broadcast_to(part, np.broadcast_shapes(np.shape(part), (channels,))).reshape(-1, channels)
        if np.ptp(flat, axis=0).any():
            return None
        parts.append(flat[0])
    return Affine(*parts)


def _recurrent(layer: Layer, before: Affine, weights: tuple[Array, ...]) -> Layer:
    """Scale the kernel, and add the offset's share to the bias: of GRU with two, to that of the inputs."""
    kernel, recurrent = _float64(weights[0]), weights[1]
    more = before.offset @ kernel
    if len(weights) > 2:
        bias = _float64(weights[2])
    else:
        is_double = layer.kind == "GRU" and layer.config.get("reset_after", True)
        bias = np.zeros((2, kernel.shape[-1]) if is_double else kernel.shape[-1])
    bias = bias + (np.stack([more, np.zeros_like(more)]) if bias.ndim == 2 else more)
    arrays = (_float32(kernel * before.scale[:, None]), recurrent, _float32(bias))
    return replace(layer, config=layer.config | {"use_bias": True}, weights=arrays)


def _bidirectional(layer: Layer, before: Affine) -> Layer | None:
    inner, backward = layer.inner, layer.inner_backward or layer.inner
    if inner is None or backward is None or not LAYERS[inner.kind].states:
        return None
    half = len(layer.weights) // 2
    ahead = _recurrent(inner, before, layer.weights[:half])
    back = _recurrent(backward, before, layer.weights[half:])
    return replace(
        layer,
        weights=(*ahead.weights, *back.weights),
        inner=replace(ahead, weights=()),
        inner_backward=None if layer.inner_backward is None else replace(back, weights=()),
    )


def _never_pads(layer: Layer) -> bool:
    size = layer.config.get("kernel_size", 1)
    window = math.prod(size) if isinstance(size, list | tuple) else size
    return layer.config.get("padding", "valid") == "valid" or window == 1


def _with_weights(layer: Layer, kernel: Array, bias: Array) -> Layer:
    return replace(
        layer, config=layer.config | {"use_bias": True}, weights=(_float32(kernel), _float32(bias))
    )


def _float64(array: Array) -> NDArray[np.float64]:
    return np.asarray(array, np.float64)


def _float32(array: Array) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)
