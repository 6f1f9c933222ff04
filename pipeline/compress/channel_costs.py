"""What a model costs by how many channels are left: bytes of kernels, instructions on a device."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.compress.channel_budget import Cost, terms
from pipeline.costing.work import Depthwise, Kernel, Pass, Product, convolution_variant, dense_variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.graph import Call, Layer
    from pipeline.compress.channel_budget import Counts
    from pipeline.compress.channel_couplings import Labels
    from pipeline.compress.channel_graph import ChannelGraph
    from pipeline.costing.predict import CostTable

PASSES = {
    "Add": "ADD",
    "Subtract": "SUB",
    "Multiply": "MUL",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
    "Concatenate": "CONCATENATION",
    "MaxPooling2D": "MAX_POOL_2D",
    "AveragePooling2D": "AVERAGE_POOL_2D",
    "GlobalAveragePooling2D": "MEAN",
    "ZeroPadding2D": "PAD",
}
"""The operators of layers without kernels; of other ones, most are part of the operator before them."""
ACTIVATIONS = {"sigmoid": "LOGISTIC", "tanh": "TANH", "hard_swish": "HARD_SWISH"}
DTYPE = "int8"


class Width(NamedTuple):
    """The length of an axis.

    Attributes:
        fixed: places that no removal takes.
        groups: places for each channel of a group.
    """

    fixed: int
    groups: dict[int, int]

    def of(self, counts: Counts) -> int:
        return self.fixed + sum(places * int(counts[group]) for group, places in self.groups.items())


@dataclass(frozen=True)
class OperatorTerm:
    """The instructions of one operator.

    Attributes:
        widths: those that its work depends on.
        kernel: returns the kernel for their lengths.
        table: of the device.
    """

    widths: tuple[Width, ...]
    kernel: Callable[[tuple[int, ...]], Kernel]
    table: CostTable
    _known: dict[tuple[int, ...], float] = field(default_factory=dict)

    @property
    def groups(self) -> frozenset[int]:
        return frozenset(group for width in self.widths for group in width.groups)

    def of(self, counts: Counts) -> float:
        lengths = tuple(width.of(counts) for width in self.widths)
        if lengths not in self._known:
            kernel = self.kernel(lengths)
            known = self.table.kernels.get(kernel.name)
            self._known[lengths] = 0.0 if known is None else known.of(kernel)
        return self._known[lengths]


def bytes_cost(channels: ChannelGraph) -> Cost:
    """Return the cost in bytes of the kernels in int8, one for each weight."""
    return Cost(channels, terms(channels, lambda layer, positions: 1))


def instructions_cost(channels: ChannelGraph, table: CostTable) -> Cost:
    """Return the instructions of the operators that layers become in int8, as a table predicts them.

    The call itself and operators that the converter adds are not part of it.
    """
    return Cost(channels, list(_operators(channels, table)))


def _operators(channels: ChannelGraph, table: CostTable) -> Iterator[OperatorTerm]:
    widths = _Widths(channels)
    for index, call in enumerate(channels.graph.calls):
        layer = channels.graph.layers[call.layer]
        if not call.inputs or call.result:
            continue
        found = _with_kernel(widths, layer, channels.shapes[index])
        found = found or _passing(channels, widths, layer, call, index)
        if found is not None:
            yield OperatorTerm(*found, table)


class _Widths:
    """The lengths of axes of arrays, and of the last axes of tensors."""

    def __init__(self, channels: ChannelGraph) -> None:
        self._channels = channels
        self._axes = {(axis.layer, axis.weight, axis.axis): axis.labels for axis in channels.axes}
        self._group = np.full(channels.channels, -1)
        for number, group in enumerate(channels.groups):
            self._group[group.channels] = number

    def of_axis(self, layer: Layer, axis: int) -> Width:
        """Return an axis of a layer's first array."""
        labels = self._axes.get((layer.name, 0, axis))
        return Width(layer.weights[0].shape[axis], {}) if labels is None else self._of(labels)

    def of_tensor(self, tensor: int) -> Width:
        return self._of(self._channels.tensors[tensor])

    def _of(self, labels: Labels) -> Width:
        """Return the width of places; a channel of a group may have several."""
        places = defaultdict[int, int](int)
        for group in self._group[labels]:
            places[int(group)] += 1
        fixed = places.pop(-1, 0)
        sizes = {group: len(self._channels.groups[group].channels) for group in places}
        return Width(fixed, {group: count // sizes[group] for group, count in places.items()})


Found = tuple[tuple[Width, ...], "Callable[[tuple[int, ...]], Kernel]"]


def _with_kernel(widths: _Widths, layer: Layer, after: tuple[int | None, ...]) -> Found | None:
    """Return the operator of a convolution or a dense layer."""
    if layer.kind not in {"Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "Dense"}:
        return None
    shape, config = layer.weights[0].shape, layer.config
    rows = math.prod(length or 1 for length in after[1:-1])
    taps = math.prod(shape[:2]) if len(shape) == 4 else 1
    stride = max(_pair(config.get("strides") or 1))
    if layer.kind == "DepthwiseConv2D":

        def depthwise(lengths: tuple[int, ...]) -> Kernel:
            work = Depthwise(rows, shape[3] * lengths[0], taps)
            return Kernel(_named("DEPTHWISE_CONV_2D", work.variant), work)

        return (widths.of_axis(layer, 2),), depthwise
    if layer.kind == "Conv2DTranspose":
        taps = math.ceil(taps / stride**2)
    places = (-1, -2) if layer.kind == "Conv2DTranspose" else (-2, -1)
    axes = tuple(widths.of_axis(layer, len(shape) + place) for place in places)

    def product(lengths: tuple[int, ...]) -> Kernel:
        work = Product(rows, lengths[1], lengths[0], taps)
        name, variant = "CONV_2D", convolution_variant(work, is_strided=stride > 1)
        if layer.kind == "Dense":
            name, variant = "FULLY_CONNECTED", dense_variant(work)
        if layer.kind == "Conv2DTranspose":
            name, variant = "TRANSPOSE_CONV", ""
        return Kernel(_named(name, variant), work)

    return axes, product


def _passing(channels: ChannelGraph, widths: _Widths, layer: Layer, call: Call, index: int) -> Found | None:
    """Return the operator of a layer that goes through elements."""
    name = PASSES.get(layer.kind) or ACTIVATIONS.get(str(layer.config.get("activation", "")))
    if name is None or (layer.weights and layer.kind not in PASSES):
        return None
    tensors = (index, *call.inputs)
    positions = [math.prod(length or 1 for length in channels.shapes[each][1:-1]) for each in tensors]
    taps = math.prod(_pair(layer.config.get("pool_size") or 1))

    def passing(lengths: tuple[int, ...]) -> Kernel:
        sizes = [rows * length for rows, length in zip(positions, lengths, strict=True)]
        is_binary = len(sizes) == 3 and sizes[1] != sizes[2] and name != "CONCATENATION"
        rows = max(positions)
        work = Pass(sizes[0], sum(sizes[1:]), rows, len(sizes), taps)
        return Kernel(_named(name, "broadcast" if is_binary else ""), work)

    return tuple(map(widths.of_tensor, tensors)), passing


def _named(operator: str, variant: str) -> str:
    return " ".join(filter(None, (operator, variant, DTYPE)))


def _pair(value: int | list[int] | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
