"""How many channels each layer loses: the cost of a model by its shapes, and a choice within a budget."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from pipeline.costing.macs import kernels, positions_of, uses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from models.graph import Layer
    from pipeline.compress.channel_graph import ChannelGraph, Group
    from pipeline.costing.macs import Positions

    Counts = NDArray[np.int64]

SMALLEST_SHARE = 1e-12


class Term(NamedTuple):
    """The multiply-accumulates of one kernel: a factor times the lengths of the axes with channels.

    Attributes:
        factor: positions or steps that the kernel is applied to, times the lengths of its other axes.
        axes: for each axis how many places a channel of each group has along it.
    """

    factor: int
    axes: tuple[dict[int, int], ...]

    @property
    def groups(self) -> frozenset[int]:
        return frozenset(group for axis in self.axes for group in axis)

    def of(self, counts: Counts) -> int:
        return self.factor * math.prod(
            sum(places * int(counts[group]) for group, places in axis.items()) for axis in self.axes
        )


class Priced(Protocol):
    """A part of a cost that depends on how many channels some groups have."""

    @property
    def groups(self) -> frozenset[int]:
        """Those that it depends on."""

    def of(self, counts: Counts) -> float:
        """Return what it costs."""


class Cost:
    """What a model costs as a function of how many channels each group has.

    By default the multiply-accumulates of one inference, those of convolutions, dense and recurrent layers;
    an activation or a merge has none.
    """

    def __init__(self, channels: ChannelGraph, terms_of: Sequence[Priced] | None = None) -> None:
        self.terms = terms(channels, uses) if terms_of is None else terms_of
        self._of_group: dict[int, list[Priced]] = defaultdict(list)
        for term in self.terms:
            for group in term.groups:
                self._of_group[group].append(term)

    def of(self, counts: Counts) -> float:
        """Return the cost; ``counts`` is int64 (groups,)."""
        return sum(term.of(counts) for term in self.terms)

    def saved(self, counts: Counts, group: int, left: int) -> float:
        """Return what the model costs less when only ``left`` channels of one group are left."""
        fewer = counts.copy()
        fewer[group] = left
        return sum(term.of(counts) - term.of(fewer) for term in self._of_group[group])


def terms(channels: ChannelGraph, often: Callable[[Layer, Positions], int]) -> list[Term]:
    """Return the kernels of a model, each weight counted as often as a function of its layer says."""
    axes: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, axis in enumerate(channels.axes):
        axes[axis.layer, axis.weight].append(number)
    groups: dict[int, dict[int, int]] = defaultdict(dict)
    for number, group in enumerate(channels.groups):
        for axis_number, places in group.lengths.items():
            groups[axis_number][number] = places
    found = []
    for name, positions in positions_of(channels.graph, channels.shapes).items():
        layer = channels.graph.layers[name]
        for weight in kernels(layer):
            shape = list(layer.weights[weight].shape)
            for number in axes[name, weight]:
                shape[channels.axes[number].axis] = 1
            factor = often(layer, positions) * math.prod(shape)
            found.append(Term(factor, tuple(groups[number] for number in axes[name, weight])))
    return found


class Choice(NamedTuple):
    """Which channels go.

    Attributes:
        removed: bool (channels,).
        cost: before and after, in multiply-accumulates if nothing else is said.
    """

    removed: NDArray[np.bool_]
    cost: tuple[float, float]


def full_counts(channels: ChannelGraph) -> Counts:
    """Return the number of channels of each group."""
    return np.array([len(group.channels) for group in channels.groups], np.int64)


def within_budget(
    channels: ChannelGraph,
    scores: NDArray[np.float64],
    budget: float,
    multiple: int,
    cost: Cost | None = None,
) -> Choice:
    """Remove channels until the model costs at most ``budget``, if that is possible.

    A layer can do what its channels do together, and the next one builds on it: so the product of the shares
    of importance that the groups keep is to stay high, each counted as often as the group has members. Each
    time, the block is removed whose logarithm of the share falls least for what it saves.

    Args:
        scores: float64 (channels,), at least 0; their mean over a group is the number of its members.
        multiple: the size of the blocks.
        cost: what the budget is of; by default multiply-accumulates.
    """
    cost, counts = cost or Cost(channels), full_counts(channels)
    before = left = cost.of(counts)
    ladders = {
        number: _Ladder(group, scores, multiple)
        for number, group in enumerate(channels.groups)
        if not group.kept
    }

    def entry(number: int) -> tuple[float, int] | None:
        ladder = ladders[number]
        if ladder.next is None:
            return None
        return ladder.loss() / max(cost.saved(counts, number, ladder.next), 1), number

    done: list[tuple[int, int, int]] = []
    heap = [found for number in ladders if (found := entry(number)) is not None]
    heapq.heapify(heap)
    while heap and left > budget:
        _, number = heapq.heappop(heap)
        now = entry(number)
        assert now is not None
        if heap and now > heap[0]:  # what it saves has become less since it was put there
            heapq.heappush(heap, now)
            continue
        ladder = ladders[number]
        assert ladder.next is not None
        left -= cost.saved(counts, number, ladder.next)
        done.append((number, int(counts[number]), ladder.next))
        counts[number] = ladder.left = ladder.next
        if (again := entry(number)) is not None:
            heapq.heappush(heap, again)
    _put_back(counts, done, cost, budget - left)
    return Choice(_marked(channels, scores, counts), (before, cost.of(counts)))


def _put_back(counts: Counts, done: list[tuple[int, int, int]], cost: Cost, room: float) -> None:
    """Undo removals, the last ones first, for which there is room after a large block went."""
    for number, full, fewer in reversed(done):
        if counts[number] == fewer:
            counts[number] = full
            needed = cost.saved(counts, number, fewer)
            if needed > room:
                counts[number] = fewer
            else:
                room -= needed


def with_counts(
    channels: ChannelGraph, scores: NDArray[np.float64], wanted: list[float], multiple: int
) -> Choice:
    """Keep at least ``wanted`` channels of each group: the next multiple of ``multiple``, or all."""
    counts, cost = full_counts(channels), Cost(channels)
    before = cost.of(counts)
    for number, (group, least) in enumerate(zip(channels.groups, wanted, strict=True)):
        if not group.kept:
            rounded = multiple * max(math.ceil(least / multiple - SMALLEST_SHARE), 1)
            counts[number] = min(rounded, len(group.channels))
    return Choice(_marked(channels, scores, counts), (before, cost.of(counts)))


class _Ladder:
    """The channels of a group in the order in which they go.

    Attributes:
        left: how many are left.
    """

    def __init__(self, group: Group, scores: NDArray[np.float64], multiple: int) -> None:
        ordered = np.sort(scores[group.channels])[::-1]
        shares = np.cumsum(ordered if ordered.any() else np.ones(len(ordered)))
        self._kept = np.maximum(shares / shares[-1], SMALLEST_SHARE)
        self._members = float(ordered.mean())
        self._multiple, self.left = multiple, len(ordered)

    @property
    def next(self) -> int | None:
        """How many are left after the next block; None if no more can go."""
        fewer = (self.left - 1) // self._multiple * self._multiple
        return fewer if fewer >= self._multiple else None

    def loss(self) -> float:
        """Return how much the logarithm of the kept share of importance falls, times the members."""
        assert self.next is not None
        return self._members * float(np.log(self._kept[self.left - 1] / self._kept[self.next - 1]))


def _marked(channels: ChannelGraph, scores: NDArray[np.float64], counts: Counts) -> NDArray[np.bool_]:
    """Mark the channels of each group beyond its count, those with the lowest scores."""
    removed = np.zeros(channels.channels, np.bool_)
    for group, count in zip(channels.groups, counts, strict=True):
        order = np.argsort(-scores[group.channels], kind="stable")
        removed[group.channels[order[count:]]] = True
    return removed
