"""The shapes of what layers return and of their kernels, computed from plain configurations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Config = dict[str, Any]
    Inner = Callable[[Sequence["Shape"]], "Shape"]

Shape = tuple[int | None, ...]
"""The batch first; None is an open length."""


def broadcast(inputs: Sequence[Shape]) -> Shape:
    """Return the shape of an elementwise operation on ``inputs``.

    Raises:
        ValueError: two lengths differ and neither is 1.
    """
    rank = max(len(shape) for shape in inputs)
    result: list[int | None] = []
    for axis in range(rank):
        lengths = {shape[axis - rank] for shape in inputs if len(shape) >= rank - axis}
        wide = {n for n in lengths if n not in (1, None)}
        if len(wide) > 1:
            msg = f"lengths {sorted(wide)} differ"
            raise ValueError(msg)
        result.append(wide.pop() if wide else None if None in lengths else 1)
    return tuple(result)


# Output shapes: each function takes a layer's configuration, the shapes of its inputs and, for a wrapper, the
# function that returns the output shape of the wrapped layer.


def given(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """An InputLayer."""
    return (None, *config["shape"])


def same(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A layer that keeps the shape of its first input."""
    return inputs[0]


def merged(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A sum and the like: Keras aligns what follows the batch, and puts axes of 1 behind that."""
    rank = max(len(shape) for shape in inputs)
    return broadcast([(shape[0], *[1] * (rank - len(shape)), *shape[1:]) for shape in inputs])


def concatenated(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    axis = config.get("axis", -1)
    lengths = [shape[axis] for shape in inputs]
    joined = None if None in lengths else sum(n for n in lengths if n is not None)
    shape = list(inputs[0])
    shape[axis] = joined
    return tuple(shape)


def dotted(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    first, second = inputs
    axes = config["axes"]
    pair = axes if isinstance(axes, list | tuple) else (axes, axes)
    left, right = (axis % len(shape) for axis, shape in zip(pair, inputs, strict=True))
    if first[left] != second[right]:
        msg = f"lengths {first[left]} and {second[right]} differ"
        raise ValueError(msg)
    kept = (*first[:left], *first[left + 1 :], *second[1:right], *second[right + 1 :])
    return kept if len(kept) > 1 else (*kept, 1)


def attended(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """An Attention or AdditiveAttention."""
    return (*inputs[0][:-1], inputs[1][-1])


def multi_head(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    last = config.get("output_shape")
    if last is None:
        return inputs[0]
    return (*inputs[0][:-1], *(last if isinstance(last, list | tuple) else [last]))


def each_step(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A TimeDistributed."""
    assert inner is not None
    shape = inputs[0]
    return (*shape[:2], *inner([(shape[0], *shape[2:])])[1:])


def both_directions(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A Bidirectional."""
    assert inner is not None
    *lengths, last = inner(inputs)
    return (*lengths, last and 2 * last if config.get("merge_mode", "concat") == "concat" else last)


def recurrent(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return (*inputs[0][: 2 if config.get("return_sequences") else 1], config["units"])


def recurrent_convolved(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A ConvLSTM."""
    shape = inputs[0]
    step = convolved(config, [(shape[0], *shape[2:])])
    return (shape[0], shape[1], *step[1:]) if config.get("return_sequences") else step


def convolved(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    shape = inputs[0]
    windows, strides = _dilated(config, shape), _each(config.get("strides", 1), shape[1:-1])
    lengths = _windows(shape[1:-1], windows, strides, config.get("padding", "valid"))
    return (shape[0], *lengths, config["filters"])


def depthwise(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    channels = inputs[0][-1]
    filters = None if channels is None else channels * (config.get("depth_multiplier") or 1)
    return convolved(config | {"filters": filters}, inputs)


def transposed(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A transposed convolution."""
    shape = inputs[0]
    padding, windows = config.get("padding", "valid"), _dilated(config, shape)
    strides, extra = (
        _each(value, shape[1:-1]) for value in (config.get("strides", 1), config.get("output_padding"))
    )
    lengths = [
        None if n is None else _enlarged(n, window, stride, padding, more)
        for n, window, stride, more in zip(shape[1:-1], windows, strides, extra, strict=True)
    ]
    return (shape[0], *lengths, config["filters"])


def pooled(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    shape = inputs[0]
    size = _each(config.get("pool_size", 2), shape[1:-1])
    strides = _each(config.get("strides") or size, shape[1:-1])
    return (shape[0], *_windows(shape[1:-1], size, strides, config.get("padding", "valid")), shape[-1])


def pooled_globally(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    shape = inputs[0]
    return (shape[0], *([1] * len(shape[1:-1]) if config.get("keepdims") else []), shape[-1])


def units(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """A Dense."""
    return (*inputs[0][:-1], config["units"])


def embedded(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return (*inputs[0], config["output_dim"])


def flattened(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return (inputs[0][0], _product(inputs[0][1:]))


def reshaped(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    size, target = _product(inputs[0][1:]), config["target_shape"]
    known = math.prod(n for n in target if n != -1)
    if size is not None and (size != known if -1 not in target else size % known):
        msg = f"{size} values do not make {list(target)}"
        raise ValueError(msg)
    open_length = None if size is None else size // known
    return (inputs[0][0], *(open_length if n == -1 else n for n in target))


def permuted(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return (inputs[0][0], *(inputs[0][axis] for axis in config["dims"]))


def repeated(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return (inputs[0][0], config["n"], *inputs[0][1:])


def padded(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return _with_edges(inputs[0], config.get("padding", 1), 1)


def cropped(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return _with_edges(inputs[0], config.get("cropping", 1), -1)


def upsampled(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    shape = inputs[0]
    factors = _each(config.get("size", 2), shape[1:-1])
    lengths = (n and n * factor for n, factor in zip(shape[1:-1], factors, strict=True))
    return (shape[0], *lengths, shape[-1])


def resized(config: Config, inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    return (*inputs[0][:-3], config["height"], config["width"], inputs[0][-1])


# The arrays of a layer whose sizes its configuration decides, in order: each function takes the configuration
# and the shape of the first input.


def no_kernel(config: Config, shape: Shape) -> list[Shape]:
    """Arrays as large as what goes in, not as a number in the configuration says."""
    return []


def by_axis(config: Config, shape: Shape) -> list[Shape]:
    """One number for each place along the axes of a normalization."""
    axis = config.get("axis", -1)
    return [tuple(shape[one] for one in (axis if isinstance(axis, list) else [axis]))]


def by_position(config: Config, shape: Shape) -> list[Shape]:
    """One number for each element, less the axes that share theirs."""
    shared = {axis % len(shape) for axis in config.get("shared_axes") or ()}
    return [tuple(1 if axis in shared else n for axis, n in enumerate(shape) if axis)]


def dense_kernel(config: Config, shape: Shape) -> list[Shape]:
    return [(shape[-1], config["units"])]


def gru_kernel(config: Config, shape: Shape) -> list[Shape]:
    return [(shape[-1], 3 * config["units"])]


def lstm_kernel(config: Config, shape: Shape) -> list[Shape]:
    return [(shape[-1], 4 * config["units"])]


def table(config: Config, shape: Shape) -> list[Shape]:
    return [(config["input_dim"], config["output_dim"])]


def heads(config: Config, shape: Shape) -> list[Shape]:
    return [(shape[-1], config["num_heads"], config["key_dim"])]


def convolution_kernel(config: Config, shape: Shape) -> list[Shape]:
    channels = shape[-1]
    if channels is None:
        return by_axis(config, shape)
    return [(*_size(config, shape), channels // (config.get("groups") or 1), config["filters"])]


def recurrent_convolution_kernel(config: Config, shape: Shape) -> list[Shape]:
    gates = {"filters": 4 * config["filters"]}
    return convolution_kernel(config | gates, (shape[0], *shape[2:]))


def depthwise_kernel(config: Config, shape: Shape) -> list[Shape]:
    if shape[-1] is None:
        return by_axis(config, shape)
    return [(*_size(config, shape), shape[-1], config.get("depth_multiplier") or 1)]


def separable_kernels(config: Config, shape: Shape) -> list[Shape]:
    channels = shape[-1]
    if channels is None:
        return by_axis(config, shape)
    multiplier = config.get("depth_multiplier") or 1
    pointwise = (*[1] * len(shape[1:-1]), channels * multiplier, config["filters"])
    return [(*_size(config, shape), channels, multiplier), pointwise]


def transposed_kernel(config: Config, shape: Shape) -> list[Shape]:
    if shape[-1] is None:
        return by_axis(config, shape)
    return [(*_size(config, shape), config["filters"], shape[-1])]


def _size(config: Config, shape: Shape) -> list[Any]:
    return _each(config["kernel_size"], shape[1:-1])


def _dilated(config: Config, shape: Shape) -> list[int]:
    """Return how far each window reaches."""
    sizes, rates = (
        _each(value, shape[1:-1]) for value in (config.get("kernel_size"), config.get("dilation_rate", 1))
    )
    return [(n - 1) * rate + 1 for n, rate in zip(sizes, rates, strict=True)]


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


def _enlarged(length: int, window: int, stride: int, padding: str, extra: int | None) -> int:
    if extra is None:
        return length * stride + (max(window - stride, 0) if padding == "valid" else 0)
    return (length - 1) * stride + window + extra - (2 * (window // 2) if padding == "same" else 0)


def _with_edges(shape: Shape, value: Any, sign: int) -> Shape:
    """Add (``sign`` 1) or cut (-1) what ``value`` says before and after each spatial dimension."""
    spatial = shape[1:-1]
    if len(spatial) == 1 and isinstance(value, list | tuple):
        value = [value if len(value) == 2 else value * 2]
    edges = [
        pair if isinstance(pair, list | tuple) else (pair, pair) for pair in _each(value, range(len(spatial)))
    ]
    lengths = [None if n is None else n + sign * sum(pair) for n, pair in zip(spatial, edges, strict=True)]
    return (shape[0], *lengths, shape[-1])


def _product(lengths: Sequence[int | None]) -> int | None:
    return math.prod(n for n in lengths if n is not None) if None not in lengths else None
