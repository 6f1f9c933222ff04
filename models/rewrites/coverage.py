"""Which layers of a prepared model quantization-aware training leaves out, and which stay in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.allowlist import MAX_STEPS
from models.rewrites.recurrent import RECURRENT

if TYPE_CHECKING:
    import tf_keras

# What TF-MOT 0.8's default 8-bit registry refuses, of the layers that models may have after `prepare`.
_POST_TRAINING = "recurrent layers are converted by post-training quantization"
_SCALING = "TF-MOT covers a scaling only after a convolution"
_VOLUME = "TF-MOT knows no three-dimensional convolution"
_UNSUPPORTED = {
    **dict.fromkeys((*RECURRENT, "Bidirectional"), _POST_TRAINING),
    **dict.fromkeys(("Rescaling", "Normalization"), _SCALING),
    **dict.fromkeys(("Attention", "AdditiveAttention", "MultiHeadAttention"), "TF-MOT knows no attention"),
    **dict.fromkeys(("Conv3D", "Conv3DTranspose"), _VOLUME),
    "Embedding": "a table is looked up, not multiplied",
    "TimeDistributed": "TF-MOT does not look inside a wrapper",
}
_NO_CONFIG = "TF-MOT has no quantization scheme for it"
_SUPPORTED = frozenset(
    {
        *("InputLayer", "Activation", "Add", "AveragePooling1D", "AveragePooling2D", "BatchNormalization"),
        *("Concatenate", "Conv2D", "Conv2DTranspose", "Cropping1D", "Cropping2D", "Dense", "DepthwiseConv2D"),
        *("Flatten", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D"),
        *("GlobalMaxPooling2D", "LeakyReLU", "MaxPooling2D", "Permute", "ReLU", "Reshape", "Softmax"),
        *("UpSampling2D", "ZeroPadding1D", "ZeroPadding2D"),
    }
)
_SUPPORTED_ACTIVATIONS = frozenset({"linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "swish", "gelu"})

# What TFLite has no int8 operators for that run, and right, on both runtimes. Measured with TensorFlow 2.21,
# LiteRT 2.3 and tflite-runtime 2.14: docs/explanation/graph-preparation.md.
_ACTIVATIONS_WITHOUT_INT8 = {
    "elu": "TFLite computes ELU in float only",
    "selu": "TFLite's int8 SELU loses everything below 0",
    "softplus": "its int8 form needs a LOG that tflite-runtime 2.14 does not have",
    "mish": "its int8 form needs a LOG that tflite-runtime 2.14 does not have",
    "softsign": "its int8 form needs a DIV that tflite-runtime 2.14 does not have",
}
_WITHOUT_INT8 = {
    "ELU": _ACTIVATIONS_WITHOUT_INT8["elu"],
    "GroupNormalization": "TFLite computes a SQUARE of it in float only",
    "Conv3D": "TFLite computes three-dimensional convolutions in float only",
    "Conv3DTranspose": "TFLite computes three-dimensional convolutions in float only",
}
_NOT_UNROLLED = f"more than {MAX_STEPS} steps, or an open number, are not unrolled"
_LOOP = f"{_NOT_UNROLLED}, and the converter crashes on an int8 loop"
_SECOND = f"{_NOT_UNROLLED}, and int8 is wrong where a model has more than one LSTM operator"


def unsupported_by_qat(model: tf_keras.Model) -> dict[str, str]:
    """Say of each layer that TF-MOT's default scheme does not quantize why not, by the layer's name."""
    found = {}
    for layer in model.layers:
        kind, activation = type(layer).__name__, _activation(layer)
        if kind not in _SUPPORTED:
            found[layer.name] = _UNSUPPORTED.get(kind, _NO_CONFIG)
        elif activation not in _SUPPORTED_ACTIVATIONS:
            found[layer.name] = f"TF-MOT does not know the activation {activation}"
    return found


def without_int8(model: tf_keras.Model) -> dict[str, str]:
    """Say of each layer that TFLite does not compute in int8, or not rightly, why not, by the layer's name.

    Such a model needs float operators. One LSTM that is not unrolled is not among them: it becomes a single
    int8 operator, with a state that lasts until a program resets it.

    Args:
        model: a prepared model.
    """
    found = {}
    whole = [layer for layer in model.layers if not getattr(_recurrent(layer), "unroll", True)]
    is_pair = len(whole) > 1 or any(type(layer).__name__ == "Bidirectional" for layer in whole)
    for layer in model.layers:
        kind, activation = type(layer).__name__, _activation(layer)
        if kind in _WITHOUT_INT8:
            found[layer.name] = _WITHOUT_INT8[kind]
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
    return inner if type(inner).__name__ in RECURRENT else None
