"""How each kind of Keras writes down what a layer was called on (``inbound_nodes``), read into one form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from models.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

# The bridge refuses training=True where it matters.
_HARMLESS: dict[str, tuple[object, ...]] = {
    "training": (None, False, True),
    "return_attention_scores": (None, False),
    "use_causal_mask": (None, False),
}


class Ref(NamedTuple):
    """A tensor as a file names it: the layer, which of its calls, which of that call's results."""

    layer: str
    node: int
    tensor: int


class Tensor(NamedTuple):
    """A tensor as :class:`models.graph.Graph` names it."""

    place: int


class Constant(NamedTuple):
    """An array among the arguments, as nested lists of numbers."""

    value: Any


@dataclass(frozen=True)
class Arguments:
    """Arguments of a layer call: references or tensors, flattened lists, and constants."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any] = field(default_factory=dict)

    def resolved(self, resolve: Callable[[Ref], int | None]) -> Arguments | None:
        """Replace each reference by its tensor; None if one does not exist yet."""
        complete = True

        def look_up(value: Any) -> Any:
            nonlocal complete
            if isinstance(value, list):
                return [look_up(item) for item in value]
            if not isinstance(value, Ref):
                return value
            index = resolve(value)
            complete = complete and index is not None
            return Tensor(index or 0)

        positional = tuple(look_up(value) for value in self.positional)
        keywords = {key: look_up(value) for key, value in self.keywords.items()}
        return Arguments(positional, keywords) if complete else None

    def for_layer(self, name: str) -> Arguments:
        """Return the same with a mode that follows the input as ``training=``, without what is left out.

        Raises:
            ModelError: something is left out in between, so that what follows may be a mask.
        """
        positional, keywords = list(self.positional), dict(self.keywords)
        last = positional[-1] if len(positional) > 1 else None
        last = last.value if isinstance(last, Constant) else last
        if isinstance(last, bool):
            keywords.setdefault("training", last)
            positional.pop()
        while positional and positional[-1] is None:
            positional.pop()
        if None in positional:
            msg = (
                f"layer {name!r} is called with None before another argument, such as a mask; "
                "pad every sequence to one length, and call the layer on its input alone"
            )
            raise ModelError(msg)
        return Arguments(tuple(positional), keywords)

    def tensors(self, name: str, arguments: tuple[str, ...] = ()) -> tuple[int, ...]:
        """Return the tensors that layer ``name`` is called on; ``arguments`` are the names of its arguments.

        Raises:
            ModelError: it is called with something else as well.
        """
        operands = list(self.positional)
        named = _flat([self.keywords[key] for key in arguments if self.keywords.get(key) is not None])
        for key, value in self.keywords.items():
            if key in arguments or value in _HARMLESS.get(key, (None,)):
                continue
            shown = "another tensor" if isinstance(value, Tensor) else repr(value)[:40]
            msg = f"layer {name!r} is called with {key}={shown}; call it on its input alone"
            raise ModelError(msg)
        operands += named
        if not operands or not all(isinstance(value, Tensor) for value in operands):
            msg = f"layer {name!r} is called on a constant; make it an operation like x + 1 instead"
            raise ModelError(msg)
        return tuple(value.place for value in operands)


def read_node(node: Any, name: str) -> Arguments:
    """Read one call of layer ``name``, as Keras 3 (a dict) or tf_keras (nested lists) wrote it."""
    try:
        if isinstance(node, dict):
            keywords = {key: _keras3_value(value) for key, value in dict(node.get("kwargs") or {}).items()}
            positional = _flat([_numbers(_keras3_value(value)) for value in node["args"]])
            if "inputs" in keywords:
                positional += _flat([keywords.pop("inputs")])
            return Arguments(tuple(positional), keywords)
        items = [node] if isinstance(node[0], str) else list(node)
        keywords = {}
        positional = []
        for item in items:
            if len(item) > 3:
                keywords |= {key: _legacy_value(value) for key, value in dict(item[3]).items()}
            positional.append(Constant(item[2]) if item[0] == "_CONSTANT_VALUE" else _ref(item[:3]))
        return Arguments(tuple(positional), keywords)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"layer {name!r}: damaged inbound_nodes; save the model again"
        raise ModelError(msg) from error


def read_refs(value: Any) -> list[Ref]:
    """Read ``input_layers`` or ``output_layers``: one reference, a list or a dict of them."""
    try:
        if isinstance(value, dict):
            return [ref for key in sorted(value) for ref in read_refs(value[key])]
        if not value:
            return []
        if isinstance(value[0], str):
            return [_ref(value)]
        return [ref for item in value for ref in read_refs(item)]
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        msg = "damaged input_layers or output_layers; save the model again"
        raise ModelError(msg) from error


def _ref(value: Any) -> Ref:
    layer, node, tensor = value
    if not isinstance(layer, str) or int(node) < 0 or int(tensor) < 0:
        raise ValueError(layer)
    return Ref(layer, int(node), int(tensor))


def _keras3_value(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return _ref(value["config"]["keras_history"])
        if value.get("class_name") in {"__numpy__", "__tensor__"}:
            return Constant(value["config"]["value"])
        if value.get("class_name") == "__slice__":
            return _slice(value["config"])
        if value.get("class_name") == "__ellipsis__":
            return Ellipsis
    if isinstance(value, list):
        return [_keras3_value(item) for item in value]
    return value


def _legacy_value(value: Any) -> Any:
    """A tensor among the keyword arguments is ``[name, node, tensor]``."""
    if isinstance(value, dict):
        return Ellipsis if value.get("class_name") == "__ellipsis__" else _slice(value)
    is_ref = isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], str)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_legacy_value(item) for item in value]
    return _ref(value) if is_ref else value


def _slice(fields: Any) -> Any:
    """Read ``start:stop:step``; any other dict stays a dict, which is rejected later."""
    if not isinstance(fields, dict) or not fields.keys() <= {"start", "stop", "step", "class_name"}:
        return fields
    parts = [fields.get(key) for key in ("start", "stop", "step")]
    if any(type(part) not in (int, type(None)) for part in parts):
        raise ValueError(parts)
    return slice(*parts)


def _numbers(value: Any) -> Any:
    """Return a list of nothing but numbers as the one constant that it is."""
    is_list = isinstance(value, list) and bool(value)
    return (
        Constant(value)
        if is_list and all(isinstance(_numbers(item), int | float | Constant) for item in value)
        else value
    )


def _flat(values: list[Any]) -> list[Any]:
    return [leaf for value in values for leaf in (_flat(value) if isinstance(value, list) else [value])]
