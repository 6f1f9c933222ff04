"""Samples on disk, read a bounded number at a time: data may be larger than memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.npy import map_array, read_array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Preprocessing, Split

CHUNK_BYTES = 64 << 20
MAX_CHUNK_SAMPLES = 2000


@dataclass(frozen=True)
class Samples:
    """Some rows of a data set, and how they become a model's input.

    Attributes:
        inputs: for each of the model's inputs a .npy file of all rows.
        targets: for each of its outputs likewise, or None if it has no targets.
        rows: int64 (n,) indices of these samples in those files.
        preprocessing: for each input.
    """

    inputs: tuple[Path, ...]
    targets: tuple[Path | None, ...]
    rows: NDArray[np.int64]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, data: Dataset, split: Split, preprocessing: Preprocessing) -> Samples:
        """Return the training or the test samples of a data set."""
        inputs = tuple(data.input(index) for index in range(len(data.shapes)))
        targets = tuple(
            data.target(index) if data.target(index).exists() else None for index in range(len(data.tasks))
        )
        return cls(inputs, targets, read_array(data.rows(split)), preprocessing)

    @classmethod
    def every(cls, data: Dataset, preprocessing: Preprocessing) -> Samples:
        """Return all samples of a data set, whatever they were meant for."""
        rows = np.sort(np.concatenate([read_array(data.rows(split)) for split in ("train", "test")]))
        return replace(cls.of(data, "test", preprocessing), rows=rows)

    @classmethod
    def to_probe(cls, data: Dataset, most: int) -> Samples:
        """At most ``most`` samples that a model's preprocessing is chosen on, raw: the same everywhere."""
        return cls.of(data, "train" if data.train_samples else "test", ()).choose(most, seed=0)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.int64] | slice) -> Samples:
        """Return the samples at ``places``, in that order."""
        return replace(self, rows=self.rows[places])

    def choose(self, count: int, seed: int) -> Samples:
        """At most ``count`` of them by ``seed``, in the order of the data."""
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def raw(self, index: int) -> NDArray[Any]:
        """Return one raw input of all samples, (n, ...)."""
        return _read(self.inputs[index], self.rows)

    def model_inputs(self) -> list[NDArray[Any]]:
        """Return the model's inputs, (n, ...) each: float32, or integers for indices."""
        return [transform.apply(self.raw(index)) for index, transform in enumerate(self.preprocessing)]

    def target(self, index: int) -> NDArray[Any] | None:
        """Return the targets of one output, (n, ...), or None."""
        path = self.targets[index]
        return None if path is None else _read(path, self.rows)

    def chunks(self, most: int = MAX_CHUNK_SAMPLES) -> Iterator[Samples]:
        """Yield all samples in order, as many at a time as memory has room for as float32."""
        values = sum(int(np.prod(map_array(path).shape[1:])) for path in self.inputs)
        size = max(1, min(most, CHUNK_BYTES // (4 * max(values, 1))))
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


def _read(path: Path, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Copy rows out of a file that is mapped for no longer: what is mapped counts as memory."""
    mapped = map_array(path)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return np.array(mapped[rows[0] : rows[-1] + 1])
    return np.asarray(mapped[rows])
