"""How important each channel is: from its weights, or from what it does on training samples.

A channel has several members: its filter in each layer that computes it, or each tensor in which a layer
reads it. The scores of a member are divided by their mean over the layer, and those of a channel's members
added up (as for the groups of Fang et al., 2023, arXiv:2301.12900). So the mean score of the channels of a
group is the number of its members.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from models.graph import build_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pipeline.compress.channel_couplings import Axis, Labels
    from pipeline.compress.channel_graph import ChannelGraph

    Scores = NDArray[np.float64]
    Loss = Callable[[list[Any], NDArray[np.int64]], Any]

Criterion = Literal["l1", "l2", "bn_scale", "taylor", "activation", "activation_sum"]
ON_SAMPLES = frozenset({"taylor", "activation", "activation_sum"})
_BATCH = 64


class Measured(NamedTuple):
    """What criteria on samples need.

    Attributes:
        inputs: of the model, (n, ...) each.
        loss: of the model's outputs for the samples at some places, as a TensorFlow scalar.
    """

    inputs: list[NDArray[Any]]
    loss: Loss


def scores_of(channels: ChannelGraph, criterion: Criterion, measured: Measured | None = None) -> Scores:
    """Return float64 (channels,): how important each is; NaN for those that the criterion cannot judge.

    Args:
        measured: for a criterion on samples.
    """
    if criterion in ON_SAMPLES:
        assert measured is not None
        members = _on_samples(channels, criterion, measured)
    elif criterion == "bn_scale":
        members = [
            (axis.labels, np.abs(_array(channels, axis))) for axis in channels.axes if axis.role == "scale"
        ]
    else:
        members = [
            (axis.labels, _norms(_array(channels, axis), axis.axis, criterion))
            for axis in channels.axes
            if axis.role == "filter"
        ]
    scores, seen = np.zeros(channels.channels), np.zeros(channels.channels, np.bool_)
    for labels, values in members:
        of_channels, number = np.unique(labels, return_inverse=True)
        sums = np.bincount(number, values, len(of_channels))
        scores[of_channels] += sums / (sums.mean() or 1.0)
        seen[of_channels] = True
    return np.where(seen, scores, np.nan)


def _array(channels: ChannelGraph, axis: Axis) -> NDArray[np.float32]:
    return np.asarray(channels.graph.layers[axis.layer].weights[axis.weight])


def _norms(kernel: NDArray[np.float32], axis: int, criterion: Criterion) -> NDArray[np.float64]:
    """Return the norm of each filter (Li et al., 2017, arXiv:1608.08710)."""
    filters = np.moveaxis(kernel.astype(np.float64), axis, 0).reshape(kernel.shape[axis], -1)
    return np.asarray(np.linalg.norm(filters, ord=1 if criterion == "l1" else 2, axis=1))


def read_tensors(channels: ChannelGraph) -> list[int]:
    """Return the tensors in which layers with a kernel read channels."""
    readers = {axis.layer for axis in channels.axes if axis.role == "input"}
    found = (call.inputs[0] for call in channels.graph.calls if call.layer in readers)
    return [tensor for tensor in dict.fromkeys(found) if channels.graph.calls[tensor].inputs]


def _on_samples(
    channels: ChannelGraph, criterion: Criterion, measured: Measured
) -> list[tuple[Labels, NDArray[np.float64]]]:
    """Sum up over the samples, for each tensor that is read and each place along its last axis.

    - taylor: |sum over positions of activation x gradient| for each channel and sample, the change of the
      loss without the channel to first order (Molchanov et al., 2019, arXiv:1906.10771);
    - activation: |activation|;
    - activation_sum: the activation, of whose sum over all samples the magnitude is taken.
    """
    tensors = read_tensors(channels)
    outputs = channels.graph.outputs
    model = build_model(replace(channels.graph, outputs=(*outputs, *tensors)))
    sums = [np.zeros(len(channels.tensors[tensor])) for tensor in tensors]
    for places in _batches(len(measured.inputs[0])):
        values, gradients = _run(model, places, measured, len(outputs), criterion == "taylor")
        for index, tensor in enumerate(tensors):
            found: NDArray[Any] = values[index]
            positions = tuple(range(1, found.ndim - 1))
            if criterion == "taylor":
                found = _of_channels((found * gradients[index]).sum(axis=positions), channels.tensors[tensor])
            elif criterion == "activation":
                found = np.abs(found).sum(axis=positions)
            else:
                found = found.sum(axis=positions)
            sums[index] += found.sum(axis=0)
    return [(channels.tensors[tensor], np.abs(total)) for tensor, total in zip(tensors, sums, strict=True)]


def _of_channels(products: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    """Add up the places (n, places) of each channel, and return the magnitude at its first place."""
    _, first, number = np.unique(labels, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), len(products)))
    np.add.at(sums, number, products.T)
    result = np.zeros(products.shape)
    result[:, first] = np.abs(sums).T
    return result


def _batches(samples: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, samples, _BATCH):
        yield np.arange(start, min(start + _BATCH, samples))


def _run(
    model: Any, places: NDArray[np.int64], measured: Measured, outputs: int, with_gradients: bool
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return the tensors that are read, and the loss's gradients by them."""
    import tensorflow as tf

    inputs = [tf.convert_to_tensor(each[places]) for each in measured.inputs]
    with tf.GradientTape() as tape:
        found = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
        if not with_gradients:
            return [tensor.numpy() for tensor in found[outputs:]], []
        loss = measured.loss(found[:outputs], places)
    gradients = tape.gradient(loss, found[outputs:], unconnected_gradients="zero")
    return [tensor.numpy() for tensor in found[outputs:]], [each.numpy() for each in gradients]
