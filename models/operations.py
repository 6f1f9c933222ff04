"""Operations that a functional model applies outside any layer: ``x + y``, ``x / 255``, ``x[:, -1]``.

Keras 3 keeps them as classes of ``keras.src.ops``, tf_keras as ``TFOpLambda`` with a function's name. Each is
read here from its name alone and becomes the layers that stand for it; no function is ever looked up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from models.errors import ModelError
from models.masks import OPERATIONS as MASK_OPERATIONS
from models.nodes import Constant
from models.operation import Operation
from models.operation_layers import READERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.graph import Layer
    from models.nodes import Arguments
    from models.shapes import Shape

_TF_CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"})
_SYNONYMS = {
    "add_v2": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "true_divide": "divide",
    "real_div": "divide",
    "realdiv": "divide",
    "addv2": "add",
    "silu": "swish",
    "hard_swish": "hard_silu",
    "absolute": "abs",
    "neg": "negative",
    "pow": "power",
    "clip_by_value": "clip",
    "concat": "concatenate",
    "concatv2": "concatenate",
    "pad_v2": "pad",
    "normalize": "l2_normalize",
    "amax": "max",
    "amin": "min",
    "swapaxes": "swap_axes",
    "resize_v2": "resize",
    "stop_gradient": "identity",
    "gather": "take",
    "gather_v2": "take",
    "reverse": "flip",
    "reverse_v2": "flip",
    "where_v2": "where",
    "select_v2": "where",
    "arg_max": "argmax",
}
_OPERANDS = ("x", "a", "x1", "y", "b", "x2")
# Settings of every operation that change nothing in what it computes.
_NO_MATTER = frozenset({"name", "trainable", "function", "data_format", "conjugate", "validate_shape"})


_BEST = "end the model at the scores, which training and validation need; predict.py names the best class"
_INSTEAD = {"argmax": _BEST, "argmin": _BEST}


class Chain(NamedTuple):
    """One result of an operation: the tensors it reads, and the layers applied one after another.

    A ``Multiply`` that is not the first multiplies with the first of the tensors.
    """

    tensors: tuple[int, ...]
    steps: tuple[Layer, ...]


def is_operation(config: dict[str, Any]) -> bool:
    """Return whether an entry of a model's layers is such an operation."""
    module, fields, nodes = (config.get(key) for key in ("module", "config", "inbound_nodes"))
    if config.get("class_name") in _TF_CLASSES:
        return True
    if isinstance(module, str):
        return module.startswith("keras.src.ops.")
    # In HDF5, Keras 3 leaves modules out; of what it calls, only a layer has these settings.
    is_call = isinstance(nodes, list) and bool(nodes) and isinstance(nodes[0], dict)
    if not is_call or not isinstance(fields, dict):
        return False
    return not {"trainable", "dtype"} & fields.keys() or config.get("class_name") == "Cast"


def operation_fault(name: str, config: dict[str, Any]) -> str:
    """Return why an operation cannot be read, or nothing."""
    kind = operation_kind(config)
    return "" if kind in READERS or kind in MASK_OPERATIONS else _refusal(name, kind)


def operation_chains(
    name: str, config: dict[str, Any], arguments: Arguments, shapes: Sequence[Shape]
) -> list[Chain]:
    """Return the layers that stand for an operation, one chain for each of its results.

    Args:
        name: the operation's name in the file.
        config: its entry among the model's layers.
        arguments: what it is applied to.
        shapes: of every tensor so far.

    Raises:
        ModelError: no layers do.
    """
    kind = operation_kind(config)
    fields = config.get("config")
    settings = dict(fields) if isinstance(fields, dict) else {}
    if config.get("class_name") in _TF_CLASSES:
        settings.pop("dtype", None)  # argument of the wrapping layer
    positional = list(arguments.positional)
    if config.get("class_name") == "TensorFlowOpLayer":
        settings, positional = _with_constants(settings, positional)
    settings = {key: value for key, value in settings.items() if key not in _NO_MATTER}
    settings |= {key: value for key, value in arguments.keywords.items() if key not in _NO_MATTER}
    operands = [*positional, *(settings.pop(key) for key in _OPERANDS if key in settings)]
    operands = [value.value if isinstance(value, Constant) else value for value in operands]
    safe_name = "".join(letter if letter.isalnum() else "_" for letter in name).strip("_") or "operation"
    operation = Operation(safe_name, operands, settings)
    operation.shapes = [shapes[tensor] for tensor in operation.tensors]
    chains = None
    try:
        if kind in READERS and operation.tensors:
            chains = READERS[kind](kind, operation)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        msg = f"{_refusal(name, kind)} ({error})"
        raise ModelError(msg) from error
    left = sorted(key for key, value in operation.settings.items() if value not in (None, False))
    if chains is None or left:
        details = f" with {', '.join(left)}" if left else ""
        raise ModelError(_refusal(name, kind + details))
    return [Chain(*chain) for chain in chains]


def operation_kind(config: dict[str, Any]) -> str:
    """Return the one name of an operation that both kinds of Keras name in their own ways."""
    name, fields = str(config.get("class_name")), config.get("config")
    if name in {"TFOpLambda", "SlicingOpLambda"}:
        name = str(fields.get("function")) if isinstance(fields, dict) else ""
    elif name == "TensorFlowOpLayer":
        name = str(_node(fields if isinstance(fields, dict) else {}).get("op")).lower()
    else:
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
    name = name.rsplit(".", 1)[-1].removeprefix("reduce_")
    return _SYNONYMS.get(name, name)


def _refusal(name: str, kind: str) -> str:
    instead = _INSTEAD.get(kind, "express it with a built-in Keras layer")
    return f"operation {name!r} ({kind[:80]}) is not supported; {instead}"


def _node(fields: dict[str, Any]) -> dict[str, Any]:
    """Read the node of a TensorFlowOpLayer (TensorFlow 2.0 to 2.3)."""
    node = fields.get("node_def")
    if isinstance(node, str):
        try:
            node = json.loads(node)
        except (ValueError, RecursionError):
            node = {}
    return node if isinstance(node, dict) else {}


def _with_constants(fields: dict[str, Any], tensors: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Put the constants of a TensorFlowOpLayer in their places among its operands."""
    operands = list(tensors)
    constants = fields.get("constants")
    if isinstance(constants, dict):
        for place in sorted(constants):
            operands.insert(int(place), constants[place])
    attributes = _node(fields).get("attr")
    names = set(attributes if isinstance(attributes, dict) else {}) - {"T", "_cloned", "Tidx", "Tshape"}
    return {name: name for name in names}, operands
