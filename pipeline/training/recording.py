"""Observe a network in training: its ranges after each epoch, and histograms of weights and activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.training.keras_io import predict
from pipeline.training_history import Curve, Histogram, TrainedRange, TrainingHistory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pipeline.samples import Samples
    from pipeline.training_history import Distribution

BINS = 24
OBSERVED_SAMPLES = 32
KERNELS = ("kernel:0", "depthwise_kernel:0", "embeddings:0")


class Recorder:
    """Collects the history of one training."""

    def __init__(self, name: str, student: Any, samples: Samples) -> None:
        """Observe a student before its training.

        Args:
            name: of the training.
            student: a tf_keras model, whose layers may be wrapped by TF-MOT.
            samples: the first few are run for the activations.
        """
        self._name, self._student = name, student
        self._inputs = samples.take(slice(0, OBSERVED_SAMPLES)).model_inputs()
        self._figures: dict[str, list[float]] = {}
        self._ranges: dict[str, list[tuple[float, float]]] = {}
        self._before = tuple(histograms(student, self._inputs))

    def epoch(self, figures: dict[str, float]) -> None:
        """Record the figures of an epoch that has just ended, and the ranges that it left."""
        for name, value in figures.items():
            self._figures.setdefault(name, []).append(value)
        for layer, ends in trained_ranges(self._student).items():
            self._ranges.setdefault(layer, []).append(ends)

    def history(self) -> TrainingHistory:
        """Return what was recorded; the student has its final weights."""
        return TrainingHistory(
            name=self._name,
            curves=tuple(Curve(name=name, values=tuple(values)) for name, values in self._figures.items()),
            ranges=tuple(
                TrainedRange(layer=layer, lows=tuple(low for low, _ in ends), highs=tuple(h for _, h in ends))
                for layer, ends in self._ranges.items()
            ),
            before=self._before,
            after=tuple(histograms(self._student, self._inputs)),
        )


def trained_ranges(network: Any) -> dict[str, tuple[float, float]]:
    """Return the trained range of the outputs of each layer that has one: (low, high)."""
    found: dict[str, dict[str, float]] = {}
    for layer in network.layers:
        for variable in layer.weights:
            kind = variable.name.rpartition("/")[2]
            is_end = variable.shape.rank == 0 and not kind.startswith("kernel")
            for end in ("min", "max"):
                if is_end and kind.endswith(f"_{end}:0"):
                    found.setdefault(_name(layer), {})[end] = float(variable.numpy())
    return {name: (ends["min"], ends["max"]) for name, ends in found.items() if len(ends) == 2}


def histograms(network: Any, inputs: list[NDArray[Any]]) -> Iterator[Histogram]:
    """Yield the histograms of each layer's kernel, and of its outputs for these inputs, (n, ...) each."""
    import tf_keras

    outputs = {}
    for layer in network.layers:
        for variable in layer.weights:
            if variable.name.rpartition("/")[2] in KERNELS:
                yield _histogram(_name(layer), "weights", variable.numpy())
        if len(layer.inbound_nodes) == 1 and not isinstance(layer.output, list | tuple | dict):
            outputs[_name(layer)] = layer.output
    observed = predict(tf_keras.Model(network.inputs, list(outputs.values())), inputs)
    for name, values in zip(outputs, observed, strict=True):
        if np.issubdtype(values.dtype, np.floating):
            yield _histogram(name, "activations", values)


def _name(layer: Any) -> str:
    """Return the name that a layer has without TF-MOT's wrapper."""
    return str(getattr(layer, "layer", layer).name)


def _histogram(layer: str, of: Distribution, values: NDArray[Any]) -> Histogram:
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, BINS)
    low, high = float(edges[0]), float(edges[-1])
    return Histogram(layer=layer, of=of, low=low, high=high, counts=tuple(map(int, counts)))
