"""Which layers of a prepared model quantization-aware training leaves out, and which stay in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.layer_rules import ELU_IN_FLOAT, MAX_STEPS, rule_of

if TYPE_CHECKING:
    import tf_keras

    from models.layer_rules import LayerRule

_SUPPORTED_ACTIVATIONS = frozenset({"linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "swish", "gelu"})

# Activations without int8 operators that work correctly on both runtimes. Measured with TensorFlow 2.21,
# LiteRT 2.3 and tflite-runtime 2.14: docs/explanation/graph-preparation.md.
_ACTIVATIONS_WITHOUT_INT8 = {
    "elu": ELU_IN_FLOAT,
    "selu": "TFLite's int8 SELU loses everything below 0",
    "softplus": "its int8 form needs a LOG that tflite-runtime 2.14 does not have",
    "mish": "its int8 form needs a LOG that tflite-runtime 2.14 does not have",
    "softsign": "its int8 form needs a DIV that tflite-runtime 2.14 does not have",
}
_NOT_UNROLLED = f"more than {MAX_STEPS} steps, or an open number, are not unrolled"
_LOOP = f"{_NOT_UNROLLED}, and the converter crashes on an int8 loop"
_SECOND = f"{_NOT_UNROLLED}, and int8 is wrong where a model has more than one LSTM operator"


def unsupported_by_qat(model: tf_keras.Model) -> dict[str, str]:
    """Return the layers that TF-MOT's default scheme does not quantize, by name with the reason."""
    found = {}
    for layer in model.layers:
        activation = _activation(layer)
        if reason := _rule(layer).not_in_qat:
            found[layer.name] = reason
        elif activation not in _SUPPORTED_ACTIVATIONS:
            found[layer.name] = f"TF-MOT does not know the activation {activation}"
    return found


def without_int8(model: tf_keras.Model) -> dict[str, str]:
    """Return the layers that TFLite does not compute correctly in int8, by name with the reason.

    Such a model needs float operators. One LSTM that is not unrolled is not among them: it becomes a single
    int8 operator, with a state that lasts until a program resets it.

    Args:
        model: a prepared model.
    """
    found = {}
    whole = [layer for layer in model.layers if not getattr(_recurrent(layer), "unroll", True)]
    is_pair = len(whole) > 1 or any(type(layer).__name__ == "Bidirectional" for layer in whole)
    for layer in model.layers:
        activation = _activation(layer)
        if reason := _rule(layer).not_in_int8:
            found[layer.name] = reason
        elif layer in whole and type(_recurrent(layer)).__name__ != "LSTM":
            found[layer.name] = _LOOP
        elif layer in whole and is_pair:
            found[layer.name] = _SECOND
        elif activation in _ACTIVATIONS_WITHOUT_INT8:
            found[layer.name] = _ACTIVATIONS_WITHOUT_INT8[activation]
    return found


def _activation(layer: Any) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", "linear"))


def _recurrent(layer: Any) -> Any:
    """Return the recurrent layer that ``layer`` is or is around, or None."""
    inner = getattr(layer, "layer", layer)
    return inner if _rule(inner).states else None


def _rule(layer: Any) -> LayerRule:
    return rule_of(type(layer).__name__)
