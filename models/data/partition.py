"""Choose the stored rows to train on, those to test on and those to choose models on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.data.held_out import MIN_SAMPLES, Kinship, given, hold_out, set_aside
from models.data.outputs import target_file
from models.data.rows import rows_of_file, together
from models.data.splits import bins, make_split, split_groups, split_time, without_shared
from models.data.store import input_file
from models.errors import DataError
from models.task_rules import TASK_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from models.data.options import DataOptions
    from models.data.store import Stored
    from models.task_rules import Task

    Indices = NDArray[np.int64]

_PAIRS = 64  # pairs of consecutive samples to check for overlap
_MIN_SHARED = 8  # steps


class Splits(NamedTuple):
    """Rows for each purpose, ascending.

    Attributes:
        train: to calibrate on, and to train on where nothing is chosen.
        test: to test on; no other row equals one of these.
        fit: to train on where a choice between models follows.
        held_out: to make that choice on: the user's validation samples, or the rows of ``train`` that are not
            in ``fit``. None of a small data set.
        aside: the rows of ``test`` that a build may set aside to make it on; none beside validation samples,
            and none of a small data set.
        rest: the rows of ``test`` to test on then; those that overlap ``aside`` are in neither.
    """

    train: Indices
    test: Indices
    fit: Indices
    held_out: Indices
    aside: Indices
    rest: Indices


def choose_rows(
    folder: Path,
    tasks: tuple[Task, ...],
    stored: Stored,
    groups: Iterable[str] | None,
    options: DataOptions,
    seed: int,
    notes: list[str],
) -> Splits:
    """Choose the rows of each purpose.

    Args:
        folder: holds the stored inputs and targets.
        tasks: one for each output.
        stored: what was written there.
        groups: the group of each row; None if there are no groups.
        options: how to split.
        seed: of the choice.
        notes: get what the user may not expect.

    Raises:
        DataError: the samples cannot be split that way, or too few are left to train on.
    """
    count = len(stored.digests)
    strata, anomalous = np.zeros(count, np.int64), np.zeros(count, bool)
    stratified: Task | None = None
    for index in reversed(range(len(tasks))):  # the first output that can tell decides
        if target_file(folder, index).exists() and TASK_RULES[tasks[index]].strata:
            stratified = tasks[index]
            strata = _strata(target_file(folder, index), tasks[index])
        if TASK_RULES[tasks[index]].only_normal:
            anomalous |= np.load(target_file(folder, index)) == 1
    numbers = _numbers(groups, count)
    overlap = _overlap(input_file(folder, 0))
    if stored.test_rows is None:
        train, test = _split(overlap, strata, stored, numbers, options, seed, notes)
        test = np.union1d(test, np.flatnonzero(anomalous))
    else:
        train, test = np.arange(stored.train_rows), stored.train_rows + np.arange(stored.test_rows)
        _note_given(None if numbers is None else (numbers[train], numbers[test]), options, notes)
    unfit = int(anomalous[train].sum())
    if unfit:
        where = "are there to test on" if stored.test_rows is None else "were left out"
        notes.append(f"{unfit} anomalies among the training samples {where}: only normal ones are trained on")
    train = train[~anomalous[train]]
    total = len(train)
    classes = strata if stratified is not None and TASK_RULES[stratified].one_class else None
    train, shared = without_shared(train, test, stored.digests, classes)
    if shared:
        notes.append(
            f"leakage: {shared} of {total} training samples ({100 * shared / total:.1f} %) are also test "
            "samples; they were left out of training and calibration"
        )
    if not len(train):
        msg = "no training samples are left; give normal samples to train on"
        if anomalous.any():
            msg += ", labelled 0, or name the normal class first in labels"
        raise DataError(msg)
    _check_time(options, stored, strata if classes is not None else None, train, test)
    by_time = options.split == "time" and stored.test_rows is None
    kinship = Kinship(strata, stored.digests, numbers, overlap.samples, by_time)
    validation = np.arange(count - stored.validation_rows, count)
    return _with_held_out(train, test, validation, anomalous, kinship, seed, notes)


def _with_held_out(
    train: Indices,
    test: Indices,
    rows: Indices,
    anomalous: NDArray[np.bool_],
    kinship: Kinship,
    seed: int,
    notes: list[str],
) -> Splits:
    """Return the rows of each purpose; rows: those of the user's own validation samples."""
    digests = kinship.digests
    validation = given(rows, test, digests, anomalous, seed)
    if len(validation):
        notes.append(f"{len(validation)} validation samples are held out to choose between models")
        fit = train[~np.isin(digests[train], digests[validation])]
        return Splits(train, test, fit, validation, test[:0], test)
    if len(rows):
        few = f"{len(rows)} validation samples are not used: fewer than {MIN_SAMPLES} "
        notes.append(few + "remain that are not tested on")
    aside = set_aside(test, anomalous, kinship, seed)
    return Splits(train, test, *hold_out(train, kinship, seed), *aside)


