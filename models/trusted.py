"""Load a model with Keras's own loaders, which run whatever is in the file: only for ``--trust-model``.

The caller runs this in a confined process (``pipeline.isolation.sandbox``). What comes out is a SavedModel
of one function, which needs nothing of the file's Python any more.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import ModelError
from models.ports import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SAVED = "saved"
_FUNCTION = "serving_default"


@dataclass(frozen=True)
class ExportedModel:
    """Inputs and outputs of a trusted model.

    Attributes:
        inputs: its inputs; the function takes each by its name, with a batch of one.
        outputs: its outputs; activations are known only where Keras loaded it as a graph of layers.
        layers: each layer's name and class; none of a SavedModel without Keras's description.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[tuple[str, str], ...]


def export_trusted(
    path: Path, weights: Path | None, custom_objects: Mapping[str, Any], folder: Path
) -> ExportedModel:
    """Load a model, running its code, and write ``folder/saved`` for the converter.

    Args:
        path: a Keras file, a SavedModel folder, or an architecture in JSON.
        weights: the weights, for an architecture in JSON.
        custom_objects: classes and functions that the file names, of Keras 3 or of tf_keras as the file is.
        folder: where ``saved`` is made; its ``serving_default`` takes float32 or integer tensors of fixed
            shape with a batch of one.

    Raises:
        ModelError: Keras cannot load or call it, or a length of an input is open.
    """
    failures: list[str] = []
    for load in _loaders(path):
        try:
            model = load(path, weights, dict(custom_objects))
            return _export(path, model, folder)
        except ModelError:
            raise
        except Exception as error:  # a model's own code may raise anything
            failures.append(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
            shutil.rmtree(folder / _SAVED, ignore_errors=True)
    hint = "name its own classes with --set model.custom_objects=MODULE:DICT"
    msg = f"{path}: cannot be loaded even when trusted: {failures[0]}; {hint}"
    raise ModelError(msg)


def _loaders(path: Path) -> tuple[Callable[..., Any], ...]:
    """Return the ways to load such a file, the likeliest first."""
    if path.is_dir() and (path / "saved_model.pb").exists():
        return (_with_tf_keras, _as_functions) if _has_keras(path) else (_as_functions,)
    with path.open("rb") as file:
        legacy = file.read(8) == HDF5_MAGIC
    return (_with_tf_keras, _with_keras3) if legacy else (_with_keras3, _with_tf_keras)


def _has_keras(path: Path) -> bool:
    return (path / "keras_metadata.pb").exists()


def _with_keras3(path: Path, weights: Path | None, custom_objects: dict[str, Any]) -> Any:
    import keras

    if weights is None:
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=False)
    keras.config.enable_unsafe_deserialization()
    model = keras.models.model_from_json(path.read_text(encoding="utf-8"), custom_objects)
    model.load_weights(weights)
    return model


def _with_tf_keras(path: Path, weights: Path | None, custom_objects: dict[str, Any]) -> Any:
    import tf_keras

    if weights is None:
        return tf_keras.models.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=False)
    model = tf_keras.models.model_from_json(path.read_text(encoding="utf-8"), custom_objects)
    model.load_weights(weights)
    return model


def _as_functions(path: Path, _: Path | None, __: dict[str, Any]) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(path))


def _export(path: Path, model: Any, folder: Path) -> ExportedModel:
    import tensorflow as tf

    is_functions = not hasattr(model, "layers")
    call, inputs = _of_functions(path, model) if is_functions else _of_keras(path, model)
    for port in inputs:
        if None in port.shape:
            msg = (
                f"{path}: the length of input {port.name!r} {port.shape} is open; "
                "build the model with a fixed input shape"
            )
            raise ModelError(msg)
    names: list[str] = []

    def serve(*tensors: Any) -> dict[str, Any]:
        results = call(dict(zip((port.name for port in inputs), tensors, strict=True)))
        names[:] = results
        return results

    specs = [tf.TensorSpec((1, *port.shape), port.dtype, name=port.name) for port in inputs]
    function = tf.function(serve, autograph=False).get_concrete_function(*specs)
    holder = tf.Module()
    holder.serve = function
    # TensorFlow does not track variables of Keras 3.
    kept = [] if is_functions else [getattr(one, "value", one) for one in model.variables]
    holder.kept = [one for one in kept if isinstance(one, tf.Variable)]
    if len(holder.kept) != len(kept) or is_functions:
        holder.model = model
    tf.saved_model.save(holder, str(folder / _SAVED), signatures={_FUNCTION: function})
    activations = _activations(model)
    if len(activations) != len(names):
        activations = [""] * len(names)
    outputs = []
    for name, activation in zip(names, activations, strict=True):
        result = function.structured_outputs[name]
        outputs.append(Port(name, tuple(result.shape[1:]), result.dtype.name, activation))
    layers = () if is_functions else tuple((layer.name, type(layer).__name__) for layer in model.layers)
    return ExportedModel(inputs, tuple(outputs), layers)


