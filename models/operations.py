"""Operations that a functional model applies outside any layer: ``x + y``, ``x / 255``, ``relu(x)``.

Keras 3 keeps them as classes of ``keras.src.ops``, tf_keras as ``TFOpLambda`` with a function's name. The few
that a layer can stand for become that layer; no function is ever looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.errors import ModelError
from models.graph import Layer
from models.nodes import Tensor

if TYPE_CHECKING:
    from models.nodes import Arguments

_MERGES = {"add": "Add", "subtract": "Subtract", "multiply": "Multiply"}
_ACTIVATIONS = frozenset({"relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "swish"})
_SYNONYMS = {
    "add_v2": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "true_divide": "divide",
    "silu": "swish",
}


def is_operation(config: dict[str, Any]) -> bool:
    """Say whether an entry of a model's layers is such an operation."""
    module, fields, nodes = (config.get(key) for key in ("module", "config", "inbound_nodes"))
    if config.get("class_name") == "TFOpLambda":
        return True
    if isinstance(module, str):
        return module.startswith("keras.src.ops.")
    # In HDF5, Keras 3 leaves modules out; of what it calls, only a layer has these settings.
    is_call = isinstance(nodes, list) and bool(nodes) and isinstance(nodes[0], dict)
    return is_call and isinstance(fields, dict) and not {"trainable", "dtype"} & fields.keys()


def operation_layer(name: str, config: dict[str, Any], arguments: Arguments) -> tuple[Layer, tuple[int, ...]]:
    """Return the layer that stands for an operation, and the tensors it reads.

    Raises:
        ModelError: no layer does.
    """
    operation = _operation_name(config)
    named = {key: value for key, value in arguments.keywords.items() if key != "name" and value is not None}
    operands = [*arguments.positional, *(named.pop(key) for key in ("x", "y", "x1", "x2") if key in named)]
    tensors = tuple(value.place for value in operands if isinstance(value, Tensor))
    constants = [value for value in operands if not isinstance(value, Tensor)]
    named = {key: value for key, value in named.items() if value not in (-1, False)}
    safe_name = "".join(letter if letter.isalnum() else "_" for letter in name).strip("_") or "operation"
    if not named and not constants:
        if operation in _MERGES and len(tensors) == 2:
            return Layer(safe_name, _MERGES[operation]), tensors
        if operation in _ACTIVATIONS and len(tensors) == 1:
            return Layer(safe_name, "Activation", {"activation": operation}), tensors
    if not named and len(tensors) == len(constants) == 1 and isinstance(constants[0], int | float):
        first = isinstance(operands[0], Tensor)
        affine = _affine(operation, float(constants[0]), tensor_first=first)
        if affine is not None:
            return Layer(safe_name, "Rescaling", {"scale": affine[0], "offset": affine[1]}), tensors
    msg = f"operation {name!r} ({operation}) is not supported; express it with a built-in Keras layer"
    raise ModelError(msg)


def _operation_name(config: dict[str, Any]) -> str:
    name = str(config.get("class_name"))
    if name == "TFOpLambda":
        fields = config.get("config")
        name = str(fields.get("function")) if isinstance(fields, dict) else ""
    else:
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
    name = name.rsplit(".", 1)[-1]
    return _SYNONYMS.get(name, name)


def _affine(operation: str, constant: float, *, tensor_first: bool) -> tuple[float, float] | None:
    """Return scale and offset of an operation between a tensor and a constant, or None."""
    if operation == "add":
        return 1.0, constant
    if operation == "multiply":
        return constant, 0.0
    if operation == "subtract":
        return (1.0, -constant) if tensor_first else (-1.0, constant)
    if operation == "divide" and tensor_first and constant != 0:
        return 1.0 / constant, 0.0
    return None
