"""A labelled data set in memory: what it must fulfil, and how it is split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Labels = NDArray[np.int64]

_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Data:
    """Samples to train on and samples to judge by.

    Attributes:
        train_inputs: ``(n, *input_shape)`` in the dtype of the source.
        train_labels: int64 ``(n,)``, class ids.
        test_inputs: ``(m, *input_shape)``.
        test_labels: int64 ``(m,)``.
        class_names: the name of each class id, empty where the source has none.
    """

    train_inputs: Array
    train_labels: Labels
    test_inputs: Array
    test_labels: Labels
    class_names: tuple[str, ...]


def make_data(
    train: tuple[Array, Array],
    test: tuple[Array, Array] | None,
    *,
    where: str,
    seed: int,
    test_fraction: float,
    class_names: Sequence[str] | None = None,
) -> Data:
    """Bring labels of any usual form to class ids, and split off test samples where none are given.

    Args:
        train: inputs and labels; labels as ids ``(n,)`` or ``(n, 1)``, one-hot ``(n, classes)`` or strings.
        test: the same, or None: ``test_fraction`` of each class of ``train``, chosen by ``seed``.
        where: the source, for messages.
        seed: of the split.
        test_fraction: between 0 and 1.
        class_names: the name of each id; None for those that the labels give, if any.

    Raises:
        DataError: inputs and labels do not match, or the labels are not classes.
    """
    parts = [("training", *train)] + ([("test", *test)] if test is not None else [])
    arrays: list[Array] = []
    raw_labels: list[Array] = []
    for part, inputs, labels in parts:
        inputs, labels = np.asarray(inputs), np.asarray(labels)
        if inputs.ndim == 0 or labels.ndim == 0 or len(inputs) != len(labels):
            msg = (
                f"{where}: {part} inputs {inputs.shape} and labels {labels.shape} "
                "differ in length; give one label for each sample"
            )
            raise DataError(msg)
        arrays.append(inputs)
        raw_labels.append(labels)
    ids, found = _class_ids(raw_labels, where)
    names = tuple(class_names or found or ())
    if test is not None:
        return Data(arrays[0], ids[0], arrays[1], ids[1], names)
    chosen = stratified_split(ids[0], test_fraction, seed)
    return Data(arrays[0][~chosen], ids[0][~chosen], arrays[0][chosen], ids[0][chosen], names)


def stratified_split(labels: Labels, test_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Mark the samples that are for testing: ``test_fraction`` of each class, at least one of two or more."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        chosen[rng.permutation(members)[:wanted]] = True
    return chosen


def check_data(data: Data, input_shape: tuple[int | None, ...], classes: int | None) -> None:
    """Refuse data that the model cannot be trained on or judged by.

    Args:
        data: what :func:`models.data.sources.load_data` gave.
        input_shape: the model's, without the batch; None where any length is accepted.
        classes: how many the model tells apart; 1 for a single sigmoid output; None where unknown.

    Raises:
        DataError: what is wrong, at which sample, and how to mend it.
    """
    parts = (
        ("training", data.train_inputs, data.train_labels),
        ("test", data.test_inputs, data.test_labels),
    )
    for part, inputs, labels in parts:
        check_inputs(inputs, input_shape, f"{part} inputs")
        limit = None if classes is None else max(classes, 2)
        wrong = np.flatnonzero((labels < 0) | (labels >= (limit or np.iinfo(np.int64).max)))
        if wrong.size:
            msg = (
                f"{part} labels: {labels[wrong[0]]} at index {wrong[0]} is outside the model's classes "
                f"0..{'' if limit is None else limit - 1}; renumber the labels from 0 or use the model's data"
            )
            raise DataError(msg)


def check_inputs(inputs: Array, input_shape: tuple[int | None, ...], name: str) -> None:
    """Refuse inputs that are empty, constant, not finite, or of another shape than the model's.

    Args:
        inputs: ``(n, *shape)``.
        input_shape: the model's, without the batch.
        name: of the array, for messages.

    Raises:
        DataError: as :func:`check_data`.
    """
    if len(inputs) == 0:
        msg = f"{name}: no samples; give at least one"
        raise DataError(msg)
    if inputs.dtype.kind not in "fiub":
        msg = f"{name}: dtype {inputs.dtype} is not numeric; convert to float32 or uint8"
        raise DataError(msg)
    fits = len(inputs.shape) == 1 + len(input_shape) and all(
        wanted in (None, got) for got, wanted in zip(inputs.shape[1:], input_shape, strict=True)
    )
    if not fits:
        msg = f"{name}: samples of shape {inputs.shape[1:]}, the model takes {input_shape}; reshape the data"
        raise DataError(msg)
    if inputs.dtype.kind == "f":
        for start in range(0, len(inputs), _CHUNK_ROWS):
            wrong = np.argwhere(~np.isfinite(inputs[start : start + _CHUNK_ROWS]))
            if len(wrong):
                place = (start + int(wrong[0, 0]), *map(int, wrong[0, 1:]))
                msg = f"{name}: {inputs[place]} at index {place}; remove or mend that sample"
                raise DataError(msg)
    if inputs.size > 1 and inputs.min() == inputs.max():
        msg = f"{name}: every value is {inputs.flat[0]}; the data were not written as meant"
        raise DataError(msg)


def shared_samples(a: Array, b: Array) -> int:
    """Count the samples of ``b`` that are in ``a`` too, value for value."""
    if a.shape[1:] != b.shape[1:]:
        return 0
    dtype = np.result_type(a, b)
    known = {_digest(row, dtype) for row in a}
    return sum(_digest(row, dtype) in known for row in b)


def _digest(row: Array, dtype: np.dtype[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row, dtype).tobytes(), digest_size=16).digest()


def _class_ids(parts: list[Array], where: str) -> tuple[list[Labels], tuple[str, ...] | None]:
    """Return each part's labels as ids, and the names where they were strings."""
    flat = [part[:, 0] if part.ndim == 2 and part.shape[1] == 1 else part for part in parts]
    if all(part.dtype.kind in "US" and part.ndim == 1 for part in flat):
        text = [part.astype(str) for part in flat]
        names = np.unique(np.concatenate(text))
        return [np.searchsorted(names, part).astype(np.int64) for part in text], tuple(map(str, names))
    ids = []
    for part in flat:
        if part.dtype.kind not in "fiub":
            msg = f"{where}: labels of dtype {part.dtype} are not classes; use integers or strings"
            raise DataError(msg)
        if part.ndim == 2 and np.isin(part, (0, 1)).all() and (part.sum(axis=1) == 1).all():
            part = part.argmax(axis=1)
        if part.ndim != 1 or (part.dtype.kind == "f" and not (part == np.floor(part)).all()):
            msg = (
                f"{where}: labels {part.dtype} {part.shape} are not classes; "
                "use integer ids (n,) or one-hot rows (n, classes)"
            )
            raise DataError(msg)
        ids.append(part.astype(np.int64))
    return ids, None
