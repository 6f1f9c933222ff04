"""Write what a source gives as one ``.npy`` file for each input and each raw target, and check every row."""

from __future__ import annotations

import hashlib
import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.rows import RowWriter
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.data.options import Array, Batch, Parts
    from models.ports import Port

TRAIN, TEST, VALIDATION = "training", "test", "validation"


@dataclass(frozen=True)
class Stored:
    """Content of the written files.

    Attributes:
        train_rows: the first rows of every file, to train on; all where there are no others.
        test_rows: those after them; None if the source has no test samples of its own.
        validation_rows: the last ones, which the user chose models on.
        digests: uint64 ``(rows,)``, equal for samples whose inputs are equal.
        words: for each target that is text, all words in it; its file then holds their indices.
        targets: how many target files there are.
    """

    train_rows: int
    test_rows: int | None
    validation_rows: int
    digests: NDArray[np.uint64]
    words: dict[int, tuple[str, ...]]
    targets: int


def input_file(folder: Path, index: int) -> Path:
    return folder / f"input_{index}.npy"


def raw_target_file(folder: Path, index: int) -> Path:
    return folder / f"raw_target_{index}.npy"


def store(parts: Parts, folder: Path, inputs: Sequence[Port], where: str) -> Stored:
    """Write every batch of every part.

    Raises:
        DataError: samples do not fit the model, or are empty, not finite, not numeric or constant.
    """
    writers = [
        InputWriter(input_file(folder, index), port, parts.reshape, parts.notes)
        for index, port in enumerate(inputs)
    ]
    targets: list[TargetWriter] = []
    digests = array("Q")
    counts: list[int | None] = []
    try:
        for part, batches in ((TRAIN, parts.train), (TEST, parts.test), (VALIDATION, parts.validation)):
            before = len(digests)
            if batches is not None:
                _store_part(part, batches, folder, writers, targets, digests, where)
            counts.append(None if batches is None else len(digests) - before)
    finally:
        for rows in [writer.rows for writer in writers] + [target.rows for target in targets]:
            rows.close()
    words = {index: target.save_words() for index, target in enumerate(targets) if target.words}
    hashes = np.array(digests, np.uint64)
    train, test, validation = counts
    return Stored(train or 0, test, validation or 0, hashes, words, len(targets))


def _store_part(
    part: str,
    batches: Iterable[Batch],
    folder: Path,
    writers: list[InputWriter],
    targets: list[TargetWriter],
    digests: array[int],
    where: str,
) -> None:
    before = len(digests)
    for arrays, labels in batches:
        lengths = {len(rows) for rows in (*arrays, *labels)}
        if len(lengths) != 1 or len(arrays) != len(writers):
            shapes = ", ".join(str(rows.shape) for rows in (*arrays, *labels))
            msg = f"{where}: {part} arrays {shapes} differ in length; give one row of each for a sample"
            raise DataError(msg)
        first = len(digests) == 0
        if first:
            targets += [TargetWriter(raw_target_file(folder, index)) for index in range(len(labels))]
        if len(labels) != len(targets):
            msg = f"{where}: {part} samples have {len(labels)} targets, those before {len(targets)}"
            raise DataError(msg)
        at = len(digests) - before
        stored = [writer.append(rows, part, at) for writer, rows in zip(writers, arrays, strict=True)]
        for target, rows in zip(targets, labels, strict=True):
            target.append(rows, part, at)
        digests.extend(row_digests(stored))
    if len(digests) == before:
        msg = f"{where}: {part} inputs: no samples; give at least one"
        raise DataError(msg)
    for writer in writers:
        writer.end_part(part)


class InputWriter:
    """Brings the samples of one input to one shape and dtype and writes them."""

    def __init__(self, path: Path, port: Port, reshape: bool, notes: list[str]) -> None:
        self.rows = RowWriter(path)
        self.port = port
        self.reshape = reshape
        self.notes = notes
        self._range: tuple[float, float, int] | None = None

    def append(self, rows: Array, part: str, at: int) -> Array:
        """Write a batch whose first row is number ``at`` of its part; return what was written."""
        name = _input_name(part, self.port)
        if rows.dtype.kind not in "fiub":
            msg = f"{name}: dtype {rows.dtype} is not numeric; convert to float32 or uint8"
            raise DataError(msg)
        fitted = fit(rows, self.port.shape, reshape=self.reshape, name=name)
        if fitted.ndim == 2 < rows.ndim and rows.shape[1] != fitted.shape[1] and self.rows.shape is None:
            self.notes.append(f"samples of {rows.shape[1:]} flattened to {fitted.shape[1:]}")
        check_finite(fitted, name, at)
        if np.dtype(self.port.dtype).kind in "iu":
            fitted = _indices(fitted, name, at)
        if fitted.dtype.kind == "b":
            fitted = fitted.astype(np.uint8)
        fitted = fitted.astype(fitted.dtype.newbyteorder("="), copy=False)
        if self.rows.shape not in (None, fitted.shape[1:]):
            msg = f"{name}: samples of {fitted.shape[1:]} after {self.rows.shape}; pad them to one length"
            raise DataError(msg)
        if self.rows.shape is not None and fitted.dtype != self.rows.dtype:
            fitted = _as_before(fitted, self.rows.dtype, name)
        self.rows.append(fitted)
        if fitted.size:
            low, high, size = self._range or (math.inf, -math.inf, 0)
            self._range = min(low, fitted.min()), max(high, fitted.max()), size + fitted.size
        return fitted

    def end_part(self, part: str) -> None:
        """Refuse a part in which every value is the same."""
        low, high, size = self._range or (0.0, 0.0, 0)
        self._range = None
        if size > 1 and low == high:
            name = _input_name(part, self.port)
            msg = f"{name}: every value is {low}; the data were not written as meant"
            raise DataError(msg)


