"""One call of an operation outside any layer, and what its readers build layers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.graph import Layer
from models.nodes import Tensor

if TYPE_CHECKING:
    from models.shapes import Shape


@dataclass
class Operation:
    """One call of an operation.

    Attributes:
        name: usable as a layer's name.
        operands: tensors, and constants as numbers or lists of them.
        settings: its other arguments; each reader uses those that it supports.
        shapes: of the tensors among the operands.
    """

    name: str
    operands: list[Any]
    settings: dict[str, Any]
    shapes: list[Shape] = field(default_factory=list)

    @property
    def tensors(self) -> tuple[int, ...]:
        return tuple(value.place for value in self.operands if isinstance(value, Tensor))

    @property
    def constants(self) -> list[Any]:
        return [value for value in self.operands if not isinstance(value, Tensor)]

    def take(self, *keys: str, default: Any = None) -> Any:
        """Remove and return a setting, which is known under several names."""
        found = [self.settings.pop(key) for key in keys if key in self.settings]
        return next((value for value in found if value is not None), default)

    def layer(self, kind: str, **config: Any) -> Layer:
        return Layer(self.name, kind, config)


Chains = list[tuple[tuple[int, ...], tuple[Layer, ...]]]
"""For each result of an operation, the tensors that it reads and the layers applied one after another."""
Reader = Callable[[str, Operation], Chains | None]
"""Given an operation's name, returns the layers that stand for it, or None if no layers do."""


def chain(operation: Operation, *steps: Layer) -> Chains:
    """Return an operation's only result."""
    return [(operation.tensors, steps)]


def own(operation: Operation, function: str, **settings: Any) -> Layer:
    """Return the layer ``Operation`` that applies one of ``models.layers.FUNCTIONS``."""
    return operation.layer("Operation", function=function, **settings)


def axis_from_front(value: Any, rank: int) -> int:
    """Return an axis counted from the front.

    Raises:
        ValueError: there is no such axis.
    """
    axis = int(value)
    if not -rank <= axis < rank:
        msg = f"axis {axis} of {rank}"
        raise ValueError(msg)
    return axis % rank


def same_ranks(operation: Operation) -> None:
    """Check that no tensor's batch is lined up with another axis of the other.

    Raises:
        ValueError: it is.
    """
    ranks = sorted({len(shape) for shape in operation.shapes})
    if len(ranks) > 1:
        msg = (
            f"tensors of ranks {' and '.join(map(str, ranks))}, which lines up the samples of one with an "
            "axis of the other; put a Reshape or expand_dims before it, or use the layer Multiply or Add"
        )
        raise ValueError(msg)
