"""Data from arrays that have names: ``.npz`` files, folders of ``.npy``, or what a function returns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.data.options import TEST_NAMES, VALIDATION_NAMES, Parts
from models.data.rows import Rows, rows_of_archive, rows_of_array, rows_of_file, together
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from models.data.options import Batch
    from models.ports import Port

    Found = tuple[tuple[Rows, ...], tuple[Rows, ...]]

_INPUTS = ("x", "images", "data", "features", "inputs", "samples")
_TARGETS = ("y", "labels", "targets", "classes", "label", "target", "masks")
_GROUPS = ("group", "groups")
_CLASS_NAMES = ("class_names", "label_names")
_COLUMN_NAMES = ("feature_names", "column_names")


def read_npz(path: Path, inputs: Sequence[Port], outputs: Sequence[Port], group: str = "") -> Parts:
    """Read an ``.npz`` file.

    Raises:
        DataError: it is damaged, holds Python objects, claims more than it may, or its names tell nothing.
    """
    return parts_of_arrays(rows_of_archive(path), inputs, outputs, str(path), group)


def read_npy(path: Path, inputs: Sequence[Port], outputs: Sequence[Port], group: str = "") -> Parts:
    """Read a folder of ``.npy`` files named as the arrays of an ``.npz``, or one file of inputs alone.

    Raises:
        DataError: as :func:`read_npz`.
    """
    if path.is_dir():
        files = {file.stem: rows_of_file(file) for file in sorted(path.glob("*.npy"))}
        return parts_of_arrays(files, inputs, outputs, str(path), group)
    if len(inputs) != 1:
        msg = f"{path}: one array for {len(inputs)} inputs; give a folder with one file for each"
        raise DataError(msg)
    return parts_of_rows(((rows_of_file(path),), ()), None, str(path))


def parts_of_arrays(
    arrays: Mapping[str, Rows],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    where: str,
    group: str = "",
) -> Parts:
    """Find inputs and targets by their names: ``x_train``, ``train_images``, ``X`` and the like.

    Where the model has several inputs or outputs, each array has that one's name instead of x or y. The array
    that ``group`` names, else one called ``group`` or ``groups``, holds the group of each sample.

    Raises:
        DataError: the names found, and those that are understood.
    """
    by_name = {name.lower(): array for name, array in arrays.items()}
    train = _find_part(by_name, ("train",), inputs, outputs, where) or _find_part(
        by_name, ("",), inputs, outputs, where
    )
    test = _find_part(by_name, TEST_NAMES, inputs, outputs, where)
    validation = _find_part(by_name, VALIDATION_NAMES, inputs, outputs, where)
    if test is None:
        test, validation = validation, None
    if train is None:
        expected = "x_train, y_train, x_test, y_test, or x and y to have them split"
        if len(inputs) > 1 or len(outputs) > 1:
            several = [*(port.name for port in inputs), *(port.name for port in outputs)]
            expected = (
                f"after the model's inputs and outputs {several}, with _train or _test behind, or nothing"
            )
        msg = f"{where}: arrays {sorted(arrays)}; name them {expected}"
        raise DataError(msg)
    names = next((by_name[key] for key in _CLASS_NAMES if key in by_name), None)
    parts = parts_of_rows(train, test, where, () if names is None else _text(names), validation)
    parts = replace(parts, columns=_columns(by_name, train[0], where))
    taken = {port.name.lower() for port in (*inputs, *outputs)}
    found = [name for name in ((group.lower(),) if group else _GROUPS) if name not in taken]
    by_part = {"train": train, "test": test, "validation": validation}
    return replace(parts, groups=_groups(by_name, found, by_part, where, required=bool(group)))


def parts_of_rows(
    train: Found,
    test: Found | None,
    where: str,
    class_names: tuple[str, ...] = (),
    validation: Found | None = None,
) -> Parts:
    """Read arrays of the same length side by side.

    Args:
        train: inputs and targets to train on.
        test: the same to test on. Where only these have targets, those to train on are all 0: normal.
        where: the source, for messages.
        class_names: of all classes in order.
        validation: the same that models were chosen on.

    Raises:
        DataError: their lengths differ.
    """
    if test is not None and test[1] and not train[1]:
        train = train[0], tuple(_zeros(train[0][0].shape[0], target) for target in test[1])
    elif test is not None and train[1] and not test[1]:
        msg = f"{where}: labels to train on and none to test on; give both"
        raise DataError(msg)
    if validation is not None and train[1] and not validation[1]:
        validation = None
    for part, found in (("training", train), ("test", test), ("validation", validation)):
        if found is None:
            continue
        shapes = [array.shape for arrays in found for array in arrays]
        if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            both = [", ".join(str(array.shape) for array in arrays) for arrays in found]
            msg = (
                f"{where}: {part} inputs {both[0]} and labels {both[1]} differ in length; "
                "give one label for each sample"
            )
            raise DataError(msg)
    return Parts(
        _batches(train),
        None if test is None else _batches(test),
        class_names,
        validation=None if validation is None else _batches(validation),
    )


def _groups(
    arrays: Mapping[str, Rows],
    names: list[str],
    parts: Mapping[str, Found | None],
    where: str,
    *,
    required: bool,
) -> Callable[[], Iterable[str]] | None:
    """Find the group of each sample: ``NAME``, or ``NAME_train`` and ``NAME_test`` of several parts."""
    ends_of = {
        "train": ("train",) if parts["test"] is not None else ("", "train"),
        "test": (*TEST_NAMES, *VALIDATION_NAMES),
        "validation": VALIDATION_NAMES,
    }
    found = []
    for part, rows in parts.items():
        if rows is None:
            continue
        ends = ends_of[part]
        spellings = [f"{name}_{end}" if end else name for name in names for end in ends]
        array = next((arrays[name] for name in spellings if name in arrays), None)
        if array is None and required:
            msg = (
                f"{where}: no array {spellings[0]!r} of groups among {sorted(arrays)}; add it or change group"
            )
            raise DataError(msg)
        if array is None:
            return None
        if array.shape not in ((rows[0][0].shape[0],), (rows[0][0].shape[0], 1)):
            msg = (
                f"{where}: groups of shape {array.shape} for {rows[0][0].shape[0]} samples; give one for each"
            )
            raise DataError(msg)
        found.append(array)
    return lambda: [str(name) for array in found for piece in array.pieces(1 << 16) for name in piece.ravel()]


def _zeros(rows: int, target: Rows) -> Rows:
    return rows_of_array(np.zeros((rows, *target.shape[1:]), target.dtype))


def _batches(found: Found) -> Iterator[Batch]:
    inputs, targets = found
    for arrays in together([*inputs, *targets]):
        yield arrays[: len(inputs)], arrays[len(inputs) :]


def _find_part(
    arrays: Mapping[str, Rows],
    parts: tuple[str, ...],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    where: str,
) -> Found | None:
    for part in parts:
        found = [_find_port(arrays, port, _INPUTS if len(inputs) == 1 else (), part) for port in inputs]
        targets = [_find_port(arrays, port, _TARGETS if len(outputs) == 1 else (), part) for port in outputs]
        present = tuple(array for array in found if array is not None)
        if len(present) == len(inputs):
            given = tuple(array for array in targets if array is not None)
            if given and len(given) < len(outputs):
                lacking = next(
                    port.name for port, array in zip(outputs, targets, strict=True) if array is None
                )
                end = f"_{part}" if part else ""
                msg = f"{where}: no array {lacking + end!r} for that output of the model; add it"
                raise DataError(msg)
            return present, given
    return None


def _find_port(arrays: Mapping[str, Rows], port: Port, usual: tuple[str, ...], part: str) -> Rows | None:
    for name in (*usual, port.name.lower()):
        for spelling in (f"{name}_{part}", f"{part}_{name}", f"{part}{name}") if part else (name,):
            if spelling in arrays:
                return arrays[spelling]
    return None


def _columns(by_name: Mapping[str, Rows], inputs: Sequence[Rows], where: str) -> tuple[tuple[str, ...], ...]:
    """Return the names of the values of the only input, where an array has them."""
    key = next((key for key in _COLUMN_NAMES if key in by_name), None)
    if key is None or len(inputs) != 1:
        return ()
    names, count = _text(by_name[key]), math.prod(inputs[0].shape[1:])
    if len(names) != count or len(set(names)) < count:
        different = len(set(names))
        msg = f"{where}: {key} has {different} different names for {count} values a sample; give one for each"
        raise DataError(msg)
    return (names,)


def _text(names: Rows) -> tuple[str, ...]:
    return tuple(str(name) for piece in names.pieces(1 << 16) for name in piece)
