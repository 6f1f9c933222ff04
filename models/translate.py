"""One layer's configuration: checked against the allowlist, reduced to it, put in tf_keras's words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.allowlist import (
    ACTIVATION_SYNONYMS,
    ACTIVATIONS,
    CLASS_SYNONYMS,
    DO_NOTHING,
    MODELS,
    REASONS,
)
from models.errors import ModelError
from models.graph import Layer
from models.layer_rules import LAYERS
from models.layers import OWN_LAYERS
from models.operation_layers import hard_sigmoid_layers
from models.operations import is_operation, operation_fault
from models.settings import USUAL, refuse_unread, takes_any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.configuration import Config

    Arrays = tuple[NDArray[np.generic], ...]

_KERAS_MODULES = frozenset({"keras", "tf_keras"})
_ACTIVATION_KEYS = ("activation", "recurrent_activation")
_ACTIVATION_LAYERS = frozenset({"Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"})
# Keras 3's formulas that tf_keras means otherwise (its hard_sigmoid is 0.2 x + 0.5) or does not have.
_SPELLED_OUT = frozenset({"hard_sigmoid", "hard_silu"})
_INSTEAD = (
    "rebuild that part from built-in layers, or build with --trust-model and --set model.custom_objects, "
    "which quantizes after training only"
)
_CUDNN = frozenset({"CuDNNLSTM", "CuDNNGRU"})
_CELLS = frozenset({"LSTMCell", "GRUCell", "SimpleRNNCell"})
_LISTED = ", ".join(sorted(ACTIVATIONS))


def class_of(config: Any, name: str) -> str:
    """Return the class of a layer's entry in a model's configuration.

    Raises:
        ModelError: it is not supported; the message says why and what to do instead.
    """
    kind = config.get("class_name") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        msg = f"layer {name!r}: damaged configuration; save the model again"
        raise ModelError(msg)
    kind = CLASS_SYNONYMS.get(kind, kind)
    module = str(config.get("module") or "keras")
    fields = config.get("config")
    dtype = fields.get("dtype") if isinstance(fields, dict) else None
    if isinstance(dtype, dict) and str(dtype.get("class_name")).startswith("Quantized"):
        reason = "its weights are quantized already; save the model before model.quantize()"
    elif kind in REASONS:
        reason = REASONS[kind]
    elif is_operation(config):
        fault = operation_fault(name, config)
        if fault:
            raise ModelError(fault)
        return kind
    elif kind in OWN_LAYERS and config.get("module") in (None, "models.layers"):
        return kind
    elif module.split(".")[0] not in _KERAS_MODULES:
        reason = f"it is not of Keras but of {module[:80]!r}, which is never imported; {_INSTEAD}"
    elif kind not in OWN_LAYERS and (kind in LAYERS or kind in DO_NOTHING or kind in MODELS):
        return kind
    else:
        reason = f"it is not among the supported layers; {_INSTEAD}"
    msg = f"layer {name!r} ({kind[:80]}): {reason}"
    raise ModelError(msg)


def weight_flags(name: str, kind: str, fields: Config) -> tuple[bool, ...]:
    """Return whether each array of a layer is trainable, in the order of ``layer.weights``."""
    kind, fields = known_form(name, kind, fields)
    rule = LAYERS[kind]
    refuse_unread(name, kind, fields, rule.config)
    if kind == "SpectralNormalization":
        return (*weight_flags(name, *_inner(name, fields.get("layer"))), False)
    if rule.wraps:
        inner_kind, inner_fields = _inner(name, fields.get("layer"))
        return weight_flags(name, inner_kind, inner_fields) * (2 if kind == "Bidirectional" else 1)
    adapted = {"adapted": fields.get("mean") is None}
    kept = (w for w in rule.weights if w.given_if is None or (fields | adapted).get(w.given_if, True))
    return tuple(weight.trainable for weight in kept)


def read_layer(name: str, kind: str, fields: Config, arrays: Arrays, is_keras3: bool) -> Layer:
    """Return the layer in tf_keras's words.

    Args:
        name: the layer's name.
        kind: its class, from :func:`class_of`.
        fields: its configuration.
        arrays: its weights.
        is_keras3: whether Keras 3 wrote it.

    Raises:
        ModelError: a setting is not supported.
    """
    if kind in _CUDNN and len(arrays) == 3:
        arrays = _from_cudnn(kind, arrays)
    kind, fields = known_form(name, kind, fields)
    if kind == "LayerScale":
        kernel = arrays[0].reshape(1, 1, -1, 1)
        return Layer(name, "DepthwiseConv2D", {"kernel_size": 1, "use_bias": False}, (kernel,))
    rule = LAYERS[kind]
    refuse_unread(name, kind, fields, rule.config)
    config: Config = {}
    for key in rule.config:
        if key not in fields:
            continue
        value = fields[key]
        if key == "return_state" and rule.states:
            config[key] = bool(value)
        elif key == "stateful" or (key in USUAL and not takes_any(kind, key, rule.config)):
            continue  # it is as usual, or noted by dropped_settings
        elif key in _ACTIVATION_KEYS:
            config[key] = _built_in_activation(name, kind, value, is_keras3)
        else:
            config[key] = _plain(name, kind, key, value)
    if rule.wraps:
        return _wrapper(name, kind, config, fields, arrays, is_keras3)
    if kind == "Masking":
        return Layer(name, "Activation", {"activation": "linear"})
    if kind == "Embedding":
        config.pop("mask_zero", None)  # the reader refuses it where a later layer would look at the mask
    if "negative_slope" in config and kind == "LeakyReLU":
        config["alpha"] = config.pop("negative_slope")
    if kind == "Normalization" and arrays:
        config |= {"mean": arrays[0].tolist(), "variance": arrays[1].tolist()}
        arrays = ()
    return Layer(name, kind, config, arrays)


def states_of(layer: Layer) -> range:
    """Return the numbers of the results of a recurrent layer that are its last states."""
    inner, both = layer.inner or layer, 2 if layer.kind == "Bidirectional" else 1
    count = LAYERS[inner.kind].states * both if inner.config.get("return_state") else 0
    return range(1, 1 + count)


def without_spectral_norm(name: str, kind: str, fields: Config, arrays: Arrays) -> tuple[str, Config, Arrays]:
    """Return the layer inside a SpectralNormalization; its kernel is stored as inference uses it.

    The wrapper's own array, the last one, serves training only. Any other layer comes back as it is.
    """
    if kind != "SpectralNormalization":
        return kind, fields, arrays
    return *_inner(name, fields.get("layer")), arrays[:-1]


def known_form(name: str, kind: str, fields: Config) -> tuple[str, Config]:
    """Return the class and configuration that mean the same: ``RNN(LSTMCell(8))`` is ``LSTM(8)``.

    Raises:
        ModelError: an RNN's cell is not one of Keras's three.
    """
    if kind == "GRU":
        return kind, {"reset_after": False, **fields}  # Keras before 2.1.3 had no other and did not say so
    if kind in _CUDNN:
        return kind.removeprefix("CuDNN"), _cudnn_fields(kind, fields)
    if kind != "RNN":
        return kind, fields
    cell = fields.get("cell")
    cell_kind = str(cell.get("class_name")) if isinstance(cell, dict) else ""
    inner = cell.get("config") if isinstance(cell, dict) else None
    if cell_kind not in _CELLS or not isinstance(inner, dict):
        msg = (
            f"layer {name!r} (RNN): its cell {cell_kind[:80]!r} is not supported; "
            "use LSTM, GRU or SimpleRNN, one layer for each cell"
        )
        raise ModelError(msg)
    refuse_unread(name, "RNN", fields, LAYERS["RNN"].config)
    own = {key: fields[key] for key in LAYERS["RNN"].config if key in fields}
    return cell_kind.removesuffix("Cell"), inner | own


def _cudnn_fields(kind: str, fields: Config) -> Config:
    """Return the configuration of a GPU-only layer, with the settings that it omits."""
    fixed = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    return {**fields, **fixed} | ({"reset_after": True} if kind == "CuDNNGRU" else {})


def _from_cudnn(kind: str, arrays: Arrays) -> Arrays:
    """Lay out the arrays of a CuDNN layer as those of the layer that computes the same.

    Each gate's matrices are transposed there, and the biases of the input and of the state apart.
    """
    import numpy as np

    gates = 4 if kind == "CuDNNLSTM" else 3
    kernel, recurrent, bias = arrays
    kernel = np.hstack([part.T.reshape(part.shape, order="F") for part in np.hsplit(kernel, gates)])
    recurrent = np.hstack([part.T for part in np.hsplit(recurrent, gates)])
    both = bias.reshape(2, -1)
    return kernel, recurrent, both.sum(axis=0, dtype=both.dtype) if gates == 4 else both


def activation_layers(name: str, kind: str, fields: Config, is_keras3: bool) -> tuple[Layer, ...]:
    """Return the layers that follow because the activation is a layer itself or has to be spelled out.

    Each is applied to the result of the one before it; one that merges, to the result of the layer ``name``
    and to that of the one before it.
    """
    value = fields.get("activation") if "activation" in LAYERS[kind].config else None
    if isinstance(value, dict) and value.get("class_name") in _ACTIVATION_LAYERS:
        inner_kind, inner_fields = _inner(name, value)
        after = f"{name}_activation"
        return (
            read_layer(after, inner_kind, inner_fields, (), is_keras3),
            *activation_layers(after, inner_kind, inner_fields, is_keras3),
        )
    spelled = _activation_name(value)
    if not is_keras3 or spelled not in _SPELLED_OUT:
        return ()
    steps = hard_sigmoid_layers(lambda kind, **config: Layer(name, kind, config))
    gate = [
        replace(step, name=f"{name}_{suffix}")
        for step, suffix in zip(steps, ("shift", "clip", "scale"), strict=True)
    ]
    return tuple(gate) if spelled == "hard_sigmoid" else (*gate, Layer(f"{name}_gate", "Multiply"))


def _wrapper(name: str, kind: str, config: Config, fields: Config, arrays: Arrays, is_keras3: bool) -> Layer:
    inner_kind, inner_fields = _inner(name, fields.get("layer"))
    inner_name = str(inner_fields.get("name") or f"{name}_inner")
    inner = read_layer(inner_name, inner_kind, inner_fields, (), is_keras3)
    if activation_layers(name, inner_kind, inner_fields, is_keras3) and "activation" in inner.config:
        msg = f"layer {name!r} ({kind}): an activation that is a layer is not supported inside; put it after"
        raise ModelError(msg)
    if kind == "TimeDistributed" and inner.config.get("return_state"):
        msg = f"layer {name!r} ({kind}): {inner_kind} inside with return_state=True; export it without"
        raise ModelError(msg)
    stored_kind = str(fields["layer"]["class_name"])
    if stored_kind in _CUDNN:
        each = [arrays[start : start + 3] for start in range(0, len(arrays), 3)]
        arrays = tuple(array for own in each for array in _from_cudnn(stored_kind, own))
    backward = None
    if kind == "Bidirectional":
        if config.get("merge_mode", "concat") is None:
            msg = f"layer {name!r} ({kind}): two separate results are not supported; set merge_mode"
            raise ModelError(msg)
        if inner_kind not in {"LSTM", "GRU", "SimpleRNN"}:
            msg = f"layer {name!r} ({kind}): {inner_kind} inside is not supported; use LSTM, GRU or SimpleRNN"
            raise ModelError(msg)
        backward_kind, backward_fields = _inner(name, fields.get("backward_layer") or fields.get("layer"))
        backward = read_layer(f"backward_{inner.name}", backward_kind, backward_fields, (), is_keras3)
        if not fields.get("backward_layer"):
            backward.config["go_backwards"] = not backward.config.get("go_backwards", False)
    return Layer(name, kind, config, arrays, inner, backward)


def _inner(name: str, value: Any) -> tuple[str, Config]:
    kind = class_of(value, name)
    if kind not in LAYERS or LAYERS[kind].wraps or LAYERS[kind].merges or kind == "InputLayer":
        msg = f"layer {name!r}: {kind} inside another layer is not supported; apply it as a layer of its own"
        raise ModelError(msg)
    fields = value.get("config")
    if not isinstance(fields, dict):
        msg = f"layer {name!r}: damaged configuration; save the model again"
        raise ModelError(msg)
    return known_form(name, kind, fields)


def _activation_name(value: Any) -> str | None:
    if value is None:
        return "linear"
    if isinstance(value, dict):  # a function: {"class_name": "function", "config": its name}
        value = value.get("config")
    return ACTIVATION_SYNONYMS.get(value, value) if isinstance(value, str) else None


def _built_in_activation(name: str, kind: str, value: Any, is_keras3: bool) -> str:
    """Return the activation for tf_keras; linear where :func:`activation_layers` gives layers instead."""
    if isinstance(value, dict) and value.get("class_name") in _ACTIVATION_LAYERS:
        return "linear"
    activation = _activation_name(value)
    recurrent = "recurrent_activation" in LAYERS[kind].config or kind == "SimpleRNN"
    if is_keras3 and activation in _SPELLED_OUT and not recurrent:
        return "linear"
    if activation not in ACTIVATIONS or (is_keras3 and activation in _SPELLED_OUT):
        shown = activation or (value.get("class_name") if isinstance(value, dict) else value)
        why = "is code that is not in the file" if shown == "<lambda>" else "is not supported"
        msg = f"layer {name!r} ({kind}): activation {str(shown)[:80]!r} {why}; use one of {_LISTED}"
        raise ModelError(msg)
    return str(activation)


def _plain(name: str, kind: str, key: str, value: Any) -> Any:
    """Return ``value`` if it is made of numbers, strings, None and lists only."""
    if isinstance(value, dict) and value.get("class_name") in {"__numpy__", "__tensor__"}:
        value = value["config"]["value"] if isinstance(value.get("config"), dict) else None
    if isinstance(value, dict) and value.keys() == {"type", "value"}:  # an array, of Keras 2.0 to 2.3
        value = value["value"]
    if isinstance(value, list | tuple):
        return [_plain(name, kind, key, item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = f"layer {name!r} ({kind}): {key} is not a plain value; save the model again"
    raise ModelError(msg)
