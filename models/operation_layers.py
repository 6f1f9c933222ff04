"""How each operation outside a layer is read: a dict of functions that return layers instead of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from models.operation import axis_from_front, chain, own, same_ranks
from models.operation_selection import SELECTION
from models.operation_shapes import REDUCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from models.graph import Layer
    from models.operation import Chains, Operation, Reader
    from models.shapes import Shape

_MERGES = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "maximum": "Maximum",
    "minimum": "Minimum",
}
_ACTIVATIONS = ("relu", "relu6", "sigmoid", "tanh", "selu", "softplus", "softsign", "swish", "mish")
_ELEMENTWISE = ("abs", "square", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "floor", "reciprocal")
_DEFAULT_LEAK = 0.2  # default of tf.nn.leaky_relu and keras.ops.leaky_relu
_POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
_SPATIAL = ("", "1D", "2D", "3D")


def _arithmetic(kind: str, operation: Operation) -> Chains | None:
    tensors, constants = operation.tensors, operation.constants
    if len(tensors) == 2 and not constants:
        same_ranks(operation)
        return chain(operation, operation.layer(_MERGES[kind]) if kind in _MERGES else own(operation, kind))
    if len(tensors) != 1 or len(constants) != 1:
        return None
    first = not isinstance(operation.operands[0], int | float | list)
    if kind in {"maximum", "minimum"}:
        limit = float(constants[0])
        if kind == "maximum" and limit == 0:
            return chain(operation, operation.layer("ReLU"))
        return chain(operation, own(operation, "clip", **{"low" if kind == "maximum" else "high": limit}))
    constant = _factor(constants[0], operation.shapes[0])
    if kind == "divide" and not first:
        scaled = _affine(operation, "multiply", constant, tensor_first=True)
        return chain(operation, own(operation, "reciprocal"), scaled)
    return chain(operation, _affine(operation, kind, constant, tensor_first=first))


def _factor(value: Any, shape: Shape) -> NDArray[np.float64]:
    """Return a constant as one number, one for each channel, or more that broadcast to a sample.

    Raises:
        ValueError: it does not fit.
    """
    values = np.asarray(value, np.float64)
    while values.ndim and values.shape[0] == 1:
        values = values[0]
    known = shape[len(shape) - values.ndim :] if values.ndim < len(shape) else ()
    if len(known) != values.ndim or any(n not in (1, m) for n, m in zip(values.shape, known, strict=True)):
        msg = f"a constant of shape {values.shape} for samples of shape {shape[1:]}"
        raise ValueError(msg)
    return values


def _affine(operation: Operation, kind: str, constant: NDArray[np.float64], *, tensor_first: bool) -> Layer:
    """Return the scaling that an operation between a tensor and a constant is."""
    scale, offset = np.ones_like(constant), np.zeros_like(constant)
    if kind == "add":
        offset = constant
    elif kind == "multiply":
        scale = constant
    elif kind == "subtract":
        scale, offset = (scale, -constant) if tensor_first else (-scale, constant)
    else:
        if not constant.all():
            msg = "division by zero"
            raise ValueError(msg)
        scale = 1.0 / constant
    return operation.layer("Rescaling", scale=scale.tolist(), offset=offset.tolist())


def _negative(_: str, operation: Operation) -> Chains:
    return chain(operation, operation.layer("Rescaling", scale=-1.0, offset=0.0))


def _identity(_: str, operation: Operation) -> Chains | None:
    """Nothing is left of what changes no value; a cast to an integer does."""
    dtype = str(operation.take("dtype", default="float32"))
    return chain(operation) if dtype.startswith(("float", "bfloat")) else None


def _power(_: str, operation: Operation) -> Chains | None:
    if len(operation.tensors) != 1:
        return None
    exponent = float(operation.constants[0])
    if not isinstance(operation.operands[-1], int | float):
        return None
    if exponent in _POWERS:
        return chain(operation, own(operation, _POWERS[exponent]))
    return chain(operation, own(operation, "power", exponent=exponent))


def _activation(kind: str, operation: Operation) -> Chains | None:
    if operation.constants:
        return None
    if kind == "gelu" and operation.take("approximate"):
        return chain(operation, own(operation, "gelu_tanh"))
    if kind == "elu" and float(operation.take("alpha", default=1.0)) != 1.0:
        return None
    return chain(operation, operation.layer("Activation", activation=kind))


def _elementwise(kind: str, operation: Operation) -> Chains | None:
    return None if operation.constants else chain(operation, own(operation, kind))


def _leaky_relu(_: str, operation: Operation) -> Chains:
    slope = float(operation.take("negative_slope", "alpha", default=_DEFAULT_LEAK))
    return chain(operation, operation.layer("LeakyReLU", alpha=slope))


def _softmax(kind: str, operation: Operation) -> Chains | None:
    axis = axis_from_front(operation.take("axis", default=-1), len(operation.shapes[0]))
    last = axis == len(operation.shapes[0]) - 1
    if kind == "log_softmax":
        return chain(operation, own(operation, kind)) if last else None
    if last:
        return chain(operation, operation.layer("Activation", activation="softmax"))
    return chain(operation, operation.layer("Softmax", axis=axis))


def _gate(kind: str, operation: Operation) -> Chains:
    """Spell out hard_sigmoid and hard_silu as Keras 3 means them: relu6(x + 3) / 6."""
    steps = hard_sigmoid_layers(operation.layer)
    return chain(operation, *steps, *([operation.layer("Multiply")] if kind == "hard_silu" else []))


def hard_sigmoid_layers(layer: Callable[..., Layer]) -> tuple[Layer, ...]:
    """Return the layers of relu6(x + 3) / 6; ``layer`` makes one of a class and a configuration."""
    return (
        layer("Rescaling", scale=1.0, offset=3.0),
        layer("ReLU", max_value=6.0),
        layer("Rescaling", scale=1.0 / 6.0, offset=0.0),
    )


def _clip(_: str, operation: Operation) -> Chains | None:
    if operation.constants:
        return None
    low, high = operation.take("x_min", "clip_value_min"), operation.take("x_max", "clip_value_max")
    if low == 0 and high is not None:
        return chain(operation, operation.layer("ReLU", max_value=float(high)))
    return chain(operation, own(operation, "clip", low=float(low), high=float(high)))


def _reduction(kind: str, operation: Operation) -> Chains | None:
    shape = operation.shapes[0]
    axis = operation.take("axis")
    keepdims = bool(operation.take("keepdims", "keep_dims"))
    if operation.constants:
        return None
    if axis is None:
        axes_of_one = (*range(1, len(shape)),)
        msg = f"over all axes, of all samples together; name those of one sample: axis={axes_of_one}"
        raise ValueError(msg)
    axes = sorted(
        {axis_from_front(one, len(shape)) for one in (axis if isinstance(axis, list | tuple) else [axis])}
    )
    if 0 in axes:
        return None  # over the batch
    pooling = {"mean": "GlobalAveragePooling", "max": "GlobalMaxPooling"}.get(kind)
    if pooling and len(shape) in (3, 4, 5) and axes == list(range(1, len(shape) - 1)):
        return chain(operation, operation.layer(f"{pooling}{_SPATIAL[len(shape) - 2]}", keepdims=keepdims))
    return chain(operation, own(operation, kind, axis=axes, keepdims=keepdims))


def _concatenate(kind: str, operation: Operation) -> Chains | None:
    rank = len(operation.shapes[0]) + (kind == "stack")
    axis = axis_from_front(operation.take("axis", default=0), rank)
    if axis == 0 or operation.constants:
        return None
    if kind == "stack":
        return chain(operation, own(operation, "stack", axis=axis))
    return chain(operation, operation.layer("Concatenate", axis=axis))


def _reshape(kind: str, operation: Operation) -> Chains | None:
    shape = list(operation.shapes[0])
    if kind == "reshape":
        target = operation.take("newshape", "shape")
        if not isinstance(target, list | tuple) or not target or operation.constants:
            return None
        whole = target[0] in (-1, None)
        if not whole and target[0] != shape[0]:
            return None  # the batch would be cut up
        return chain(operation, reshape(operation, [n if n != -1 else None for n in target[1:]]))
    axis = operation.take("axis")
    if axis is None or operation.constants:
        return None
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = len(shape) + (len(axes) if kind == "expand_dims" else 0)
    places = {axis_from_front(one, rank) for one in axes}
    if 0 in places:
        return None
    if kind == "expand_dims":
        rest = iter(shape)
        return chain(
            operation, reshape(operation, [1 if n in places else next(rest) for n in range(rank)][1:])
        )
    if any(shape[place] != 1 for place in places):
        return None
    return chain(operation, reshape(operation, [n for i, n in enumerate(shape) if i not in places][1:]))


def reshape(operation: Operation, target: Sequence[int | None]) -> Layer:
    """Return a Reshape of each sample to ``target``, of which one length may be open.

    Raises:
        ValueError: more than one is.
    """
    if sum(n is None for n in target) > 1:
        msg = "two open lengths; give the model's Input a fixed shape"
        raise ValueError(msg)
    return operation.layer("Reshape", target_shape=[-1 if n is None else n for n in target])


def _transpose(kind: str, operation: Operation) -> Chains | None:
    rank = len(operation.shapes[0])
    order = list(range(rank))
    if kind == "swap_axes":
        first, second = (axis_from_front(operation.take(f"axis{i}"), rank) for i in (1, 2))
        order[first], order[second] = second, first
    else:
        order = [axis_from_front(axis, rank) for axis in operation.take("axes", "perm", default=order[::-1])]
    if order[:1] != [0] or operation.constants:
        return None
    return chain(operation, operation.layer("Permute", dims=order[1:]))


def _pad(_: str, operation: Operation) -> Chains | None:
    pairs = [list(pair) for pair in operation.take("pad_width", "paddings")]
    value = float(operation.take("constant_values", default=0.0))
    mode = str(operation.take("mode", default="constant")).lower()
    rank = len(operation.shapes[0])
    if mode != "constant" or len(pairs) != rank or any(pairs[0]):
        return None
    if value == 0 and rank in (3, 4, 5) and not any(pairs[-1]):
        inner = pairs[1] if rank == 3 else pairs[1:-1]
        return chain(operation, operation.layer(f"ZeroPadding{_SPATIAL[rank - 2]}", padding=inner))
    return chain(operation, own(operation, "pad", paddings=pairs, value=value))


def _tile(_: str, operation: Operation) -> Chains | None:
    multiples = list(operation.take("multiples", "repeats"))
    if len(multiples) != len(operation.shapes[0]) or multiples[0] != 1:
        return None
    return chain(operation, own(operation, "tile", multiples=multiples))


def _matmul(_: str, operation: Operation) -> Chains | None:
    if len(operation.tensors) != 2 or operation.constants:
        return None
    flips = {key: True for key in ("transpose_a", "transpose_b") if operation.take(key)}
    return chain(operation, own(operation, "matmul", **flips))


def _l2_normalize(_: str, operation: Operation) -> Chains | None:
    axis = operation.take("axis", default=-1)
    if operation.take("order", default=2) != 2 or operation.take("epsilon", default=1e-12) != 1e-12:
        return None
    axes = axis if isinstance(axis, list) else [axis]
    places = [axis_from_front(one, len(operation.shapes[0])) for one in axes]
    return None if 0 in places else chain(operation, operation.layer("UnitNormalization", axis=places))


def _resize(_: str, operation: Operation) -> Chains | None:
    height, width = operation.take("size", "images_size")
    method = str(operation.take("interpolation", "method", default="bilinear"))
    operation.take("fill_mode"), operation.take("fill_value")  # padding is rejected
    if len(operation.shapes[0]) != 4:
        return None
    return chain(operation, operation.layer("Resizing", height=height, width=width, interpolation=method))


def _split(_: str, operation: Operation) -> Chains | None:
    shape = operation.shapes[0]
    axis = axis_from_front(operation.take("axis", default=0), len(shape))
    length = shape[axis]
    if axis == 0 or length is None:
        return None
    lengths = operation.take("num_or_size_splits")  # tf.split is given lengths, keras.ops.split places
    parts = operation.take("indices_or_sections", default=lengths)
    if isinstance(parts, int):
        if parts < 1 or length % parts:
            return None
        edges = list(range(0, length + 1, length // parts))
    elif parts is lengths:
        edges = [sum(parts[:i]) for i in range(len(parts) + 1)]
    else:
        edges = [0, *parts, length]
    chains: Chains = []
    for begin, end in pairwise(edges):
        slices = [slice(None)] * (len(shape) - 1)
        slices[axis - 1] = slice(begin, end)
        chains.append((operation.tensors, (_slice(operation, slices),)))
    return chains


def _slice(operation: Operation, slices: Sequence[slice]) -> Layer:
    begin, end, strides = ([getattr(one, key) for one in slices] for key in ("start", "stop", "step"))
    return own(operation, "slice", begin=begin, end=end, strides=strides)


def _get_item(_: str, operation: Operation) -> Chains | None:
    """``x[...]`` by slices, numbers, None and an ellipsis: a slice, then a Reshape."""
    key = operation.take("slice_spec", default=operation.constants)
    shape = operation.shapes[0]
    taken = sum(item is not None and item is not Ellipsis for item in key)
    if Ellipsis in key:
        place = key.index(Ellipsis)
        key = [*key[:place], *[slice(None)] * (len(shape) - taken), *key[place + 1 :]]
    else:
        key = [*key, *[slice(None)] * (len(shape) - taken)]
    if not key or key[0] != slice(None):
        return None  # the batch would be cut up
    lengths, slices = iter(shape[1:]), []
    target: list[int | None] = []
    for item in key[1:]:
        if item is None:
            target.append(1)
            continue
        length = next(lengths)
        if isinstance(item, slice):
            slices.append(item)
            whole = item == slice(None)
            open_length = None if whole else -1
            target.append(open_length if length is None else len(range(*item.indices(length))))
        elif type(item) is int:
            slices.append(slice(item, item + 1 if item != -1 else None))
        else:
            return None
    steps = [] if all(one == slice(None) for one in slices) else [_slice(operation, slices)]
    if len(target) != len(shape) - 1 or None in key:
        steps.append(reshape(operation, [None if n == -1 else n for n in target]))
    return chain(operation, *steps)


READERS: dict[str, Reader] = {
    **dict.fromkeys((*_MERGES, "divide"), _arithmetic),
    **dict.fromkeys((*_ACTIVATIONS, "gelu", "elu"), _activation),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("hard_sigmoid", "hard_silu"), _gate),
    **dict.fromkeys(("reshape", "expand_dims", "squeeze"), _reshape),
    **dict.fromkeys(("transpose", "swap_axes"), _transpose),
    **dict.fromkeys(("concatenate", "stack"), _concatenate),
    **dict.fromkeys(("getitem", "get_item"), _get_item),
    **dict.fromkeys(("identity", "cast"), _identity),
    "negative": _negative,
    "power": _power,
    "leaky_relu": _leaky_relu,
    "clip": _clip,
    "pad": _pad,
    "tile": _tile,
    "matmul": _matmul,
    "l2_normalize": _l2_normalize,
    "resize": _resize,
    "split": _split,
    **SELECTION,
}
