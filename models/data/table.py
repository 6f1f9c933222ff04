"""Data from tables of numbers: CSV and TSV, with or without a header."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.options import TEST_NAMES, Parts
from models.data.packed import open_lines
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from models.data.options import Array, Batch, DataOptions
    from models.ports import Port

    Row = tuple[int, list[str]]
    """The line's number, from 1, and its cells."""

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
MAX_CELL = 1 << 20
_BATCH_CELLS = 1 << 18
_TARGET_NAMES = ("label", "target", "class", "y")
_ROW_NUMBERS = ("", "Unnamed: 0")  # the header of a column that pandas writes beside the data
_MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-"})


@dataclass(frozen=True)
class Columns:
    """Which cells of a row are what.

    Attributes:
        names: of all columns: the header's, or their numbers from 0.
        header: the first row holds the names.
        inputs: indices, one tuple for each input.
        targets: indices, one tuple for each output; () where there are no targets.
        text: the target is text.
    """

    names: tuple[str, ...]
    header: bool
    inputs: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]
    text: bool


def read_table(path: Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions) -> Parts:
    """Read a table; a folder holds ``train.csv`` and perhaps ``test.csv`` (or ``val.csv``).

    Raises:
        DataError: the columns do not fit the model; while it is read: a cell is missing, or is no number.
    """
    train, test = table_files(path) if path.is_dir() else (path, None)
    columns = _choose_columns(train, inputs, outputs, options)
    if (
        test is not None
        and _first_rows(test)[0][: len(columns.names)] != list(columns.names)
        and columns.header
    ):
        msg = f"{test}: its first row is not that of {train.name}; give both the same columns"
        raise DataError(msg)
    integers = tuple(np.dtype(port.dtype).kind in "iu" for port in inputs)
    parts = [None if file is None else _batches(file, columns, integers) for file in (train, test)]
    files = [file for file in (train, test) if file is not None]

    def groups() -> Iterator[str]:
        place = columns.names.index(options.group)
        for file in files:
            for _, row in itertools.islice(_rows(file), int(columns.header), None):
                yield row[place].strip()

    return Parts(parts[0] or (), parts[1], reshape=True, groups=groups if options.group else None)


def table_files(folder: Path) -> tuple[Path, Path | None]:
    """Return the tables of a folder to train on and to test on.

    Raises:
        DataError: there is none to train on.
    """
    found = {file.name.split(".")[0].lower(): file for file in _tables(folder)}
    if len(found) == 1:
        return next(iter(found.values())), None
    train = next((file for name, file in found.items() if name == "train"), None)
    if train is None:
        names = sorted(file.name for file in found.values())
        msg = f"{folder}: tables {names}; name them train.csv and test.csv"
        raise DataError(msg)
    return train, next((found[name] for name in TEST_NAMES if name in found), None)


def _tables(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.name.lower().endswith(SUFFIXES))


def _rows(path: Path) -> Iterator[Row]:
    """Read rows that are not blank."""
    csv.field_size_limit(MAX_CELL)
    with open_lines(path) as lines:
        first = next(lines, "")
        delimiter = "\t" if ".tsv" in path.name.lower() else max(",;\t", key=first.count)
        reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, skipinitialspace=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            msg = f"{path}: row {reader.line_num}: {error}; correct it"
            raise DataError(msg) from error


def _first_rows(path: Path) -> tuple[list[str], list[str]]:
    rows = _rows(path)
    first = next(rows, (0, []))[1]
    second = next(rows, (0, first))[1]
    rows.close()  # type: ignore[attr-defined]  # a generator
    if not first:
        msg = f"{path}: no rows; give at least one"
        raise DataError(msg)
    return [cell.strip() for cell in first], [cell.strip() for cell in second]


def _choose_columns(
    path: Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions
) -> Columns:
    first, second = _first_rows(path)
    header = _is_header(first, second)
    names = tuple(first) if header else tuple(map(str, range(len(first))))
    if header and len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        msg = f"{path}: two columns are named {double!r}; rename one"
        raise DataError(msg)
    sizes = [math.prod(length for length in port.shape if length is not None) for port in inputs]
    if options.group:
        _find(path, names, (options.group,))
    others = tuple(name for name in names if name != options.group)
    target = _find(
        path, names, options.target or tuple(others[at] for at in _usual_target(others, inputs, outputs))
    )
    chosen = _find(path, names, options.columns) or [
        index
        for index, name in enumerate(names)
        if index not in target and name not in (*_ROW_NUMBERS, options.group)
    ]
    both = [names[index] for index in chosen if index in target]
    if both or not chosen:
        what = f"{both[0]!r} is an input and the target" if both else "no columns are left for the inputs"
        msg = f"{path}: {what}; name the columns of each"
        raise DataError(msg)
    if len(inputs) > 1 and len(chosen) != sum(sizes):
        msg = (
            f"{path}: {len(chosen)} input columns for {sizes} values of the model's inputs; name the columns"
        )
        raise DataError(msg)
    cells = second if header else first
    text = len(target) == 1 and not _is_number(cells[target[0]] if target[0] < len(cells) else "0")
    at = np.cumsum([0, *sizes]) if len(inputs) > 1 else [0, len(chosen)]
    groups = tuple(tuple(chosen[at[i] : at[i + 1]]) for i in range(len(inputs)))
    return Columns(names, header, groups, _by_output(path, target, outputs), text)


