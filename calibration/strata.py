"""Strata: groups of samples by what their targets contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rows = NDArray[np.int64]

BINS = 10
"""Quantile bins of a number."""
MAX_NUMBERS = 16
"""Samples with more numbers are grouped by the mean of their numbers."""


@dataclass(frozen=True)
class Strata:
    """The groups of all samples by one property.

    Attributes:
        trait: what they are groups by, e.g. ``"class"``.
        members: for each group, by name, int64 (k,) row numbers of its samples, ascending; none is empty.
        exclusive: whether each sample is in exactly one group.
    """

    trait: str
    members: Mapping[str, Rows]
    exclusive: bool

    def counts(self, chosen: NDArray[np.bool_]) -> dict[str, int]:
        """Return how many samples of each group are chosen; ``chosen`` is bool (n,)."""
        return {name: int(chosen[rows].sum()) for name, rows in self.members.items()}


class Content(NamedTuple):
    """How targets are grouped, in two steps, so that targets larger than memory are read in chunks.

    Attributes:
        summarize: returns (n, k) numbers that describe a chunk of targets (n, ...).
        group: given the trait's name, the summaries (n, k) of all samples and the names of classes, returns
            the strata.
    """

    summarize: Callable[[Array], Array]
    group: Callable[[str, Array, Sequence[str]], list[Strata]]


def _rows(targets: Array) -> Array:
    return targets.reshape(len(targets), -1)


def _positions(masks: Array) -> Array:
    """Count the positions of each class in each mask; -1 is a position without a class."""
    flat = _rows(masks).astype(np.int64) + 1
    classes = int(flat.max(initial=0)) + 1
    places = np.arange(len(flat))[:, None] * classes + flat
    return np.bincount(places.ravel(), minlength=len(flat) * classes).reshape(-1, classes)[:, 1:]


def _numbers(targets: Array) -> Array:
    flat = _rows(targets).astype(np.float64)
    return flat if flat.shape[1] <= MAX_NUMBERS else flat.mean(axis=1, keepdims=True)


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else str(index)


def _by_class(trait: str, ids: Array, names: Sequence[str]) -> list[Strata]:
    found, groups = np.unique(ids[:, 0], return_inverse=True)
    return [Strata(trait, _split({_name(names, int(i)): n for n, i in enumerate(found)}, groups), True)]


def _by_label(trait: str, labels: Array, names: Sequence[str]) -> list[Strata]:
    """Group by each label, and by the absence of any."""
    members = {_name(names, index): np.flatnonzero(column) for index, column in enumerate(labels.T)}
    members["none"] = np.flatnonzero(~labels.any(axis=1))
    return [Strata(trait, {name: rows for name, rows in members.items() if len(rows)}, False)]


def _by_positions(trait: str, positions: Array, names: Sequence[str]) -> list[Strata]:
    """Group by each class in the mask: samples with less of it than the median, and those with more."""
    members = {}
    for index, counts in enumerate(positions.T):
        having = np.flatnonzero(counts)
        if not len(having):
            continue
        small = counts[having] <= np.median(counts[having])
        name = _name(names, index)
        if small.all():
            members[name] = having
        else:
            members |= {f"{name}, small": having[small], f"{name}, large": having[~small]}
    return [Strata(trait, members, False)] if members else []


def _by_quantile(trait: str, numbers: Array, names: Sequence[str]) -> list[Strata]:
    """Group by the tenths of each number; equal numbers stay together."""
    found = []
    for index, values in enumerate(numbers.T):
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        groups = np.searchsorted(edges, values)
        ends = [values.min(), *edges, values.max()]
        places = {f"bin {g + 1}: {ends[g]:.4g} to {ends[g + 1]:.4g}": g for g in np.unique(groups).tolist()}
        label = f"{trait} {index}" if numbers.shape[1] > 1 else trait
        found.append(Strata(label, _split(places, groups), True))
    return found


def _split(places: Mapping[str, int], groups: Rows) -> dict[str, Rows]:
    """Return the rows of each group by its name, given the group of each row."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(int(groups.max()) + 2))
    return {name: order[starts[place] : starts[place + 1]] for name, place in places.items()}


ContentName = Literal["", "ids", "labels", "masks", "numbers"]
CONTENT: dict[str, Content] = {
    # int64 (n,) class ids
    "ids": Content(_rows, _by_class),
    # uint8 (n, classes) of 0 and 1
    "labels": Content(_rows, _by_label),
    # int64 (n, *positions) class ids, -1 where there is none
    "masks": Content(_positions, _by_positions),
    # float32 (n, ...)
    "numbers": Content(_numbers, _by_quantile),
}


def strata_of(content: str, trait: str, chunks: Iterable[Array], names: Sequence[str]) -> list[Strata]:
    """Group samples by the content of their targets.

    Args:
        content: a key of ``CONTENT``.
        trait: what to call the property.
        chunks: the targets of all samples in order, each (n, ...).
        names: of the classes or labels; those without a name are numbered.
    """
    row = CONTENT[content]
    summaries = [row.summarize(chunk) for chunk in chunks]
    width = max((each.shape[1] for each in summaries), default=0)
    if not width:
        return []
    padded = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in summaries]
    return row.group(trait, np.concatenate(padded), names)
