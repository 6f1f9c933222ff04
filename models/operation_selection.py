"""How operations that pick or compare values are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.operation import axis_from_front, chain, own, same_ranks
from models.operation_shapes import COMPARISONS

if TYPE_CHECKING:
    from models.operation import Chains, Operation, Reader

_MIRRORED = {
    "greater": "less",
    "greater_equal": "less_equal",
    "less": "greater",
    "less_equal": "greater_equal",
}
_PYTHON_NUMBERS = (int, float)


def _take(_: str, operation: Operation) -> Chains | None:
    constants = operation.constants
    indices = operation.take("indices", default=constants[0] if constants else None)
    axis = axis_from_front(operation.take("axis", default=0), len(operation.shapes[0]))
    length = operation.shapes[0][axis]
    if axis == 0 or length is None or indices is None:
        return None
    is_one = isinstance(indices, int)
    places = [axis_from_front(index, length) for index in ([indices] if is_one else indices)]
    picked = own(operation, "take", indices=places, axis=axis)
    if not is_one:
        return chain(operation, picked)
    rest = [-1 if n is None else n for at, n in enumerate(operation.shapes[0]) if at not in (0, axis)]
    return chain(operation, picked, operation.layer("Reshape", target_shape=rest))


def _repeat(_: str, operation: Operation) -> Chains | None:
    constants = operation.constants
    repeats = operation.take("repeats", default=constants[0] if constants else None)
    axis = axis_from_front(operation.take("axis", default=0), len(operation.shapes[0]))
    length = operation.shapes[0][axis]
    if axis == 0 or length is None:
        return None
    counts = repeats if isinstance(repeats, list) else [repeats]
    counts = [int(count) for count in (counts * length if len(counts) == 1 else counts)]
    places = [place for place, count in enumerate(counts) for _ in range(count)]
    return (
        chain(operation, own(operation, "take", indices=places, axis=axis)) if len(counts) == length else None
    )


def _flip(_: str, operation: Operation) -> Chains | None:
    axis = operation.take("axis", "dims", default=operation.constants[0] if operation.constants else None)
    rank = len(operation.shapes[0])
    if axis is None:
        return None
    axes = {axis_from_front(one, rank) for one in (axis if isinstance(axis, list | tuple) else [axis])}
    if 0 in axes:
        return None
    nothing = [None] * (rank - 1)
    strides = [-1 if at in axes else None for at in range(1, rank)]
    return chain(operation, own(operation, "slice", begin=nothing, end=nothing, strides=strides))


def _argmax(_: str, operation: Operation) -> Chains | None:
    """Read an argmax over the last axis; ``models.endings`` removes it at the end of a model."""
    axis, rank = operation.take("axis", "dimension"), len(operation.shapes[0])
    operation.take("dtype"), operation.take("output_type")
    keepdims = bool(operation.take("keepdims"))
    if operation.constants or axis is None or axis_from_front(axis, rank) != rank - 1:
        return None
    return chain(operation, own(operation, "argmax", keepdims=keepdims))


def _compare(kind: str, operation: Operation) -> Chains | None:
    same_ranks(operation)
    if len(operation.tensors) == 2:
        return chain(operation, own(operation, kind))
    (constant,) = operation.constants
    if not isinstance(constant, _PYTHON_NUMBERS):
        return None
    if isinstance(operation.operands[0], _PYTHON_NUMBERS):  # 0 < x is x > 0
        kind = _MIRRORED.get(kind, kind)
    return chain(operation, own(operation, kind, value=float(constant)))


def _where(_: str, operation: Operation) -> Chains | None:
    operands = [*operation.operands]
    operands += [value for key in ("x1", "x2") if (value := operation.take(key)) is not None]
    same_ranks(operation)
    if len(operands) != 3 or isinstance(operands[0], (*_PYTHON_NUMBERS, list)):
        return None
    settings = {}
    for key, value in zip(("high", "low"), operands[1:], strict=True):
        if isinstance(value, _PYTHON_NUMBERS):
            settings[key] = float(value)
        elif isinstance(value, list):
            return None
    return chain(operation, own(operation, "where", **settings))


SELECTION: dict[str, Reader] = {
    "take": _take,
    "repeat": _repeat,
    "flip": _flip,
    "where": _where,
    "argmax": _argmax,
    **dict.fromkeys(COMPARISONS, _compare),
}