def _by_output(path: Path, target: list[int], outputs: Sequence[Port]) -> tuple[tuple[int, ...], ...]:
    if not target or len(outputs) == 1:
        return (tuple(target),) if target else ()
    if len(target) != len(outputs):
        msg = (
            f"{path}: {len(target)} target columns for {len(outputs)} outputs; name one for each with target"
        )
        raise DataError(msg)
    return tuple((index,) for index in target)


def _usual_target(names: tuple[str, ...], inputs: Sequence[Port], outputs: Sequence[Port]) -> list[int]:
    """Find the target columns: one of the usual names, else the last ones; none where all are inputs."""
    lower = [name.lower() for name in names]
    columns = sum(name not in _ROW_NUMBERS for name in names)
    named = next((lower.index(name) for name in _TARGET_NAMES if name in lower), None)
    if named is not None and len(outputs) == 1:
        return [named]
    taken = sum(math.prod(length or 1 for length in port.shape) for port in inputs)
    is_open = any(None in port.shape for port in inputs)
    if taken == columns and not is_open:
        return []
    count = max(len(outputs), 1)
    if (
        len(outputs) == 1
        and not is_open
        and 0 < columns - taken == math.prod(length or 1 for length in outputs[0].shape)
    ):
        count = columns - taken
    return list(range(len(names) - count, len(names)))


def _find(path: Path, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    missing = [name for name in wanted if name not in names]
    if missing:
        msg = f"{path}: no column {missing[0]!r}; there are {', '.join(names[:20])}"
        raise DataError(msg)
    return [names.index(name) for name in wanted]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.lower() in _MISSING
    return True


def _is_header(first: list[str], second: list[str]) -> bool:
    """Tell a header by a word above a number, a usual name of the target, or a count from 0."""
    if first == [str(number) for number in range(len(first))] and first != second:
        return True
    return any(
        (not _is_number(top) and _is_number(below)) or (top.lower() in _TARGET_NAMES[:3] and top != below)
        for top, below in zip(first, second, strict=False)
    )


def _batches(path: Path, columns: Columns, integers: tuple[bool, ...]) -> Iterator[Batch]:
    rows = _rows(path)
    if columns.header:
        next(rows, None)
    width = len(columns.names)
    text = columns.targets[0][0] if columns.text else None
    numbers = [index for index in range(width) if index != text]
    used = {index for group in (*columns.inputs, *columns.targets) for index in group}
    batch: list[list[float]] = []
    words: list[str] = []
    count = max(1, _BATCH_CELLS // width)
    drop = len(used) < width
    keep = sorted(used - {text})
    place = {index: at for at, index in enumerate(keep if drop else numbers)}
    for line, row in rows:
        if len(row) != width:
            msg = f"{path}: row {line} has {len(row)} cells, the first row {width}; correct it"
            raise DataError(msg)
        if text is not None:
            words.append(_word(path, columns, line, row[text].strip(), text))
            if not drop:
                del row[text]
        try:
            batch.append([float(row[index]) for index in keep] if drop else list(map(float, row)))
        except ValueError:
            _refuse(path, columns, line, row, keep if drop else numbers, drop)
        if not math.isfinite(sum(batch[-1])):
            _refuse(path, columns, line, row, keep if drop else numbers, drop)
        if len(batch) == count:
            yield _to_arrays(batch, words, columns, place, integers)
            batch, words = [], []
    if batch:
        yield _to_arrays(batch, words, columns, place, integers)


def _to_arrays(
    batch: list[list[float]],
    words: list[str],
    columns: Columns,
    place: dict[int, int],
    integers: tuple[bool, ...],
) -> Batch:
    values = np.array(batch, np.float64)

    def columns_of(group: Iterable[int]) -> Array:
        return values[:, [place[index] for index in group]]

    inputs = tuple(
        columns_of(group) if integer else columns_of(group).astype(np.float32)
        for group, integer in zip(columns.inputs, integers, strict=True)
    )
    if columns.text:
        return inputs, (np.array(words),)
    return inputs, tuple(
        columns_of(group)[:, 0] if len(group) == 1 else columns_of(group) for group in columns.targets
    )


def _word(path: Path, columns: Columns, line: int, word: str, index: int) -> str:
    if word.lower() in _MISSING:
        msg = f"{path}: row {line}, column {columns.names[index]!r}: missing; fill it or remove the row"
        raise DataError(msg)
    return word


def _refuse(path: Path, columns: Columns, line: int, row: list[str], places: list[int], whole: bool) -> None:
    """Name the cell that is missing or no number."""
    for at, index in enumerate(places):
        cell = (row[index] if whole else row[at]).strip()
        where = f"{path}: row {line}, column {columns.names[index]!r}"
        if cell.lower() in _MISSING:
            msg = f"{where}: missing; fill it or remove the row"
            raise DataError(msg)
        try:
            value = float(cell)
        except ValueError:
            msg = f"{where}: text {cell[:40]!r}; write it as numbers, or leave the column out with columns"
            raise DataError(msg) from None
        if not math.isfinite(value):
            msg = f"{where}: {cell}; remove or mend it"
            raise DataError(msg)
