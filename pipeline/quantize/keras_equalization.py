"""Cross-layer equalization of a Keras model before quantization-aware training, the function unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

MIN_OCTAVES = 6.0
"""Of 256 steps, a channel that is 64 times smaller than the largest has four."""
MAX_ROUNDS = 50
CONVERGED = 1e-3
"""Largest change of a scale, as a natural logarithm, that ends the iteration."""
_KERNELS = frozenset({"Conv2D", "DepthwiseConv2D", "Dense"})
_PASSING = frozenset(
    {"AveragePooling2D", "Dropout", "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"}
    | {"MaxPooling2D", "ZeroPadding2D"}
)
_RECTIFIERS = frozenset({"linear", "relu"})


class Pair(NamedTuple):
    """Two layers with nothing between them that a positive scale of a channel does not pass through.

    Attributes:
        writer: the layer whose channels are divided: a batch normalization, or a kernel without one.
        output: the layer whose output is the activation between the two.
        reader: the layer whose kernel is multiplied.
    """

    writer: Any
    output: Any
    reader: Any


def find_pairs(model: Any) -> list[Pair]:
    """Return the pairs of layers whose channels can be rescaled, from the inputs to the outputs.

    Between the two are only batch normalization, rectifiers without an upper bound, pooling and padding; each
    output has one reader.

    Args:
        model: a prepared tf_keras model.
    """
    found, outputs = [], {id(tensor) for tensor in model.outputs}
    for layer in model.layers:
        if type(layer).__name__ not in _KERNELS:
            continue
        writer, channels, last = layer, layer.output_shape[-1], layer
        while (after := _only_reader(last, outputs)) is not None:
            kind = type(after).__name__
            if kind in _KERNELS:
                if _takes(after, channels):
                    found.append(Pair(writer, last, after))
                break
            if kind == "BatchNormalization" and last is layer and _activation(layer) == "linear":
                writer = after
            elif not _passes(after):
                break
            last = after
    return [pair for pair in found if _activation(pair.writer) in _RECTIFIERS and _has_scale(pair.writer)]


def _only_reader(layer: Any, outputs: set[int]) -> Any | None:
    if len(layer.inbound_nodes) != 1 or id(layer.output) in outputs or len(layer.outbound_nodes) != 1:
        return None
    after = layer.outbound_nodes[0].outbound_layer
    return after if len(after.inbound_nodes) == 1 else None


def _takes(layer: Any, channels: int) -> bool:
    if getattr(layer, "groups", 1) != 1 and type(layer).__name__ == "Conv2D":
        return False
    return bool(layer.input_shape[-1] % channels == 0)


def _passes(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind == "ReLU":
        return layer.max_value is None and not layer.threshold
    if kind == "Activation":
        return _activation(layer) in _RECTIFIERS
    return kind in _PASSING


def _activation(layer: Any) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", "linear"))


def _has_scale(writer: Any) -> bool:
    """Whether a layer's channels can be divided: a normalization needs a factor and an offset."""
    return type(writer).__name__ != "BatchNormalization" or bool(writer.scale and writer.center)


def equalize(model: Any, batches: Iterable[Any]) -> float:
    """Give the channels between two layers similar ranges, in place; the model computes the same.

    As ``repairs/equalization.py`` does with a float file (Nagel et al. 2019, arXiv:1906.04721, section 4.1):
    a channel is divided by ``sqrt(r1 / r2)``. ``r1`` is its magnitude, as a share of that of the largest
    channel. ``r2`` is the largest weight that reads it, as a share of the largest weight with the same scale:
    TF-MOT has one for each output channel of a convolution, and one for all of a depthwise or dense layer.

    Args:
        model: a prepared tf_keras model.
        batches: samples, as the model takes them.

    Returns:
        The largest scale of a channel against another of the same layer, as a power of two; 0 without pairs.
    """
    import tf_keras

    pairs = find_pairs(model)
    if not pairs:
        return 0.0
    probe = tf_keras.Model(model.inputs, [pair.output.output for pair in pairs])
    channels = [pair.writer.output_shape[-1] for pair in pairs]
    reached = [np.zeros(count) for count in channels]
    for batch in batches:
        seen = probe.predict_on_batch(batch)
        for place, values in enumerate([seen] if len(pairs) == 1 else seen):
            reached[place] = reached[place] + _magnitudes(values, channels[place])
    total = [np.ones(count) for count in channels]
    for _ in range(MAX_ROUNDS):
        largest = 0.0
        for place, pair in enumerate(pairs):
            scales = _scales(reached[place], pair.reader)
            largest = max(largest, float(np.abs(np.log(scales)).max()))
            reached[place] = reached[place] / scales
            total[place] = total[place] * scales
            rescale(pair, scales)
        if largest < CONVERGED:
            break
    return max(float(np.log2(scales.max() / scales.min())) for scales in total)


