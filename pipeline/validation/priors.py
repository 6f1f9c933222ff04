"""Other class priors: the same answers, weighted as if classes were more or less frequent.

A camera on another wall sees the same things in other numbers. No inference is needed to know what both
models would score there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.tasks.evidence import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Accumulator, Estimate

TIMES = 5.0
"""Factor by which one class at a time is made more frequent."""
IMBALANCE = 100.0
"""Ratio between the first and the last class of a long tail (the largest of Cui et al. 2019)."""


def class_weights(labels: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Return for each prior the weight of every class.

    Args:
        labels: (n,) class ids of the samples.
        names: of the classes.

    Returns:
        Each class that has samples made ``TIMES`` as frequent as it is, and two long tails over the classes,
        in the order of their ids and against it, whatever their frequency is here.
    """
    counts = np.bincount(labels, minlength=len(names)).astype(np.float64)
    there = np.flatnonzero(counts)
    priors = {f"{names[at]} x{TIMES:g}": np.where(np.arange(len(counts)) == at, TIMES, 1.0) for at in there}
    tail = IMBALANCE ** -np.linspace(0, 1, len(there))
    for title, frequency in (("long tail", tail), ("long tail, reversed", tail[::-1])):
        weights = np.zeros(len(counts))
        weights[there] = frequency / counts[there]
        priors[title] = weights
    return priors if len(there) > 1 else {}


def under_prior(kept: Accumulator, weights: NDArray[np.float64], clean: Estimate) -> Estimate:
    """Return the share of right answers where samples weigh as much as their classes do.

    Args:
        kept: of a classifier's samples.
        weights: of the classes.
        clean: the same metric without weights.
    """
    rows = kept.rows
    of_sample = weights[rows["label"]]
    of_sample = of_sample / of_sample.mean()
    right = [rows[f"{model}_rank"] == 0 for model in ("baseline", "quantized")]
    before, after = (100 * float((of_sample * answers).mean()) for answers in right)
    change = share(clean.name, *right).influence
    assert change is not None
    return replace(
        clean,
        baseline=before,
        quantized=after,
        influence=of_sample * (change - (after - before)),
        reach=clean.reach * float(of_sample.max()),
    )