class TargetWriter:
    """Writes targets as they are; of text, the index of each word."""

    def __init__(self, path: Path) -> None:
        self.rows = RowWriter(path)
        self.words: dict[str, int] = {}
        self._ids = array("q")

    def append(self, rows: Array, part: str, at: int) -> None:
        if rows.dtype.kind == "O" and all(isinstance(value, str | bytes) for value in rows.flat):
            rows = np.array([_decoded(value) for value in rows.flat]).reshape(rows.shape)
        if rows.dtype.kind == "S":
            rows = np.char.decode(rows, "utf-8", "replace")
        if rows.dtype.kind not in "fiubU":
            msg = f"{part} labels: dtype {rows.dtype} is neither numbers nor text; use integers or strings"
            raise DataError(msg)
        text = rows.dtype.kind == "U"
        if self._mixed(text) or (text and rows.size != len(rows)):
            msg = (
                f"{part} labels: text and numbers, or several words a sample; give one label for each sample"
            )
            raise DataError(msg)
        if text:
            self._ids.extend(self.words.setdefault(word, len(self.words)) for word in rows.ravel().tolist())
            return
        check_finite(rows, f"{part} labels", at)
        rows = rows.astype(np.uint8 if rows.dtype.kind == "b" else rows.dtype.newbyteorder("="), copy=False)
        if self.rows.shape not in (None, rows.shape[1:]):
            msg = f"{part} labels of {rows.shape[1:]} after {self.rows.shape}; give all the same shape"
            raise DataError(msg)
        if self.rows.shape is not None and rows.dtype != self.rows.dtype:
            rows = _as_before(rows, self.rows.dtype, f"{part} labels")
        self.rows.append(rows)

    def _mixed(self, text: bool) -> bool:
        return self.rows.shape is not None if text else bool(self.words)

    def save_words(self) -> tuple[str, ...]:
        """Write the indices of the words; return the words."""
        np.save(self.rows.path, np.array(self._ids, np.int64))
        return tuple(self.words)


def fit(rows: Array, shape: tuple[int | None, ...], *, reshape: bool, name: str) -> Array:
    """Reshape a batch to the model's shape if they differ only in trailing axes of size 1.

    Args:
        rows: ``(n, ...)``.
        shape: of one sample; None is an open length.
        reshape: also where it takes another shape of as many values; a vector always takes any.
        name: for the message.

    Raises:
        DataError: both shapes.
    """
    got = rows.shape[1:]
    if matches(got, shape):
        return rows
    for other in ((*got, 1), got[:-1] if got[-1:] == (1,) else got):
        if matches(other, shape):
            return rows.reshape(len(rows), *other)
    size, known = math.prod(got), math.prod(length for length in shape if length is not None)
    if (reshape or (len(shape) == 1 and None not in shape)) and size and known and size % known == 0:
        filled = tuple(size // known if length is None else length for length in shape)
        if math.prod(filled) == size:
            return rows.reshape(len(rows), *filled)
    msg = f"{name}: samples of shape {got}, the model takes {shape}; reshape the data"
    raise DataError(msg)


def matches(shape: tuple[int, ...], port: tuple[int | None, ...]) -> bool:
    """Return whether a sample of this shape is one that the port takes."""
    return len(shape) == len(port) and all(
        expected in (None, got) for got, expected in zip(shape, port, strict=True)
    )


def check_finite(rows: Array, name: str, at: int) -> None:
    """Refuse NaN and infinity, naming the place.

    Raises:
        DataError: the value and its index in the part.
    """
    if rows.dtype.kind != "f" or np.isfinite(rows).all():
        return
    wrong = np.argwhere(~np.isfinite(rows))[0]
    place = (at + int(wrong[0]), *map(int, wrong[1:]))
    msg = f"{name}: {rows[tuple(wrong)]} at index {place}; remove or fix that sample"
    raise DataError(msg)


def row_digests(arrays: Sequence[Array]) -> list[int]:
    """Return a 64-bit hash of each sample over all its inputs."""
    contents = [np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8) for rows in arrays]
    digests = []
    for index in range(len(contents[0])):
        digest = hashlib.blake2b(contents[0][index], digest_size=8)
        for content in contents[1:]:
            digest.update(content[index])
        digests.append(int.from_bytes(digest.digest(), "little"))
    return digests


def _decoded(word: str | bytes) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else word


def _input_name(part: str, port: Port) -> str:
    return f"{part} inputs of {port.name!r}" if port.name else f"{part} inputs"


def _indices(rows: Array, name: str, at: int) -> Array:
    """Return the integers that the model takes."""
    wrong = np.argwhere((rows != np.floor(rows)) | (rows < 0))
    if len(wrong):
        place = (at + int(wrong[0][0]), *map(int, wrong[0][1:]))
        msg = f"{name}: {rows[tuple(wrong[0])]} at index {place}; the model takes indices: integers from 0"
        raise DataError(msg)
    return rows.astype(np.int32) if rows.dtype.kind == "f" else rows


def _as_before(rows: Array, dtype: np.dtype[np.generic], name: str) -> Array:
    """Cast to the dtype of the rows before, where that loses nothing but the precision of floats."""
    cast = rows.astype(dtype)
    if not (rows.dtype.kind == dtype.kind == "f") and not np.array_equal(cast, rows):
        msg = f"{name}: {rows.dtype} after {dtype}, which cannot hold it; give all samples one dtype"
        raise DataError(msg)
    return cast