def rescale(pair: Pair, scales: NDArray[np.float64]) -> None:
    """Divide the channels between two layers (channels,), in place; the model computes the same."""
    _divide_outputs(pair.writer, scales)
    _multiply_inputs(pair.reader, scales)


def equalize_uneven(model: Any, batches: Iterable[Any]) -> float:
    """Equalize a model in place if its channels differ by ``MIN_OCTAVES``, and leave it as it is otherwise.

    Training adapts weights to smaller differences by itself, and measured no better after an equalization.

    Args:
        model: a prepared tf_keras model.
        batches: samples, as the model takes them.

    Returns:
        As ``equalize``; 0 if the model was left as it is.
    """
    given = model.get_weights()
    if (octaves := equalize(model, batches)) >= MIN_OCTAVES:
        return octaves
    model.set_weights(given)
    return 0.0


def _magnitudes(values: NDArray[Any], channels: int) -> NDArray[np.float64]:
    """Return the largest absolute value of each channel in a sample, as a mean over samples (channels,)."""
    largest = np.abs(values).reshape(len(values), -1, channels).max(axis=1)
    return np.asarray(largest.mean(axis=0), np.float64)


def _scales(reached: NDArray[np.float64], reader: Any) -> NDArray[np.float64]:
    kernel, kind = np.abs(_kernel(reader).numpy()), type(reader).__name__
    if kind == "DepthwiseConv2D":
        channels = kernel.max(axis=(0, 1, 3))
        read = (channels / max(channels.max(), np.finfo(np.float32).tiny)).astype(np.float64)
    else:
        flat = kernel.reshape(-1, kernel.shape[-1])
        most = flat.max(axis=0) if kind == "Conv2D" else np.full(flat.shape[-1], flat.max())
        shares = np.divide(flat, most, where=most > 0, out=np.zeros_like(flat))
        read = shares.reshape(-1, len(reached), kernel.shape[-1]).max(axis=(0, 2)).astype(np.float64)
    written = reached / np.maximum(reached.max(), np.finfo(np.float64).tiny)
    alive = (written > 0) & (read > 0)
    scales: NDArray[np.float64] = np.sqrt(np.divide(written, read, where=alive, out=np.ones_like(written)))
    return scales


def _kernel(layer: Any) -> Any:
    return layer.depthwise_kernel if type(layer).__name__ == "DepthwiseConv2D" else layer.kernel


def _divide_outputs(writer: Any, scales: NDArray[np.float64]) -> None:
    for variable, factor in _of_outputs(writer, 1 / scales):
        variable.assign(variable.numpy() * factor)


def _of_outputs(writer: Any, exact: NDArray[np.float64]) -> Iterator[tuple[Any, NDArray[np.float32]]]:
    factors: NDArray[np.float32] = exact.astype(np.float32)
    if type(writer).__name__ == "BatchNormalization":
        yield writer.gamma, factors
        yield writer.beta, factors
        return
    kernel = _kernel(writer)
    depthwise = type(writer).__name__ == "DepthwiseConv2D"
    yield kernel, factors.reshape(kernel.shape[-2:]) if depthwise else factors
    if writer.use_bias:
        yield writer.bias, factors


def _multiply_inputs(reader: Any, scales: NDArray[np.float64]) -> None:
    kernel = _kernel(reader)
    repeats = kernel.shape[-2] // len(scales)
    kernel.assign(kernel.numpy() * np.tile(scales, repeats).astype(np.float32)[:, None])
