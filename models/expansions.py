"""Layers of a file that become several of tf_keras, one applied to the result of the one before it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ModelError
from models.graph import Layer
from models.layer_rules import LAYERS, MAX_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.shapes import Shape

_RMS_EPSILON = 1e-6  # default of Keras's RMSNormalization


def expanded(layer: Layer, shape: Shape) -> tuple[Layer, ...]:
    """Return the layers that compute what ``layer`` does; itself, where tf_keras has it.

    Args:
        layer: as the file has it, with its arrays.
        shape: of its input, the batch first.

    Raises:
        ModelError: no layers do.
    """
    if layer.kind not in ("EinsumDense", "RMSNormalization"):
        return (layer,)
    try:
        return (
            _einsum_dense(layer, shape) if layer.kind == "EinsumDense" else _rms_normalization(layer, shape)
        )
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        msg = f"layer {layer.name!r} ({layer.kind}) does not fit its input {shape}: {error}"
        raise ModelError(msg) from error


def unrolled_for_states(layer: Layer, tensors: int, shape: Shape) -> Layer:
    """Return a recurrent layer unrolled where its states are given or returned; any other as it is.

    The converter's own LSTM operator begins with zeros whatever it is given, in the float reference too.

    Args:
        layer: as read.
        tensors: how many it is called on.
        shape: of its input, the batch first.

    Raises:
        ModelError: the layer is an LSTM of too many steps.
    """
    inner = layer.inner or layer
    if not LAYERS[inner.kind].states or (tensors == 1 and not inner.config.get("return_state")):
        return layer
    if shape[1] is None or shape[1] > MAX_STEPS:
        if inner.kind != "LSTM":
            return layer
        msg = (
            f"layer {layer.name!r} ({layer.kind}): its states are given or returned, over "
            f"{shape[1] or 'an open number of'} steps; give the model's Input at most {MAX_STEPS}"
        )
        raise ModelError(msg)
    if layer.inner is None:
        return replace(layer, config=layer.config | {"unroll": True})
    ahead, back = (
        part and replace(part, config=part.config | {"unroll": True})
        for part in (layer.inner, layer.inner_backward)
    )
    return replace(layer, inner=ahead, inner_backward=back)


def _rms_normalization(layer: Layer, shape: Shape) -> tuple[Layer, ...]:
    axis = layer.config.get("axis", -1)
    axes = sorted(int(one) % len(shape) for one in (axis if isinstance(axis, list) else [axis]))
    (scale,) = layer.weights
    if 0 in axes or tuple(shape[one] for one in axes) != scale.shape:
        msg = f"axis {axis} and a scale of shape {scale.shape}"
        raise ValueError(msg)
    settings = {"axis": axes, "epsilon": layer.config.get("epsilon", _RMS_EPSILON)}
    return (
        Layer(layer.name, "Operation", {"function": "rms_normalization", **settings}),
        Layer(f"{layer.name}_scale", "Rescaling", {"scale": scale.tolist(), "offset": 0.0}),
    )


def _einsum_dense(layer: Layer, shape: Shape) -> tuple[Layer, ...]:
    """Return a Dense over the contracted axes, with what moves them to the end and back around it."""
    given, kernel_axes, result = _axes(str(layer.config["equation"]), len(shape))
    kernel = np.asarray(layer.weights[0])
    contracted = [axis for axis in kernel_axes if axis in given and axis not in result]
    kept = [axis for axis in result[1:] if axis in given]
    new = [axis for axis in result if axis in kernel_axes]
    is_dense = (
        given[0] == result[0]
        and contracted
        and not set(kept) & set(kernel_axes)
        and sorted([*given[1:], *new]) == sorted([*kept, *contracted, *new])
        and sorted(kernel_axes) == sorted({*contracted, *new})
    )
    if not is_dense:
        msg = (
            f"{layer.config['equation']!r} is not a product with one matrix for all positions; "
            "express it with Dense layers"
        )
        raise ValueError(msg)
    lengths = dict(zip(given, shape, strict=True)) | dict(zip(kernel_axes, kernel.shape, strict=True))
    matrix = kernel.transpose([kernel_axes.index(axis) for axis in (*contracted, *new)])
    rows, columns = (math.prod(lengths[axis] or 0 for axis in axes) for axes in (contracted, new))
    arrays = [matrix.reshape(rows, columns)]
    if len(layer.weights) > 1:
        arrays.append(_bias(np.asarray(layer.weights[1]), result, new, [lengths[axis] or 0 for axis in new]))
    activation = layer.config.get("activation", "linear")
    moves = len(new) != 1 or [*kept, *new] != result[1:]
    late = (
        activation if moves and activation == "softmax" else None
    )  # it looks at the last axis of the result
    dense = {"units": columns, "use_bias": len(arrays) > 1, "activation": "linear" if late else activation}

    def reshape(part: str, axes: Sequence[str], last: Sequence[int]) -> Layer:
        target = [-1 if lengths[axis] is None else lengths[axis] for axis in axes]
        if target.count(-1) > 1:
            msg = "two open lengths; give the model's Input a fixed shape"
            raise ValueError(msg)
        return Layer(f"{layer.name}_{part}", "Reshape", {"target_shape": [*target, *last]})

    steps = _permuted(f"{layer.name}_to_last", given, [*kept, *contracted])
    if len(contracted) > 1:
        steps.append(reshape("joined", kept, [rows]))
    steps.append(Layer(layer.name, "Dense", dense, tuple(arrays)))
    if len(new) != 1:
        steps.append(reshape("parted", [*kept, *new], []))
    steps += _permuted(f"{layer.name}_to_place", [result[0], *kept, *new], result[1:])
    if late:
        steps.append(Layer(f"{layer.name}_softmax", "Activation", {"activation": late}))
    return tuple(steps)


def _axes(equation: str, rank: int) -> tuple[list[str], list[str], list[str]]:
    """Return the axes of the input, of the kernel and of the result; those of an ellipsis as numbers."""
    operands, _, after = "".join(equation.split()).partition("->")
    first, _, second = operands.partition(",")
    open_axes = [str(place) for place in range(rank - len(first.replace("...", "")))]

    def split(term: str) -> list[str]:
        before, ellipsis, behind = term.partition("...")
        return [*before, *(open_axes if ellipsis else []), *behind]

    parts = (split(first), list(second), split(after))
    if any(len(set(part)) != len(part) or not part for part in parts) or len(parts[0]) != rank:
        msg = f"the equation {equation[:80]!r}"
        raise ValueError(msg)
    return parts


def _bias(bias: Any, result: list[str], new: list[str], lengths: list[int]) -> Any:
    """Return the bias, which broadcasts to the end of the result, as one number for each column."""
    behind = result[len(result) - bias.ndim :]
    if any(axis not in new and length != 1 for axis, length in zip(behind, bias.shape, strict=True)):
        msg = "a bias that differs from position to position; add it with a layer of its own"
        raise ValueError(msg)
    own = bias.reshape([bias.shape[behind.index(axis)] if axis in behind else 1 for axis in new])
    return np.broadcast_to(own, lengths).reshape(-1)


def _permuted(name: str, axes: list[str], order: list[str]) -> list[Layer]:
    dims = [axes.index(axis) for axis in order]
    return [] if dims == sorted(dims) else [Layer(name, "Permute", {"dims": dims})]
