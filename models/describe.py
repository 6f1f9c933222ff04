"""Describe the inputs and outputs of a model from its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.layer_rules import rule_of
from models.ports import Port

if TYPE_CHECKING:
    import tf_keras


def input_ports(model: tf_keras.Model) -> tuple[Port, ...]:
    """Return the model's inputs in its order; the shape is of one sample, None an open length.

    Integers are indices if they index a table, and else numbers.
    """
    tables = table_rows(model)
    return tuple(
        Port(name, tuple(tensor.shape[1:]), tensor.dtype.name)
        if name in tables or tensor.dtype.is_floating
        else Port(name, tuple(tensor.shape[1:]), integers=True)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    )


def table_rows(model: tf_keras.Model) -> dict[str, int]:
    """Return the number of rows of the smallest table that each input indexes, by the input's name."""
    found: dict[str, int] = {}
    for table in model.layers:
        if type(table).__name__ != "Embedding":
            continue
        waiting, seen = [table], set()
        while waiting:
            layer = waiting.pop()
            if layer.name in seen:
                continue
            seen.add(layer.name)
            if type(layer).__name__ == "InputLayer":
                found[layer.name] = min(found.get(layer.name, table.input_dim), table.input_dim)
            waiting += [parent.layer for node in layer.inbound_nodes for parent in node.parent_nodes]
    return found


def output_ports(model: tf_keras.Model) -> tuple[Port, ...]:
    """Return the model's outputs in its order, each with the activation of the layer that gives it.

    Names are the layers' names; where one layer gives several outputs the later ones end in ``_1``, ``_2``.
    """
    ports: list[Port] = []
    taken: set[str] = set()
    for tensor in model.outputs:
        first = name = _history(tensor).layer.name
        count = 0
        while name in taken:
            count += 1
            name = f"{first}_{count}"
        taken.add(name)
        ports.append(Port(name, tuple(tensor.shape[1:]), tensor.dtype.name, _activation(tensor)))
    return tuple(ports)


def _activation(tensor: Any) -> str:
    """Return what was applied last to a tensor, or ``""``."""
    layer = _history(tensor).layer
    kind = type(layer).__name__
    if kind == "TimeDistributed":
        layer = layer.layer
        kind = type(layer).__name__
    rule = rule_of(kind)
    if rule.is_activation:
        return rule.is_activation
    before = layer.inbound_nodes[_history(tensor).node_index].keras_inputs if layer.inbound_nodes else []
    if kind == "Concatenate":
        found = {_activation(part) for part in before}
        return found.pop() if len(found) == 1 else ""
    if rule.keeps_range and before:
        return _activation(before[0])
    if rule.recurrent or not hasattr(layer, "activation"):
        return ""
    name = str(getattr(layer.activation, "__name__", ""))
    return _activation(before[0]) or name if kind == "Activation" and name == "linear" else name


def _history(tensor: Any) -> Any:
    return tensor._keras_history
