"""Which samples are for training and which for testing, as row indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]
    Digests = NDArray[np.uint64]

BINS = 10  # of the targets of a regression, of equal size
MAX_SHARED = 0.01  # of the training samples: more than that is a wrong split
FEW = (
    5  # samples, or a tenth of a small set, may be shared by chance: some public sets of series have as many
)


def bins(values: NDArray[Any]) -> Indices:
    """Number the tenths of the values, from the lowest: strata for numbers."""
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, values).astype(np.int64)


def make_split(strata: Indices, digests: Digests, test_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Choose test samples: a fraction of each stratum, but not all of it. Equal samples stay on one side.

    Args:
        strata: ``(n,)``, the class of each sample or what stands for it.
        digests: ``(n,)``, equal for equal samples.
        test_fraction: between 0 and 1.
        seed: of the choice.

    Returns:
        Rows to train on and rows to test on, ascending.

    Raises:
        DataError: there are too few different samples.
    """
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(first), bool)
    labels = strata[first]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        chosen[rng.permutation(members)[:wanted]] = True
    if not chosen.any():  # every stratum has one member
        wanted = min(max(round(test_fraction * len(first)), 1), len(first) - 1)
        chosen[rng.permutation(len(first))[:wanted]] = True
    test = chosen[group]
    if test.all() or not test.any():
        msg = f"{len(first)} different samples cannot be split into training and test; give more"
        raise DataError(msg)
    return np.flatnonzero(~test), np.flatnonzero(test)


def without_shared(train: Indices, test: Indices, digests: Digests) -> tuple[Indices, int]:
    """Leave out the training samples that are test samples too.

    Returns:
        The others, and how many were left out.

    Raises:
        DataError: they are too many to be chance.
    """
    shared = np.isin(digests[train], digests[test])
    count = int(shared.sum())
    if count > max(MAX_SHARED * len(train), min(FEW, len(train) / 10)):
        msg = (
            f"{count} of {len(train)} training samples are also test samples; "
            "remove them from one of the two, or give one set to have it split"
        )
        raise DataError(msg)
    return train[~shared], count
