"""What a model takes and gives, as far as its data has to fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal[
    "classification",
    "binary",
    "multi-label",
    "regression",
    "reconstruction",
    "anomaly",
    "segmentation",
    "embedding",
]
"""What one output of a model is for:

- classification: one of several classes; targets int64 ``(n,)`` class ids
- binary: one of two, by a single output; int64 ``(n,)`` of 0 and 1
- multi-label: any of several classes; uint8 ``(n, classes)`` of 0 and 1
- regression: numbers; float32 ``(n, *output_shape)``
- reconstruction: the input itself (an autoencoder); no targets are stored
- anomaly: the input itself, judged by how badly that succeeds; int64 ``(n,)``, 1 for an anomaly, in training
  samples 0
- segmentation: a class for each position; int64 ``(n, *positions)`` class ids, -1 where there is none
- embedding: a vector that is compared with others; targets int64 ``(n,)`` or none
"""


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        name: of the InputLayer, or of the layer that gives the output.
        shape: of one sample, without the batch; None is an open length.
        dtype: ``"float32"``, or an integer's for an input that takes indices.
        activation: what the last layer applies to an output: ``"softmax"``, ``"sigmoid"``, ``"linear"``, ...;
            ``""`` where that is unknown, and for inputs.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    activation: str = ""

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape, where no length is open any more."""
        return tuple(length or 1 for length in self.shape)
