"""The shape of every tensor of a graph, worked out without TensorFlow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from models.errors import ModelError
from models.operation_shapes import broadcast, operation_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.graph import Graph, Layer

Shape = tuple[int | None, ...]
"""The batch first; None is an open length."""

_MERGING = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"})
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN"})
_ATTENTION = frozenset({"Attention", "AdditiveAttention"})


def infer_shapes(graph: Graph) -> list[Shape]:
    """Return the shape of each tensor of ``graph``.

    Raises:
        ModelError: a layer cannot be applied to what it is given.
    """
    shapes: list[Shape] = []
    for call in graph.calls:
        layer = graph.layers[call.layer]
        shapes.append(output_shape(layer, [shapes[tensor] for tensor in call.inputs], call.result))
    return shapes


def output_shape(layer: Layer, inputs: Sequence[Shape], result: int = 0) -> Shape:
    """Return the shape of a result that ``layer`` makes of tensors of the shapes ``inputs``.

    Raises:
        ModelError: it cannot be applied to them.
    """
    try:
        shape = _output(layer, inputs)
        if result:  # a state
            shape = (shape[0], (layer.inner or layer).config["units"])
    except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError, OverflowError) as error:
        reason = error if str(error) else "it has another rank"
        msg = f"layer {layer.name!r} ({layer.kind}) does not fit its input {list(inputs)}: {reason}"
        raise ModelError(msg) from error
    if any(length is not None and not (type(length) is int and length > 0) for length in shape):
        msg = f"layer {layer.name!r} ({layer.kind}) makes {shape} of {list(inputs)}; enlarge the input"
        raise ModelError(msg)
    return shape


def check_weights(graph: Graph, shapes: Sequence[Shape]) -> None:
    """Compare each layer's first array with its configuration, before anything of that size is allocated.

    Raises:
        ModelError: they differ.
    """
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if not layer.weights:
            continue
        inputs = shapes[call.inputs[0]]
        expected = _kernel_shapes(layer, inputs)
        given = [array.shape for array in layer.weights[: len(expected)]]
        if given != expected:
            msg = (
                f"layer {layer.name!r} ({layer.kind}): arrays of shapes {given} do not fit its configuration "
                f"and its input {inputs}, which need {expected}; save the model again"
            )
            raise ModelError(msg)


def _kernel_shapes(layer: Layer, inputs: Shape) -> list[Shape]:
    """Return the shapes of the arrays whose sizes the configuration decides."""
    kind, config, channels = layer.kind, layer.config, inputs[-1]
    if layer.inner is not None:
        is_per_step = kind == "TimeDistributed"
        return _kernel_shapes(layer.inner, (inputs[0], *inputs[2:]) if is_per_step else inputs)
    if kind == "Dense":
        return [(channels, config["units"])]
    if kind in _ATTENTION or kind.startswith("LocallyConnected"):
        return []  # as large as what goes in, not as a number in the configuration says
    if kind == "MultiHeadAttention":
        return [(channels, config["num_heads"], config["key_dim"])]
    if kind == "Embedding":
        return [(config["input_dim"], config["output_dim"])]
    if kind in _RECURRENT:
        gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[kind]
        return [(channels, gates * config["units"])]
    if kind == "PReLU":
        shared = {axis % len(inputs) for axis in config.get("shared_axes") or ()}
        return [tuple(1 if axis in shared else n for axis, n in enumerate(inputs) if axis)]
    if "Conv" in kind and channels is not None:
        gates = 4 if kind.startswith("ConvLSTM") else 1
        size = tuple(_each(config["kernel_size"], inputs[2 if gates == 4 else 1 : -1]))
        multiplier = config.get("depth_multiplier") or 1
        if kind.startswith("Separable"):
            ones = (1,) * len(size)
            return [(*size, channels, multiplier), (*ones, channels * multiplier, config["filters"])]
        if kind.startswith("Depthwise"):
            return [(*size, channels, multiplier)]
        if kind.endswith("Transpose"):
            return [(*size, config["filters"], channels)]
        return [(*size, channels // (config.get("groups") or 1), gates * config["filters"])]
    axis = config.get("axis", -1)
    return [tuple(inputs[a] for a in (axis if isinstance(axis, list) else [axis]))]


def _output(layer: Layer, inputs: Sequence[Shape]) -> Shape:
    kind, config = layer.kind, layer.config
    if kind == "InputLayer":
        return (None, *config["shape"])
    if kind in _MERGING:  # Keras lines up what follows the batch, and puts axes of 1 behind that
        rank = max(len(shape) for shape in inputs)
        return broadcast([(shape[0], *[1] * (rank - len(shape)), *shape[1:]) for shape in inputs])
    if kind == "Concatenate":
        return _concatenated(inputs, config.get("axis", -1))
    if kind == "Operation":
        return operation_shape(config, inputs)
    shape = inputs[0]
    if kind in _ATTENTION:
        return (*shape[:-1], inputs[1][-1])
    if kind == "MultiHeadAttention":
        return _attended(config, shape)
    if kind == "Dot":
        return _dotted(config["axes"], inputs)
    if kind == "TimeDistributed" and layer.inner is not None:
        inner = _output(layer.inner, [(shape[0], *shape[2:])])
        return (*shape[:2], *inner[1:])
    if kind == "Bidirectional" and layer.inner is not None:
        inner = _output(layer.inner, inputs)
        doubled = config.get("merge_mode", "concat") == "concat"
        return (*inner[:-1], 2 * layer.inner.config["units"]) if doubled else inner
    if kind in _RECURRENT:
        return (*shape[: 2 if config.get("return_sequences") else 1], config["units"])
    if kind in {"Resizing", "CenterCrop"}:
        return (*shape[:-3], config["height"], config["width"], shape[-1])
    if kind.startswith("ConvLSTM"):
        step = _convolved("Conv", config, (shape[0], *shape[2:]))
        return (shape[0], shape[1], *step[1:]) if config.get("return_sequences") else step
    if "Conv" in kind or kind.startswith("LocallyConnected"):
        return _convolved(kind, config, shape)
    if "Pooling" in kind:
        return _pooled(kind, config, shape)
    return _rearranged(kind, config, shape)


def _convolved(kind: str, config: dict[str, Any], shape: Shape) -> Shape:
    spatial, channels = shape[1:-1], shape[-1]
    size = _each(config.get("kernel_size"), spatial)
    strides = _each(config.get("strides", 1), spatial)
    dilation = _each(config.get("dilation_rate", 1), spatial)
    padding = config.get("padding", "valid")
    windows = [(n - 1) * rate + 1 for n, rate in zip(size, dilation, strict=True)]
    if kind.endswith("Transpose"):
        extra = _each(config.get("output_padding"), spatial)
        lengths = [
            None if n is None else _transposed(n, window, stride, padding, more)
            for n, window, stride, more in zip(spatial, windows, strides, extra, strict=True)
        ]
    else:
        lengths = _windows(spatial, windows, strides, padding)
    if kind.startswith("Depthwise"):
        filters = None if channels is None else channels * (config.get("depth_multiplier") or 1)
    else:
        filters = config["filters"]
    return (shape[0], *lengths, filters)


def _pooled(kind: str, config: dict[str, Any], shape: Shape) -> Shape:
    spatial = shape[1:-1]
    if kind.startswith("Global"):
        return (shape[0], *([1] * len(spatial) if config.get("keepdims") else []), shape[-1])
    size = _each(config.get("pool_size", 2), spatial)
    strides = _each(config.get("strides") or size, spatial)
    return (shape[0], *_windows(spatial, size, strides, config.get("padding", "valid")), shape[-1])


def _rearranged(kind: str, config: dict[str, Any], shape: Shape) -> Shape:
    batch, spatial, channels = shape[0], shape[1:-1], shape[-1]
    if kind == "Dense":
        return (*shape[:-1], config["units"])
    if kind == "Embedding":
        return (*shape, config["output_dim"])
    if kind == "Flatten":
        return (batch, _product(shape[1:]))
    if kind == "Reshape":
        return (batch, *_reshaped(_product(shape[1:]), config["target_shape"]))
    if kind == "Permute":
        return (batch, *(shape[axis] for axis in config["dims"]))
    if kind == "RepeatVector":
        return (batch, config["n"], *shape[1:])
    if kind.startswith(("ZeroPadding", "Cropping")):
        sign, key = (1, "padding") if kind.startswith("Zero") else (-1, "cropping")
        edges = _edges(config.get(key, 1), len(spatial))
        lengths = [
            None if n is None else n + sign * sum(pair) for n, pair in zip(spatial, edges, strict=True)
        ]
        return (batch, *lengths, channels)
    if kind.startswith("UpSampling"):
        factors = _each(config.get("size", 2), spatial)
        return (batch, *(n and n * factor for n, factor in zip(spatial, factors, strict=True)), channels)
    return shape


def _each(value: Any, spatial: Sequence[object]) -> list[Any]:
    """Repeat one number for each spatial dimension; keep a list of the right length."""
    values = list(value) if isinstance(value, list | tuple) else [value] * len(spatial)
    if len(values) != len(spatial):
        msg = f"{value} is not for {len(spatial)} dimensions"
        raise ValueError(msg)
    return values


def _windows(
    lengths: Sequence[int | None], sizes: list[int], strides: list[int], padding: str
) -> list[int | None]:
    return [
        n and (math.ceil(n / stride) if padding in {"same", "causal"} else (n - size) // stride + 1)
        for n, size, stride in zip(lengths, sizes, strides, strict=True)
    ]


def _transposed(length: int, window: int, stride: int, padding: str, extra: int | None) -> int:
    if extra is None:
        return length * stride + (max(window - stride, 0) if padding == "valid" else 0)
    return (length - 1) * stride + window + extra - (2 * (window // 2) if padding == "same" else 0)


def _edges(value: Any, rank: int) -> list[tuple[int, int]]:
    """Return what is added or cut before and after each dimension."""
    if rank == 1 and isinstance(value, list | tuple):
        value = [value if len(value) == 2 else value * 2]
    pairs = _each(value, range(rank))
    return [tuple(pair) if isinstance(pair, list | tuple) else (pair, pair) for pair in pairs]


def _product(lengths: Sequence[int | None]) -> int | None:
    return math.prod(n for n in lengths if n is not None) if None not in lengths else None


def _reshaped(size: int | None, target: Sequence[int]) -> list[int | None]:
    known = math.prod(n for n in target if n != -1)
    if size is not None and (size != known if -1 not in target else size % known):
        msg = f"{size} values do not make {list(target)}"
        raise ValueError(msg)
    open_length = None if size is None else size // known
    return [open_length if n == -1 else n for n in target]


def _concatenated(inputs: Sequence[Shape], axis: int) -> Shape:
    lengths = [shape[axis] for shape in inputs]
    joined = None if None in lengths else sum(n for n in lengths if n is not None)
    shape = list(inputs[0])
    shape[axis] = joined
    return tuple(shape)


def _attended(config: dict[str, Any], query: Shape) -> Shape:
    if config.get("output_shape") is None:
        return query
    last = config["output_shape"]
    return (*query[:-1], *(last if isinstance(last, list | tuple) else [last]))


def _dotted(axes: Any, inputs: Sequence[Shape]) -> Shape:
    first, second = inputs
    pair = axes if isinstance(axes, list | tuple) else (axes, axes)
    left, right = (axis % len(shape) for axis, shape in zip(pair, inputs, strict=True))
    if first[left] != second[right]:
        msg = f"lengths {first[left]} and {second[right]} differ"
        raise ValueError(msg)
    kept = (*first[:left], *first[left + 1 :], *second[1:right], *second[right + 1 :])
    return kept if len(kept) > 1 else (*kept, 1)
