"""The channels of a model in groups: each group is made and read by the same layers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.shape_inference import infer_shapes
from pipeline.compress.channel_couplings import Axis, Couplings
from pipeline.compress.channel_rules import Applied, hand_on, width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from models.graph import Graph
    from models.shapes import Shape
    from pipeline.compress.channel_couplings import Labels

INPUTS = "they are inputs of the model"
OUTPUTS = "they are outputs of the model"


@dataclass(frozen=True)
class Group:
    """Channels that lie along the same axes.

    Attributes:
        channels: int64 (n,), each an index into all channels of the model.
        layers: those that compute them, in order.
        lengths: how many places each of them has along an axis, by the axis's index.
        kept: why none may be removed; "" if they may.
    """

    channels: Labels
    layers: tuple[str, ...]
    lengths: dict[int, int]
    kept: str = ""


@dataclass(frozen=True)
class ChannelGraph:
    """Which places of which arrays belong to one channel.

    Attributes:
        graph: the model, its layers with their arrays.
        shapes: of each tensor, the batch first.
        axes: all axes of arrays along which channels lie; their labels are channels.
        tensors: the channels along the last axis of each tensor.
        groups: all channels that layers compute, in groups.
        channels: how many channels the model has.
    """

    graph: Graph
    shapes: tuple[Shape, ...]
    axes: tuple[Axis, ...]
    tensors: tuple[Labels, ...]
    groups: tuple[Group, ...]
    channels: int

    @classmethod
    def of(cls, graph: Graph) -> ChannelGraph:
        """Read a model, whose channels lie along the last axis."""
        to, shapes = Couplings(), infer_shapes(graph)
        tensors: list[Labels] = []
        for index, call in enumerate(graph.calls):
            layer = graph.layers[call.layer]
            if layer.kind == "InputLayer":
                tensors.append(to.fresh(width(shapes[index])))
                to.keep(tensors[-1], INPUTS)
                continue
            inputs = [tensors[tensor] for tensor in call.inputs]
            given = [shapes[tensor] for tensor in call.inputs]
            tensors.append(hand_on(Applied(to, layer, inputs, given, shapes[index])))
        for index in graph.outputs:
            to.keep(tensors[index], OUTPUTS)
        every = np.unique(to.roots(np.concatenate([*tensors, *(axis.labels for axis in to.axes.values())])))
        axes = tuple(
            axis._replace(labels=np.searchsorted(every, to.roots(axis.labels))) for axis in to.axes.values()
        )
        found = tuple(np.searchsorted(every, to.roots(labels)) for labels in tensors)
        kept: dict[int, str] = {}
        for label, reason in to.kept.items():
            root = to.roots(np.array([label], np.int64))
            kept.setdefault(int(np.searchsorted(every, root)[0]), reason)
        return cls(graph, tuple(shapes), axes, found, tuple(_groups(axes, kept)), len(every))

    @property
    def kept(self) -> dict[str, str]:
        """Why a layer keeps all channels that it computes, by its name."""
        free = {name for group in self.groups for name in group.layers if not group.kept}
        kept = {name: group.kept for group in self.groups for name in group.layers if group.kept}
        return {name: reason for name, reason in kept.items() if name not in free}

    def widths(self, removed: NDArray[np.bool_]) -> list[int]:
        """Return how long the last axis of each tensor is without the channels that ``removed`` marks."""
        return [int(np.count_nonzero(~removed[channels])) for channels in self.tensors]


def _groups(axes: tuple[Axis, ...], kept: dict[int, str]) -> Iterator[Group]:
    """Put channels together that lie along the same axes and are kept for the same reason."""
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, axis in enumerate(axes):
        for channel, count in zip(*np.unique(axis.labels, return_counts=True), strict=True):
            places[int(channel)].append((index, int(count)))
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for channel in sorted(places):
        alike[tuple(places[channel]), kept.get(channel, "")].append(channel)
    for (lengths, reason), channels in alike.items():
        assert isinstance(lengths, tuple)
        assert isinstance(reason, str)
        layers = dict.fromkeys(axes[index].layer for index, _ in lengths if axes[index].role == "filter")
        yield Group(np.array(channels, np.int64), tuple(layers), dict(lengths), reason)
