"""Cross-layer equalization: give the channels of an activation similar ranges, the function unchanged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.flatbuffer import layout, read_tflite
from pipeline.flatbuffer.edit import Weights, with_weights
from pipeline.quantize.activations import observe
from pipeline.quantize.repairs.kernels import Kernel, find_kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Operator, TfliteModel
    from pipeline.samples import Samples

MAX_ROUNDS = 50
CONVERGED = 1e-3
"""Largest change of a scale, as a natural logarithm, that ends the iteration."""

_KEEP_CHANNELS = frozenset(
    {
        "AVERAGE_POOL_2D",
        "BATCH_TO_SPACE_ND",
        "LEAKY_RELU",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PAD",
        "PRELU",
        "RELU",
    }
    | {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_BATCH_ND"}
)
_RESHAPES = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
_REDUCTIONS = frozenset({"MEAN", "REDUCE_MAX", "SUM"})
_LINEAR = frozenset({"NONE", "RELU"})


class Pair(NamedTuple):
    """Two kernels with nothing between them that a positive scale of a channel does not pass through.

    Attributes:
        first: index of the operator that writes the channels.
        second: index of the one that reads them.
    """

    first: int
    second: int


def find_pairs(model: TfliteModel) -> list[Pair]:
    """Return the pairs of kernels whose channels can be rescaled, in order of execution.

    The first one has ReLU or no activation function. Between the two are only pooling, padding with zeros,
    reshapes that keep the channels last, and rectifiers without an upper bound; each tensor has one reader
    and is no output of the model. ReLU6 would need other bounds after a rescaling.
    """
    kernels = find_kernels(model)
    readers: dict[int, list[Operator]] = {}
    for operator in model.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    found = []
    for index, kernel in kernels.items():
        operator, channels = kernel.operator, len(kernel.bias)
        while _activation(operator) in _LINEAR and operator.outputs[0] not in model.subgraphs[0].outputs:
            reading = readers.get(operator.outputs[0], [])
            if len(reading) != 1:
                break
            source, operator = operator.outputs[0], reading[0]
            if operator.index in kernels:
                second = kernels[operator.index]
                if operator.inputs[0] == source and _takes(second, channels):
                    found.append(Pair(index, operator.index))
                break
            if operator.inputs[0] != source or not _passes(model, operator, channels):
                break
    return found


def equalize(content: bytes, magnitudes: Mapping[int, NDArray[np.float64]]) -> bytes:
    """Return a float file that computes the same function from channels with more similar ranges.

    As in cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1), channel ``i`` of a
    pair of layers is divided by ``s_i = sqrt(r1_i r2_i) / r2_i`` in the first layer, in its weights and its
    bias, and multiplied by it in the weights of the second one, in turn for all pairs until nothing changes.
    The ranges ``r1`` and ``r2`` differ from the paper's, because int8 weights have a scale for each output
    channel here, and activations have one for all channels:

    - ``r1_i`` is the magnitude of the activation's channel (``channel_magnitudes``), as a share of that of
      the largest channel; the range of the first layer's weights does not matter.
    - ``r2_i`` is the largest magnitude of the second layer's weights that read the channel, each as a share
      of the largest weight of its output channel. In a depthwise convolution it is 1.

    A channel that is always zero, or that nothing reads, is left as it is.

    Args:
        content: the file.
        magnitudes: of each channel of an activation, (channels,), by the tensor's index; for the output of
            each pair's first kernel.
    """
    model = read_tflite(content)
    kernels, pairs = find_kernels(model), find_pairs(model)
    reached = {pair: magnitudes[kernels[pair.first].operator.outputs[0]].astype(np.float64) for pair in pairs}
    for _ in range(MAX_ROUNDS):
        largest = 0.0
        for pair in pairs:
            scales = _scales(reached[pair], kernels[pair.second])
            largest = max(largest, float(np.abs(np.log(scales)).max()))
            reached[pair] = reached[pair] / scales
            kernels[pair.first] = _with_outputs_scaled(kernels[pair.first], 1 / scales)
            kernels[pair.second] = _with_inputs_scaled(kernels[pair.second], scales)
        if largest < CONVERGED:
            break
    changed = {index for pair in pairs for index in pair}
    return with_weights(
        content, {index: Weights(kernels[index].weights, kernels[index].bias) for index in changed}
    )


def channel_magnitudes(content: bytes, samples: Samples) -> dict[int, NDArray[np.float64]]:
    """Return the largest absolute value that each channel has in a sample, as a mean over samples.

    Single outliers have less weight in it than in the largest value of all samples.

    Returns:
        (channels,) by the tensor's index, for the output of the first kernel of each pair.
    """
    model = read_tflite(content)
    wanted = {model.operators[pair.first].outputs[0] for pair in find_pairs(model)}
    sums: dict[int, NDArray[np.float64]] = {}
    for activations in observe(content, samples):
        for tensor in wanted:
            values = np.abs(activations[tensor])
            by_sample = values.reshape(len(values), -1, values.shape[-1]).max(axis=1)
            sums[tensor] = sums.get(tensor, 0.0) + by_sample.sum(axis=0, dtype=np.float64)
    return {tensor: total / len(samples) for tensor, total in sums.items()}


def _scales(reached: NDArray[np.float64], second: Kernel) -> NDArray[np.float64]:
    """Return what to divide each channel by, (channels,); see ``equalize``."""
    matrix = np.abs(second.matrix())
    rows = matrix.max(axis=-1, keepdims=True)
    shares = second.weights_of(np.divide(matrix, rows, where=rows > 0, out=np.zeros_like(matrix)))
    read = _by_input(second, shares, len(reached)).max(axis=1)
    written = reached / np.maximum(reached.max(), np.finfo(np.float64).tiny)
    alive = (written > 0) & (read > 0)
    scales: NDArray[np.float64] = np.sqrt(np.divide(written, read, where=alive, out=np.ones_like(written)))
    return scales


def _by_input(kernel: Kernel, weights: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return the weights that read each channel, (channels, weights).

    In front of a dense layer, a reshape may have merged the channels with other dimensions, channels last.
    """
    if kernel.is_depthwise:
        return (
            weights.reshape(-1, channels, weights.shape[-1] // channels)
            .transpose(1, 0, 2)
            .reshape(channels, -1)
        )
    return weights.reshape(-1, channels).T


def _with_outputs_scaled(kernel: Kernel, scales: NDArray[np.float64]) -> Kernel:
    matrix = kernel.matrix() * scales.reshape(kernel.groups, -1, 1)
    return replace(kernel, weights=kernel.weights_of(matrix), bias=(kernel.bias * scales).astype(np.float32))


def _with_inputs_scaled(kernel: Kernel, scales: NDArray[np.float64]) -> Kernel:
    repeats = kernel.weights.shape[-1] // len(scales)
    along = np.repeat(scales, repeats) if kernel.is_depthwise else np.tile(scales, repeats)
    return replace(kernel, weights=(kernel.weights * along).astype(np.float32))


def _takes(kernel: Kernel, channels: int) -> bool:
    """Whether the last axis of the kernel's input has the channels, one after the other and over again."""
    if kernel.is_depthwise:
        return kernel.in_channels == channels
    return kernel.groups == 1 and kernel.weights.shape[-1] % channels == 0


def _activation(operator: Operator) -> str:
    number = operator.options.get("FusedActivationFunction", 0)
    return layout.names("ActivationFunctionType")[number]


def _passes(model: TfliteModel, operator: Operator, channels: int) -> bool:
    """Whether scaling a channel of the operator's input by a positive number scales its output alike."""
    source, output = (model.tensors[each[0]] for each in (operator.inputs, operator.outputs))
    if operator.name in _RESHAPES:
        return bool(output.shape) and output.shape[-1] % channels == 0
    if operator.name in _REDUCTIONS:
        axes = model.tensors[operator.inputs[1]]
        return axes.is_readable and not np.isin(model.constant(axes), (-1, len(source.shape) - 1)).any()
    if operator.name in {"PAD", "MIRROR_PAD"}:
        amounts = model.tensors[operator.inputs[1]]
        return amounts.is_readable and not model.constant(amounts)[-1].any()
    return operator.name in _KEEP_CHANNELS
