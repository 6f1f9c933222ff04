"""The shape of what each function of the layer ``Operation`` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.layers import FUNCTIONS
from models.shapes import broadcast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.shapes import Inner, Shape

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal")
REDUCTIONS = frozenset({"mean", "sum", "max", "min"})


def operation_shape(config: dict[str, Any], inputs: Sequence[Shape], inner: Inner | None = None) -> Shape:
    """Return the output shape, the batch first.

    Raises:
        ValueError, KeyError, IndexError, TypeError: the function is unknown or does not fit.
    """
    function = config["function"]
    shape = inputs[0]
    if function not in FUNCTIONS:
        msg = f"no operation {str(function)[:40]!r}"
        raise ValueError(msg)
    if function == "take":
        axis = config["axis"] % len(shape)
        return (*shape[:axis], len(config["indices"]), *shape[axis + 1 :])
    if function in ("divide", "where", *COMPARISONS):
        return broadcast(inputs)
    if function == "argmax":
        return (*shape[:-1], 1) if config.get("keepdims") else shape[:-1]
    if function == "matmul":
        return _multiplied(config, *inputs)
    if function == "stack":
        axis = config["axis"] % (len(shape) + 1)
        return (*shape[:axis], len(inputs), *shape[axis:])
    if function == "merge_steps":
        return (shape[0], *shape[2:])
    if function == "split_steps":
        return (shape[0], config["steps"], *shape[1:])
    if function == "slice":
        return (shape[0], *_sliced(config, shape[1:]))
    if function == "pad":
        pairs = config["paddings"]
        return tuple(n and n + sum(pair) for n, pair in zip(shape, pairs, strict=True))
    if function == "tile":
        return tuple(n and n * count for n, count in zip(shape, config["multiples"], strict=True))
    if function in REDUCTIONS:
        axes = {axis % len(shape) for axis in config["axis"]}
        if config.get("keepdims"):
            return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
        return tuple(n for axis, n in enumerate(shape) if axis not in axes)
    return shape


def _multiplied(config: dict[str, Any], first: Shape, second: Shape) -> Shape:
    rows, inner = first[-2:] if not config.get("transpose_a") else first[:-3:-1]
    other, columns = second[-2:] if not config.get("transpose_b") else second[:-3:-1]
    if None not in (inner, other) and inner != other:
        msg = f"lengths {inner} and {other} differ"
        raise ValueError(msg)
    return (*broadcast([first[:-2], second[:-2]]), rows, columns)


def _sliced(config: dict[str, Any], lengths: Shape) -> list[int | None]:
    parts = map(slice, config["begin"], config["end"], config["strides"])
    return [
        None if n is None else len(range(*part.indices(n))) for n, part in zip(lengths, parts, strict=True)
    ]
