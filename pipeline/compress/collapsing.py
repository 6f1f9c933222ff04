"""Chains of linear layers become one layer that computes the same."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.rewrites.absorbing import absorb_after
from models.rewrites.folding import without
from models.rewrites.scalings import affine_of
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from collections.abc import Collection

    from models.graph import Graph, Layer
    from models.shapes import Shape

_KINDS = frozenset({"Dense", "Conv2D"})


class Collapsed(NamedTuple):
    """A model in which layers were merged.

    Attributes:
        graph: of the layers that are left.
        merged: the names of the layers that each of them has taken up, in order.
    """

    graph: Graph
    merged: dict[str, tuple[str, ...]]


def collapse(graph: Graph, bound: Collection[str] = (), fold_norms: bool = False) -> Collapsed:
    """Merge linear layers that follow one another, where the product is not more expensive.

    Two dense layers, or two convolutions of which one is 1x1, without an activation in between; a batch
    normalization between them is folded into the first. The second keeps its name and its activation.

    Args:
        bound: layers whose weights may not change.
        fold_norms: whether batch normalizations after other convolutions are folded, too.
    """
    merged: dict[str, tuple[str, ...]] = {}
    while (found := _merge_one(graph, bound, fold_norms)) is not None:
        graph, into, gone = found
        before = [each for name in gone for each in (*merged.pop(name, ()), name)]
        merged[into] = (*before, *merged.get(into, ()))
    return Collapsed(graph, merged)


def _merge_one(
    graph: Graph, bound: Collection[str], fold_norms: bool
) -> tuple[Graph, str, tuple[str, ...]] | None:
    """Merge the first pair that can be; returns the model, the layer that is left and those that are not."""
    shapes = infer_shapes(graph)
    for index, call in enumerate(graph.calls):
        second = graph.layers[call.layer]
        if len(call.inputs) != 1 or second.name in bound or _uses(graph, second.name) > 1:
            continue
        place = source = call.inputs[0]
        norm = _norm_at(graph, place)
        if norm is not None:
            source = graph.calls[place].inputs[0]
        first = _linear_at(graph, source, bound)
        if norm is not None and first is not None:
            does = affine_of(norm, shapes[source])
            first = None if does is None else absorb_after(first, does)
        product = None if first is None else _product(first, second, (shapes[place], shapes[index]))
        if product is not None:
            gone = tuple(graph.calls[each].layer for each in dict.fromkeys((source, place)))
            return without(graph, {source, place}, {second.name: product}), second.name, gone
    return _fold_one(graph, bound, shapes) if fold_norms else None


def _norm_at(graph: Graph, tensor: int) -> Layer | None:
    """Return the batch normalization that gives a tensor for one reader alone."""
    layer = graph.layers[graph.calls[tensor].layer]
    return layer if layer.kind == "BatchNormalization" and _is_alone(graph, tensor) else None


def _linear_at(graph: Graph, tensor: int, bound: Collection[str]) -> Layer | None:
    """Return the linear layer that gives a tensor for one reader alone."""
    layer = graph.layers[graph.calls[tensor].layer]
    is_free = _is_alone(graph, tensor) and _is_plain(layer) and layer.name not in bound
    return layer if is_free and layer.config.get("activation", "linear") in (None, "linear") else None


def _is_plain(layer: Layer) -> bool:
    config = layer.config
    in_groups = (config.get("groups") or 1) > 1 or config.get("data_format") == "channels_first"
    return layer.kind in _KINDS and bool(layer.weights) and not in_groups


def _is_alone(graph: Graph, tensor: int) -> bool:
    return (
        tensor not in graph.outputs
        and _uses(graph, graph.calls[tensor].layer) == 1
        and sum(call.inputs.count(tensor) for call in graph.calls) == 1
    )


def _uses(graph: Graph, name: str) -> int:
    return sum(call.layer == name for call in graph.calls)


def _fold_one(
    graph: Graph, bound: Collection[str], shapes: list[Shape]
) -> tuple[Graph, str, tuple[str, ...]] | None:
    """Fold the first batch normalization after a convolution or a depthwise one."""
    for index, call in enumerate(graph.calls):
        layer = graph.layers[call.layer]
        if layer.kind != "BatchNormalization" or _uses(graph, layer.name) > 1:
            continue
        [source] = call.inputs
        before = graph.layers[graph.calls[source].layer]
        does = affine_of(layer, shapes[index])
        if does is None or before.name in bound or not _is_alone(graph, source):
            continue
        folded = absorb_after(before, does) if before.kind in {*_KINDS, "DepthwiseConv2D"} else None
        if folded is not None:
            return without(graph, {index}, {before.name: folded}), before.name, (layer.name,)
    return None


def _product(first: Layer, second: Layer, shapes: tuple[Shape, Shape]) -> Layer | None:
    """Return the layer that computes ``second(first(x))``; None if that is not exact, or more expensive.

    Args:
        shapes: of the tensor between them and of the result, the batch first.
    """
    if first.kind != second.kind or not _is_plain(second):
        return None
    one, other = (np.asarray(layer.weights[0], np.float64) for layer in (first, second))
    window = {}
    if first.kind == "Dense":
        kernel = one @ other
    elif _is_pointwise(second):
        kernel, window = np.einsum("hwij,jo->hwio", one, other[0, 0]), _window(first)
    elif _is_pointwise(first) and (second.config.get("padding") == "valid" or not np.any(_bias(first))):
        kernel = np.einsum("ij,hwjo->hwio", one[0, 0], other)
    else:
        return None
    positions = [math.prod(length or 1 for length in shape[1:-1]) for shape in shapes]
    if kernel.size * positions[1] > one.size * positions[0] + other.size * positions[1]:
        return None
    has_bias = any(len(layer.weights) > 1 for layer in (first, second))
    bias = _bias(first) @ other.reshape(-1, *other.shape[-2:]).sum(axis=0) + _bias(second)
    arrays = (kernel, bias) if has_bias else (kernel,)
    config = second.config | window | {"use_bias": has_bias}
    return replace(second, config=config, weights=tuple(array.astype(np.float32) for array in arrays))


def _is_pointwise(layer: Layer) -> bool:
    """Return whether a convolution has no window and leaves out no position."""
    strides: Any = layer.config.get("strides") or 1
    return math.prod(layer.weights[0].shape[:2]) == 1 and set(np.ravel(strides)) == {1}


def _window(layer: Layer) -> dict[str, Any]:
    keys = ("kernel_size", "strides", "padding", "dilation_rate")
    return {key: layer.config[key] for key in keys if key in layer.config}


def _bias(layer: Layer) -> Any:
    kernel, *bias = layer.weights
    return np.asarray(bias[0], np.float64) if bias else np.zeros(kernel.shape[-1])
