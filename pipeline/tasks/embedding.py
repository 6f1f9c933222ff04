"""Metrics of embedding models: whether the vectors of both models point the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.evidence import Accumulator, Estimate, TaskMetrics, share
from pipeline.tasks.probabilities import flips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Chunk

# Maximum number of samples, evenly chosen, because each is compared with all others.
MAX_NEIGHBOURS = 5000
ROWS_AT_A_TIME = 500


def reduce_embedding(chunk: Chunk) -> Accumulator:
    """Reduce the outputs of both models to unit vectors (n, elements), with labels (n,) if there are any."""
    rows = {"baseline": _units(chunk.baseline), "quantized": _units(chunk.quantized)}
    if chunk.targets is not None:
        rows["label"] = chunk.targets.reshape(len(chunk.targets))
    return Accumulator(rows)


def evaluate_embedding(kept: Accumulator, names: tuple[str, ...]) -> TaskMetrics:
    """Return the cosine between both models' vectors and, with labels, the accuracy of nearest neighbours."""
    baseline, quantized = kept.rows["baseline"], kept.rows["quantized"]
    cosines = np.einsum("ij,ij->i", baseline, quantized, dtype=np.float64)
    # Two zero vectors are equal; a zero vector and any other one have cosine 0.
    cosines[~baseline.any(axis=1) & ~quantized.any(axis=1)] = 1
    estimates = [
        Estimate(
            name="cosine to float",
            baseline=100.0,
            quantized=100 * float(cosines.mean()),
            influence=100 * cosines,
        ),
        Estimate(
            name="cosine to float, worst 1 %",
            baseline=100.0,
            quantized=100 * float(np.percentile(cosines, 1)),
            influence=None,
        ),
    ]
    if "label" not in kept.rows:
        return TaskMetrics(estimates=tuple(estimates), note=_constant(baseline))
    labels = kept.rows["label"]
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), MAX_NEIGHBOURS)).astype(int))
    if len(chosen) < 2:
        return TaskMetrics(estimates=tuple(estimates), note="one sample has no neighbour")
    right = {
        model: labels[chosen][_nearest(kept.rows[model][chosen])] == labels[chosen]
        for model in ("baseline", "quantized")
    }
    return TaskMetrics(
        estimates=(*estimates, _neighbours(right, chosen, len(labels))),
        note=_constant(baseline) or _at_chance(right["baseline"], labels[chosen]),
        flips=flips(right["baseline"], right["quantized"]),
    )


def _units(outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors (n, elements) of length 1; zeros stay zeros."""
    vectors = outputs.reshape(len(outputs), -1).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return units


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return for each unit vector the index (n,) of the other one with the largest cosine."""
    found = []
    for start in range(0, len(vectors), ROWS_AT_A_TIME):
        cosines = vectors[start : start + ROWS_AT_A_TIME] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        found.append(cosines.argmax(axis=1))
    return np.concatenate(found)


def _neighbours(right: dict[str, NDArray[np.bool_]], chosen: NDArray[Any], samples: int) -> Estimate:
    """Return the share of the chosen samples whose nearest neighbour has their class."""
    found = share("nearest neighbour of the same class", right["baseline"], right["quantized"])
    assert found.influence is not None
    influence = np.zeros(samples)
    influence[chosen] = (found.influence - found.influence.mean()) * samples / len(chosen)
    return Estimate(
        name=found.name,
        baseline=found.baseline,
        quantized=found.quantized,
        influence=influence,
        reach=found.reach * samples / len(chosen),
    )


def _constant(vectors: NDArray[np.float32]) -> str:
    same = len(vectors) > 1 and float(np.abs(vectors - vectors[0]).max()) < 1e-6
    return "the float model gives every sample the same vector" if same else ""


def _at_chance(right: NDArray[np.bool_], labels: NDArray[Any]) -> str:
    most = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    if float(right.mean()) > most:
        return ""
    note = f"the float model's nearest neighbours are right on {right.mean():.1%} of the samples, "
    return note + f"no more than a model that always answers with the most frequent class ({most:.1%})"
