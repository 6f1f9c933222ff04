"""Prepare a model for pruning and quantization-aware training: the same function, in layers TF-MOT covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ModelError
from models.graph import Graph, build_model
from models.keras3 import read_graph
from models.rewrites.covering import cover_rectifiers, cover_scalings
from models.rewrites.exponential import spell_exponentials
from models.rewrites.folding import fold_scalings
from models.rewrites.local import normalise_layers
from models.rewrites.recurrent import unroll_recurrent
from models.rewrites.sequences import lift_sequences

if TYPE_CHECKING:
    import tf_keras
    from numpy.typing import NDArray

    from models.rewrites.edit import Rewrite

    Arrays = list[NDArray[Any]]

TOLERANCE = 1e-5  # of the outputs, relative to the largest of them where that is above 1
_PASSES = (
    *(normalise_layers, spell_exponentials, unroll_recurrent, lift_sequences),
    *(fold_scalings, cover_scalings, cover_rectifiers),
)
_PROBES = 4  # random samples on which the outputs are compared
_OPEN_LENGTH = 32  # what stands for an open dimension then

# What TF-MOT 0.8's default 8-bit registry refuses, of the layers that models may have after `prepare`.
_UNSUPPORTED = {
    "LSTM": "recurrent layers are converted by post-training quantization",
    "GRU": "recurrent layers are converted by post-training quantization",
    "SimpleRNN": "recurrent layers are converted by post-training quantization",
    "Bidirectional": "recurrent layers are converted by post-training quantization",
    "Embedding": "a table is looked up, not multiplied",
    "TimeDistributed": "TF-MOT does not look inside a wrapper",
}
_NO_CONFIG = "TF-MOT has no quantization scheme for it"
_SUPPORTED = frozenset(
    {
        *("InputLayer", "Activation", "Add", "AveragePooling1D", "AveragePooling2D", "BatchNormalization"),
        *("Concatenate", "Conv2D", "Conv2DTranspose", "Cropping1D", "Cropping2D", "Dense", "DepthwiseConv2D"),
        *("Dropout", "Flatten", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D"),
        *("GlobalMaxPooling2D", "LeakyReLU", "MaxPooling2D", "Permute", "ReLU", "Reshape", "Softmax"),
        *("SpatialDropout1D", "SpatialDropout2D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D"),
    }
)
_SUPPORTED_ACTIVATIONS = frozenset({"linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "swish", "gelu"})


def prepare(model: tf_keras.Model) -> tuple[tf_keras.Model, list[Rewrite]]:
    """Return a new model that computes the same and of which TF-MOT covers as much as it can.

    The given model is not touched (TF-MOT shares the layers it wraps). Layers that matter in training only,
    Dropout among them, go: what they widen would be quantized.

    Args:
        model: a functional or Sequential tf_keras model.

    Returns:
        The model, and what was rewritten in it.

    Raises:
        ModelError: the outputs would differ by more than ``TOLERANCE``.
    """
    graph = graph_of(model)
    rewrites: list[Rewrite] = []
    for rewrite_graph in _PASSES:
        graph, done = rewrite_graph(graph)
        rewrites += done
    prepared = build_model(graph)
    _check_equal(model, prepared)
    return prepared, rewrites


def graph_of(model: tf_keras.Model) -> Graph:
    """Return a tf_keras model as plain data, nested models laid out flat.

    Raises:
        ModelError: it holds a layer that is not supported.
    """
    weights: dict[tuple[str, ...], tuple[NDArray[Any], ...]] = {}

    def collect(part: Any, place: tuple[str, ...]) -> None:
        for layer in part.layers:
            here = (*place, layer.name)
            if hasattr(layer, "layers"):
                collect(layer, here)
            else:
                weights[here] = tuple(layer.get_weights())

    collect(model, ())
    kind = "Sequential" if type(model).__name__ == "Sequential" else "Functional"
    return read_graph({"class_name": kind, "config": model.get_config()}, weights, is_keras3=False)


def unsupported_by_qat(model: tf_keras.Model) -> dict[str, str]:
    """Say of each layer that TF-MOT's default scheme does not quantize why not, by the layer's name."""
    found = {}
    for layer in model.layers:
        kind = type(layer).__name__
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if kind not in _SUPPORTED:
            found[layer.name] = _UNSUPPORTED.get(kind, _NO_CONFIG)
        elif activation not in _SUPPORTED_ACTIVATIONS:
            found[layer.name] = f"TF-MOT does not know the activation {activation}"
    return found


def _check_equal(model: tf_keras.Model, prepared: tf_keras.Model) -> None:
    samples = random_inputs(model, _PROBES)
    expected, got = (_outputs(candidate, samples) for candidate in (model, prepared))
    for before, after in zip(expected, got, strict=True):
        allowed = TOLERANCE * max(1.0, float(np.abs(before).max()))
        difference = float(np.abs(before - after).max())
        if not difference <= allowed:
            msg = (
                f"model {model.name!r}: preparing it would change its outputs by {difference:.1e}, "
                f"more than {allowed:.1e}; please report the model's layers"
            )
            raise ModelError(msg)


def random_inputs(model: tf_keras.Model, count: int) -> Arrays:
    """Return ``count`` random samples for each input: 0..1, or integers that every table of the model has."""
    rng = np.random.default_rng(0)
    rows = [layer.input_dim for layer in model.layers if type(layer).__name__ == "Embedding"]
    samples: Arrays = []
    for tensor in model.inputs:
        shape = (count, *(length or _OPEN_LENGTH for length in tensor.shape[1:]))
        if tensor.dtype.is_floating:
            samples.append(rng.random(shape, np.float32))
        else:
            samples.append(rng.integers(0, min([*rows, 128]), shape).astype(tensor.dtype.as_numpy_dtype))
    return samples


def _outputs(model: tf_keras.Model, samples: Arrays) -> Arrays:
    inputs = [
        sample.astype(tensor.dtype.as_numpy_dtype)
        for sample, tensor in zip(samples, model.inputs, strict=True)
    ]
    values = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
    return [np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])]
