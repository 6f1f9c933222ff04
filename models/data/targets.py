"""Bring targets of any usual form to the one that their task has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.rows import RowWriter, rows_of_file, together
from models.data.store import TEST, TRAIN, fit
from models.data.tasks import classes_of
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.data.facts import Facts
    from models.data.options import Array
    from models.ports import Port, Task

    Change = Callable[[Array], Array]

NORMAL_WORDS = frozenset({"normal", "good", "ok", "healthy", "nominal", "regular", "negative", "inlier"})


@dataclass(frozen=True)
class Place:
    """Tells where a row is, for messages: the rows to test on come after those to train on."""

    train_rows: int

    def __call__(self, row: int) -> tuple[str, int]:
        return (TRAIN, row) if row < self.train_rows else (TEST, row - self.train_rows)


def write_targets(
    raw: Path, path: Path, task: Task, output: Port, facts: Facts, *, place: Place, normal: int | None
) -> None:
    """Write the targets of one output in the form of its task.

    Args:
        raw: ``.npy`` as the source gives them, text as indices of words.
        path: to write; nothing is written for a reconstruction.
        task: given or inferred.
        output: of the model.
        facts: of ``raw``.
        place: for messages.
        normal: the id of the class that is no anomaly; None: 0.

    Raises:
        DataError: they are no targets of this task, or outside the model's classes.
    """
    if task == "reconstruction":
        return
    change = _change(task, output, facts, normal)
    writer = RowWriter(path)
    limit = _limit(task, output)
    try:
        for (piece,) in together([rows_of_file(raw)]):
            targets = change(piece)
            if limit is not None:
                _check_range(targets, limit, place, writer.rows)
            writer.append(targets)
    finally:
        writer.close()


def normal_class(names: tuple[str, ...], given: tuple[str, ...], only: int | None) -> int | None:
    """Find the class that is no anomaly.

    Args:
        names: of the classes.
        given: the user's order; its first is the normal one.
        only: the one class of the training samples, if they are all of one.

    Returns:
        Its id, or None where nothing tells.
    """
    if not names:
        return None
    if given:
        return 0
    known = [index for index, name in enumerate(names) if name.lower() in NORMAL_WORDS]
    return known[0] if len(known) == 1 else only


def order_words(words: tuple[str, ...], known: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names in the order of their ids: the user's, else the source's, else the alphabet's.

    Args:
        words: all that the labels hold.
        known: to the source, in order; may be empty.
        given: by the user, in order; may be empty.

    Raises:
        DataError: the user's names leave one out.
    """
    names = given or known or tuple(sorted(words))
    missing = sorted(set(words) - set(names))
    if missing and given and len(given) == len(known or words) and all(map(_is_number, words)):
        return known or tuple(sorted(words))  # they name classes that the data only numbers
    if missing:
        msg = (
            f"labels {list(names)} leave out {missing[0]!r}, which is in the data; name every class, in order"
        )
        raise DataError(msg)
    return names


def _is_number(word: str) -> bool:
    return word.lstrip("+-").replace(".", "", 1).isdigit()


def _limit(task: Task, output: Port) -> int | None:
    classes = classes_of(output)
    if task in ("classification", "segmentation") and classes is not None:
        return max(classes, 2)
    return None


def _check_range(ids: Array, limit: int, place: Place, at: int) -> None:
    wrong = np.argwhere((ids < 0) | (ids >= limit))
    if len(wrong):
        part, row = place(at + int(wrong[0][0]))
        index = (row, *map(int, wrong[0][1:]))
        msg = (
            f"{part} labels: {ids[tuple(wrong[0])]} at index {index[0] if len(index) == 1 else index} "
            f"is outside the model's classes 0..{limit - 1}; "
            "renumber the labels from 0 or use the model's data"
        )
        raise DataError(msg)


def _change(task: Task, output: Port, facts: Facts, normal: int | None) -> Change:
    """Return the function from raw to stored targets, for a batch."""
    if task == "classification":
        return _to_ids(task, facts, 0)
    if task == "segmentation":
        return _to_masks(output, facts)
    if task == "binary":
        return _to_zero_one(facts)
    if task == "anomaly":
        ids = _to_ids(task, facts, 0)
        return lambda rows: (ids(rows) != (normal or 0)).astype(np.int64)
    if task == "multi-label":
        if facts.shape not in ((classes_of(output),), (classes_of(output), 1)) or not facts.zero_one:
            raise DataError(_wrong(task, facts, f"rows of {classes_of(output)} zeros and ones"))
        return lambda rows: rows.reshape(len(rows), -1).astype(np.uint8)
    if task == "embedding":
        return _to_ids(task, facts, 0)
    return lambda rows: fit(rows, output.shape, reshape=False, name="targets").astype(np.float32)


def _to_ids(task: Task, facts: Facts, axes: int) -> Change:
    """Class ids from ids or from one-hot rows, which have ``axes`` and one more."""
    if len(facts.shape) == axes + 1 and facts.shape[-1] > 1 and facts.soft:
        return lambda rows: rows.argmax(axis=-1).astype(np.int64)
    if not facts.integral or len(facts.shape) not in (axes, axes + 1) or facts.shape[axes:] not in ((), (1,)):
        raise DataError(_wrong(task, facts, "integer ids or one-hot rows"))
    return lambda rows: rows.reshape(rows.shape[: axes + 1]).astype(np.int64)


def _to_masks(output: Port, facts: Facts) -> Change:
    positions = output.shape[:-1]
    ids = _to_ids("segmentation", facts, len(positions))
    painted = facts.distinct in ((0.0, 255.0), (255.0,)) and (classes_of(output) or 0) <= 2

    def change(rows: Array) -> Array:
        masks = fit(ids(rows), positions, reshape=False, name="masks")
        return masks // 255 if painted else masks

    return change


def _to_zero_one(facts: Facts) -> Change:
    if facts.distinct == (-1.0, 1.0) and facts.scalar:
        return lambda rows: (rows.reshape(len(rows)) > 0).astype(np.int64)
    if facts.high > 1 or facts.low < 0:
        raise DataError(_wrong("binary", facts, "0 and 1"))
    return _to_ids("binary", facts, 0)


def _wrong(task: str, facts: Facts, form: str) -> str:
    return (
        f"targets of shape {facts.shape} a sample, from {facts.low:g} to {facts.high:g}, are none of "
        f"{task}; give {form}"
    )
