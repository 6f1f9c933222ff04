"""Which channels of a model have to be removed together: labels on the axes of its weights.

Each channel of each tensor has a label. Layers hand labels on, or make new ones for what they compute; two
labels are coupled where an operation needs both channels or neither (the "dependency graph" of Fang et al.,
2023, arXiv:2301.12900, with one label for a channel in place of one node for a layer).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Labels = np.ndarray[tuple[int], np.dtype[np.int64]]
Role = Literal["filter", "input", "scale", "other"]


class Axis(NamedTuple):
    """One axis of a layer's array, along which channels lie.

    Attributes:
        layer: the layer's name.
        weight: which of its arrays.
        axis: counted from 0.
        role: "filter" computes the channels, "input" reads them, so that zeros there hide a channel; "scale"
            is the gamma of a normalization.
        labels: int64 (length of the axis,): whose the place is.
    """

    layer: str
    weight: int
    axis: int
    role: Role
    labels: Labels


class Couplings:
    """Labels of channels, while a model is read layer by layer.

    Attributes:
        axes: by layer, array and axis.
        kept: why the channel of a label is not to be removed.
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self.axes: dict[tuple[str, int, int], Axis] = {}
        self.kept: dict[int, str] = {}

    def fresh(self, count: int) -> Labels:
        """Return labels of new channels."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def couple(self, one: Labels, other: Labels) -> None:
        """Let the channels at the same places be removed together."""
        for first, second in zip(one.tolist(), other.tolist(), strict=True):
            low, high = sorted((self._root(first), self._root(second)))
            self._parent[high] = low

    def keep(self, labels: Labels, reason: str) -> None:
        """Let no channel of these be removed; the first reason of each counts."""
        for label in labels.tolist():
            self.kept.setdefault(label, reason)

    def along(
        self, layer: str, weight: int, axis: int, role: Role, labels: Labels | None, length: int = 0
    ) -> Labels:
        """Set the labels along an axis; a layer that is called again couples them with the earlier ones.

        Args:
            labels: None for new channels, ``length`` of them.

        Returns:
            The labels of the axis.
        """
        key = (layer, weight, axis)
        if key not in self.axes:
            self.axes[key] = Axis(*key, role, self.fresh(length) if labels is None else labels)
        elif labels is not None:
            self.couple(self.axes[key].labels, labels)
        return self.axes[key].labels

    def roots(self, labels: Labels) -> Labels:
        """Return one label for all that are coupled with each."""
        return np.array([self._root(label) for label in labels.tolist()], np.int64)

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label
