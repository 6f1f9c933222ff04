"""What is measured: a verified .tflite file, and the samples that it is measured with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer import compressed_size, float_operators, integer_io, read_tflite, weight_sparsity
from pipeline.runtimes.scaling import as_input
from pipeline.validate.report import ModelFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Preprocessing
    from pipeline.flatbuffer import TfliteModel
    from pipeline.runtimes.session import ModelDetails, Tensor

CHUNK_SAMPLES = 2000


@dataclass(frozen=True)
class Subject:
    """A .tflite file whose structure was verified before any runtime saw it."""

    path: Path
    flat: TfliteModel

    @classmethod
    def open(cls, path: Path) -> Subject:
        """Verify a file.

        Raises:
            InputError: it is damaged; says where.
        """
        return cls(path, read_tflite(path))

    @cached_property
    def facts(self) -> ModelFile:
        kernels = weight_sparsity(self.flat).values()
        weights = sum(count.total for count in kernels)
        return ModelFile(
            sha256=self.flat.sha256,
            size_bytes=self.flat.size_bytes,
            compressed_bytes=compressed_size(self.path),
            sparsity=sum(count.zeros for count in kernels) / max(weights, 1),
            float_operators=float_operators(self.flat),
            integer_io=integer_io(self.flat),
        )


@dataclass(frozen=True)
class Samples:
    """Labelled samples as the user has them: raw (n, ...) inputs, int64 (n,) labels."""

    raw: NDArray[Any]
    labels: NDArray[np.int64]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Samples:
        return Samples(self.raw[:count], self.labels[:count], self.preprocessing)

    def choose(self, count: int, seed: int) -> NDArray[np.float32]:
        """A seeded choice as the model's float input, in the order of the data."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return self.preprocessing.apply(self.raw[chosen])

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """The model's float input, a bounded number of samples at a time."""
        for start in range(0, len(self), CHUNK_SAMPLES):
            yield self.preprocessing.apply(self.raw[start : start + CHUNK_SAMPLES])


@dataclass(frozen=True)
class Golden:
    """The inputs that every runtime answers: real test samples, or seeded noise where there are none."""

    samples: Samples | None
    count: int
    seed: int

    def inputs(self, details: ModelDetails) -> list[NDArray[Any]]:
        """For each of the model's inputs an array (count, ...) of its own dtype."""
        if self.samples is not None and len(self.samples) >= self.count:
            return [as_input(self.samples.choose(self.count, self.seed), details.inputs[0])]
        rng = np.random.default_rng(self.seed)
        return [self._noise(tensor, rng) for tensor in details.inputs]

    def _noise(self, tensor: Tensor, rng: np.random.Generator) -> NDArray[Any]:
        shape = (self.count, *tensor.shape[1:])
        if tensor.scale is None and not tensor.dtype.startswith("float"):
            return rng.integers(0, 2, shape).astype(tensor.dtype)  # an index that any table has
        if tensor.scale is None:
            return rng.uniform(-1, 1, shape).astype(tensor.dtype)
        limits = np.iinfo(tensor.dtype)
        return rng.integers(limits.min, limits.max, shape, np.int64, endpoint=True).astype(tensor.dtype)
