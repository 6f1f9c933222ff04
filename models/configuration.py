"""Read a model's configuration, whichever version of Keras wrote it."""

from __future__ import annotations

from typing import Any

from models.allowlist import MODELS
from models.errors import ModelError

Config = dict[str, Any]


def input_of(config: Config) -> tuple[str, Config]:
    """Return the name and configuration of a Sequential's input, wherever its writer kept them.

    Raises:
        ModelError: the model was saved before it knew its input.
    """
    fields, layers = fields_of(config), layers_of(config)
    built = config.get("build_config")
    shapes = [fields.get("build_input_shape"), built.get("input_shape") if isinstance(built, dict) else None]
    if layers:
        first = fields_of(layers[0])
        if kind_of(layers[0]) == "InputLayer":
            return name_of(layers[0]), first
        if kind_of(layers[0]) == "Sequential":
            return input_of(layers[0])
        if kind_of(layers[0]) in MODELS:
            for layer in layers_of(layers[0]):
                if kind_of(layer) == "InputLayer":
                    return name_of(layer), fields_of(layer)
        shapes = [first.get("batch_input_shape"), *shapes]
    shape = next((shape for shape in shapes if shape), None)
    if shape is None:
        msg = "the Sequential model was never built; call it once or give it an Input, then save it"
        raise ModelError(msg)
    return "input", {"batch_shape": shape, "dtype": "float32"}


def starts_with_input(config: Config) -> bool:
    """Return whether this is a nested model whose own first call tf_keras counts, so that uses begin at 1."""
    layers = layers_of(config) if kind_of(config) in MODELS else []
    return bool(layers) and kind_of(layers[0]) == "InputLayer"


def model_inside(config: Config) -> Config | None:
    """Return the entry of the model that a TimeDistributed applies to each step; None of any other layer."""
    inner = fields_of(config).get("layer") if kind_of(config) == "TimeDistributed" else None
    return inner if isinstance(inner, dict) and kind_of(inner) in MODELS else None


def is_dimension(value: Any) -> bool:
    return value is None or (type(value) is int and 0 < value < 1 << 31)


def dtype_of(value: Any) -> str:
    """Return an input's dtype; reduced and doubled precision are read as float32."""
    if isinstance(value, dict):
        value = fields_of(value).get("name")
    name = str(value or "float32")
    is_float = name in {"float16", "bfloat16", "float64"} or name.startswith("mixed_")
    return "float32" if is_float else name


def kind_of(config: Any) -> str:
    return str(config.get("class_name")) if isinstance(config, dict) else ""


def name_of(config: Config) -> str:
    name = config.get("name") or fields_of(config).get("name")
    if not isinstance(name, str):
        msg = "a layer has no name; save the model again"
        raise ModelError(msg)
    return name


def fields_of(config: Any) -> Config:
    fields = config.get("config") if isinstance(config, dict) else None
    if isinstance(fields, list):  # a Sequential of Keras before 2.2.3
        return {"layers": fields}
    if not isinstance(fields, dict):
        msg = "damaged configuration; save the model again"
        raise ModelError(msg)
    return fields


def layers_of(config: Config) -> list[Config]:
    layers = fields_of(config).get("layers")
    if not isinstance(layers, list):
        msg = "damaged configuration: no list of layers; save the model again"
        raise ModelError(msg)
    return layers
