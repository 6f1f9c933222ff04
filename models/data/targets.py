"""Convert targets of any usual form to the one that their task has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models.data.ignored import NO_CLASS
from models.data.rows import RowWriter, rows_of_file, together
from models.data.store import TEST, TRAIN, fit
from models.data.target_forms import are_ids
from models.errors import DataError
from models.ports import classes_of
from models.task_rules import TASK_RULES

if TYPE_CHECKING:
    from pathlib import Path

    from models.data.options import Array
    from models.data.target_forms import Change
    from models.data.target_stats import TargetStats
    from models.ports import Port
    from models.task_rules import Task

NORMAL_WORDS = frozenset({"normal", "good", "ok", "healthy", "nominal", "regular", "negative", "inlier"})


@dataclass(frozen=True)
class Place:
    """Tells where a row is, for messages: the rows to test on come after those to train on."""

    train_rows: int

    def __call__(self, row: int) -> tuple[str, int]:
        return (TRAIN, row) if row < self.train_rows else (TEST, row - self.train_rows)


@dataclass(frozen=True)
class Numbering:
    """Which value of the labels is which class.

    Attributes:
        ids: class ids by value; empty if the values are the ids.
        names: of the classes, where the values name them.
        note: for the user; may be empty.
    """

    ids: dict[float, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    note: str = ""


def number_classes(task: Task, output: Port, stats: TargetStats, labels: tuple[str, ...]) -> Numbering:
    """Find the class ids of labels that are numbers: as ``labels`` names them, counted from 1, or -1 and 1.

    Args:
        task: of the output.
        output: of the model.
        stats: of the labels.
        labels: names of the classes in order, given by the user; may be empty.
    """
    rule, limit = TASK_RULES[task], _limit(task, output)
    if limit is None or stats.words or not stats.integral or not stats.distinct or not are_ids(stats, output):
        return Numbering()
    values = [int(value) for value in stats.distinct]
    if len(labels) == limit and all(str(value) in labels for value in values):
        return Numbering({float(value): labels.index(str(value)) for value in values}, labels)
    order = (-1, 1) if values == [-1, 1] and limit == 2 else tuple(range(1, limit + 1))
    if values != list(order) and not (values[0] >= 1 and values[-1] == limit):
        return Numbering()
    shown = (
        "-1 and 1 were taken as 0 and 1" if order[0] < 0 else f"1 to {limit} were taken as 0 to {limit - 1}"
    )
    kind = "masks" if rule.has_positions else "labels"
    names = labels or tuple(map(str, order))
    return Numbering({float(value): index for index, value in enumerate(order)}, names, f"{kind} {shown}")


def write_targets(
    raw: Path,
    path: Path,
    task: Task,
    output: Port,
    stats: TargetStats,
    *,
    place: Place,
    normal: int | None,
    numbering: Numbering | None = None,
    ignore: int | None = None,
) -> None:
    """Write the targets of one output in the form of its task.

    Args:
        raw: ``.npy`` as the source gives them, text as indices of words.
        path: to write; nothing is written where the task stores none.
        task: given or inferred.
        output: of the model.
        stats: of ``raw``.
        place: for messages.
        normal: the id of the class that is not an anomaly; None: 0.
        numbering: of labels that are numbers.
        ignore: the value of positions in masks that have no class; they get ``NO_CLASS``.

    Raises:
        DataError: they are no targets of this task, or outside the model's classes.
    """
    rule, numbers = TASK_RULES[task], (numbering or Numbering()).ids
    if rule.stored is None:
        return
    if numbers:
        change = _by_number(numbers, output.shape[:-1] if rule.has_positions else ())
    else:
        change = rule.stored(task, output, stats, normal or 0)
    writer = RowWriter(path)
    limit = _limit(task, output)
    try:
        for (piece,) in together([rows_of_file(raw)]):
            hidden = None if ignore is None else piece == ignore
            targets = change(piece if hidden is None else np.where(hidden, stats.low, piece))
            if limit is not None:
                _check_range(targets, limit, stats, place, writer.rows)
            if hidden is not None:
                targets[hidden.reshape(targets.shape)] = NO_CLASS
            writer.append(targets)
    finally:
        writer.close()


def normal_class(names: tuple[str, ...], given: tuple[str, ...], only: int | None) -> int | None:
    """Find the class that is not an anomaly.

    Args:
        names: of the classes.
        given: the user's order; its first is the normal one.
        only: the one class of the training samples, if they are all of one.

    Returns:
        Its id, or None if it cannot be inferred.
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
    if TASK_RULES[task].class_ids and classes is not None:
        return max(classes, 2)
    return None


def _check_range(ids: Array, limit: int, stats: TargetStats, place: Place, at: int) -> None:
    wrong = np.argwhere((ids < 0) | (ids >= limit))
    if len(wrong):
        part, row = place(at + int(wrong[0][0]))
        index = (row, *map(int, wrong[0][1:]))
        at_index = f"{ids[tuple(wrong[0])]} at index {index[0] if len(index) == 1 else index}"
        msg = f"{part} labels: {_counts(stats, limit, at_index)}"
        raise DataError(msg)


def _counts(stats: TargetStats, limit: int, found: str) -> str:
    """Return how many classes data and model have, and what to do.

    Args:
        stats: about all labels.
        limit: the number of classes of the model.
        found: the first wrong label and its index.
    """
    values = [f"{value:g}" for value in stats.distinct]
    has = f"the model has {limit} (0..{limit - 1})"
    if not values or stats.nearly_painted:
        return f"{found}, {has}; save masks without loss, as PNG, with a class id for each pixel"
    shown = f"{values[0]}..{values[-1]}" if stats.contiguous and len(values) > 2 else ", ".join(values[:8])
    more = ", ..." if len(values) > 8 and not stats.contiguous else ""
    fix = "use the data that the model was trained on, or leave the other classes out"
    if len(values) == limit:
        names = ", ".join(f'"{value}"' for value in values[:8])
        fix = f"name them in the order of the model's outputs, such as labels = [{names}{more}]"
    elif len(values) < limit:
        fix = "renumber the labels from 0, or name every class in labels, in the order of the model's outputs"
    return f"the data has {len(values)} classes ({shown}{more}), {has}: {found}; {fix}"


def _by_number(numbers: dict[float, int], positions: tuple[int | None, ...]) -> Change:
    values = np.array(sorted(numbers), np.float64)
    ids = np.array([numbers[value] for value in values.tolist()], np.int64)
    return lambda rows: fit(ids[np.searchsorted(values, rows)], positions, reshape=False, name="labels")