def _activations(model: Any) -> list[str]:
    """Return the activation behind each output, ``""`` if unknown."""
    found = []
    for tensor in getattr(model, "outputs", None) or []:
        layer = tensor._keras_history[0]
        own = "softmax" if type(layer).__name__ == "Softmax" else ""
        found.append(own or str(getattr(getattr(layer, "activation", None), "__name__", "")))
    return found


def _of_keras(path: Path, model: Any) -> tuple[Callable[..., dict[str, Any]], tuple[Port, ...]]:
    """How a Keras model is called with tensors by name, and these."""
    tensors = list(getattr(model, "inputs", None) or [])
    if tensors:
        names = [_plain_name(tensor.name, index) for index, tensor in enumerate(tensors)]
        shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
        dtypes = [getattr(tensor.dtype, "name", str(tensor.dtype)) for tensor in tensors]
    else:
        names, shapes, dtypes = ["input"], [_built_shape(path, model)], ["float32"]
    ports = tuple(Port(*parts) for parts in zip(names, shapes, map(_usual_dtype, dtypes), strict=True))

    def call(given: dict[str, Any]) -> dict[str, Any]:
        values = list(given.values())
        if isinstance(getattr(model, "_inputs_struct", None), dict):
            return _by_name(
                model(dict(zip(sorted(model._inputs_struct), values, strict=True)), training=False)
            )
        return _by_name(model(values[0] if len(values) == 1 else values, training=False))

    return call, ports


def _built_shape(path: Path, model: Any) -> tuple[int | None, ...]:
    """The shape of one sample of a subclassed model, as far as its file remembers what it was called on."""
    shape = None
    config = model.get_build_config() if hasattr(model, "get_build_config") else None
    if isinstance(config, dict):
        shape = config.get("input_shape") or next(iter((config.get("shapes_dict") or {}).values()), None)
    if shape is None:
        saved = getattr(model, "_saved_model_inputs_spec", None)  # tf_keras keeps this in a SavedModel
        shape = getattr(saved, "shape", None)
    if shape is None or not all(length is None or isinstance(length, int) for length in shape):
        msg = f"{path}: does not say what it is called on; call the model once on data before saving it"
        raise ModelError(msg)
    return tuple(shape[1:])


def _of_functions(path: Path, model: Any) -> tuple[Callable[..., dict[str, Any]], tuple[Port, ...]]:
    """How the signature of a plain SavedModel is called, and what it takes."""
    functions = dict(model.signatures)
    if not functions:
        msg = f"{path}: has no signature to call; save it with signatures={{'{_FUNCTION}': ...}}"
        raise ModelError(msg)
    function = functions.get(_FUNCTION) or functions[sorted(functions)[0]]
    _, specs = function.structured_input_signature
    ports = tuple(
        Port(name, tuple(spec.shape[1:]), _usual_dtype(spec.dtype.name))
        for name, spec in sorted(specs.items())
    )
    return lambda given: _by_name(function(**given)), ports


def _by_name(values: Any) -> dict[str, Any]:
    if isinstance(values, dict):
        return {_plain_name(str(key), index): values[key] for index, key in enumerate(sorted(values))}
    values = values if isinstance(values, list | tuple) else [values]
    return {f"output_{index}" if index else "output": value for index, value in enumerate(values)}


def _plain_name(name: str, index: int) -> str:
    """Return a name that a Python argument can have."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in name.partition(":")[0])
    return plain if plain.isidentifier() else f"tensor_{index}"


def _usual_dtype(name: str) -> str:
    return "float32" if name in {"float16", "bfloat16", "float64"} else name