class _Overlap(NamedTuple):
    """How windows of a series overlap: by how many steps each begins after the last, and their length."""

    step: int = 0
    length: int = 0

    @property
    def samples(self) -> int:
        """How many samples after one share values with it."""
        return math.ceil(self.length / self.step) - 1 if self.step else 0


def _overlap(path: Path) -> _Overlap:
    step = window_step(path)
    return _Overlap(step, rows_of_file(path).shape[1]) if step else _Overlap()


def window_step(path: Path) -> int | None:
    """Find by how many steps each sample of a series begins after the one before it, where they overlap.

    Args:
        path: ``.npy`` ``(n, steps, channels)`` or ``(n, steps)``; others give None.

    Returns:
        The steps; None if most consecutive samples do not overlap.
    """
    rows = rows_of_file(path)
    count, *shape = rows.shape
    if len(shape) not in (1, 2) or count < 3 or shape[0] < 2 * _MIN_SHARED:
        return None
    size = math.prod(shape)
    first = path.stat().st_size - count * size * rows.dtype.itemsize
    steps = []
    for at in np.unique(np.linspace(0, count - 2, _PAIRS).astype(int)).tolist():
        offset = first + at * size * rows.dtype.itemsize
        steps.append(_shift(*np.fromfile(path, rows.dtype, 2 * size, offset=offset).reshape(2, *shape)))
    found = [step for step in steps if step is not None]
    return max(found) if 2 * len(found) > len(steps) else None


def _shift(first: NDArray[Any], second: NDArray[Any]) -> int | None:
    equal = (first == second[0]).reshape(len(first), -1).all(axis=1)
    for step in np.flatnonzero(equal[: len(first) - _MIN_SHARED + 1]).tolist():
        shared = first[step:]
        if step and shared.min() != shared.max() and np.array_equal(shared, second[: len(shared)]):
            return int(step)
    return None


def _split(
    overlap: _Overlap,
    strata: Indices,
    stored: Stored,
    groups: Indices | None,
    options: DataOptions,
    seed: int,
    notes: list[str],
) -> tuple[Indices, Indices]:
    """Split samples that come in one part."""
    count = len(strata)
    if groups is not None and options.split != "time":
        train, test = split_groups(strata, groups, options.test_fraction, seed)
        tested, every = len(np.unique(groups[test])), len(np.unique(groups))
        notes.append(f"{tested} of {every} groups, {len(test)} of {count} samples, are test samples")
        return train, test
    if options.split == "time":
        if overlap.samples:
            notes.append(
                f"{overlap.samples} samples that overlap the first of the test samples were left out"
            )
        return split_time(count, options.test_fraction, overlap.samples)
    if overlap.step:
        notes.append(
            f"consecutive samples overlap: each begins {overlap.step} of {overlap.length} steps after the "
            "one before it. A random split tests on what was trained on, and its accuracy is too high; "
            'set split = "time" or group under [data]'
        )
    repeated = count - len(np.unique(stored.digests))
    if repeated:
        notes.append(f"samples that repeat others: {repeated}; equal ones were kept on one side of the split")
    return make_split(strata, stored.digests, options.test_fraction, seed)


def _check_time(
    options: DataOptions, stored: Stored, classes: Indices | None, train: Indices, test: Indices
) -> None:
    """Refuse a split in time of samples that are in the order of their classes."""
    if options.split != "time" or stored.test_rows is not None or classes is None:
        return
    untrained = np.setdiff1d(classes[test], classes[train])
    is_sorted = (np.diff(classes) >= 0).all() and classes[0] != classes[-1]
    if len(untrained) or is_sorted:
        what = "sorts them by class" if is_sorted else f"leaves no training sample of class {untrained[0]}"
        msg = (
            f'split = "time" takes the last samples for the test, and the order of these samples {what}; '
            "put them in the order of time, or split by group"
        )
        raise DataError(msg)


def _note_given(groups: tuple[Indices, Indices] | None, options: DataOptions, notes: list[str]) -> None:
    """Note which options do not apply because the source has its own split; groups: of training and test."""
    if options.split == "time":
        notes.append('split = "time" is not used: the data has test samples of its own')
    if groups is not None:
        both = np.intersect1d(*groups)
        if len(both):
            notes.append(
                f"leakage: {len(both)} groups are in both the training and the test samples; "
                "give samples of other groups to test on, or one set to have it split"
            )


def _numbers(groups: Iterable[str] | None, count: int) -> Indices | None:
    if groups is None:
        return None
    _, numbers = np.unique(list(groups), return_inverse=True)
    if len(numbers) != count:
        msg = f"{len(numbers)} groups for {count} samples; give one for each sample"
        raise DataError(msg)
    return numbers.astype(np.int64)


def _strata(path: Path, task: Task) -> Indices:
    if TASK_RULES[task].strata == "ids":
        return np.asarray(np.load(path), np.int64)
    means = [piece.reshape(len(piece), -1).mean(axis=1) for (piece,) in together([rows_of_file(path)])]
    return bins(np.concatenate(means))
