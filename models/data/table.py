"""Data from tables of numbers: CSV, TSV and other delimited text, with or without a header."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from models.data.columns import choose_columns
from models.data.dialect import MISSING, check_width, find_dialect, parse_number, read_rows
from models.data.options import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, Parts
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from models.data.columns import Columns
    from models.data.dialect import Dialect
    from models.data.options import Array, Batch, DataOptions
    from models.ports import Port

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
FILE_SUFFIXES = (*SUFFIXES, ".txt", ".data", ".dat", ".psv", ".tab", ".txt.gz", ".data.gz")
"""Also of tables that are named one by one; in a folder they may be anything."""
_BATCH_CELLS = 1 << 18
_BOOLEANS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class _Reader:
    """One file, and how its cells become numbers.

    Attributes:
        path: the file.
        dialect: how it is written.
        columns: which cells are what.
        text: the column of the target, where it is text.
        missing: what stands for a missing target, besides nothing.
        integers: for each input, whether it takes integers.
    """

    path: Path
    dialect: Dialect
    columns: Columns
    text: int | None
    missing: frozenset[str]
    integers: tuple[bool, ...]


def read_table(path: Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions) -> Parts:
    """Read a table; a folder holds ``train.csv`` and perhaps ``test.csv`` (or ``val.csv``).

    Raises:
        DataError: the columns do not fit the model; while it is read: a cell is missing, or is not a number.
    """
    train, *others = table_files(path) if path.is_dir() else [path]
    dialect = find_dialect(train, options.decimal)
    names = dialect.names
    if dialect.header and len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        msg = f"{path}: two columns are named {double!r}; rename one"
        raise DataError(msg)
    columns = choose_columns(train, dialect, inputs, outputs, options)
    missing = frozenset(options.missing)
    text = _text_target(train, dialect, columns, missing)
    integers = tuple(np.dtype(port.dtype).kind in "iu" for port in inputs)
    readers = [_Reader(train, dialect, columns, text, missing, integers)]
    for file in others:
        other = find_dialect(file, options.decimal or dialect.decimal)
        same = _reordered(file, other, train, dialect, columns, options.group)
        moved = None if text is None else same.targets[0][0]
        readers.append(_Reader(file, other, same, moved, missing, integers))
    notes = [
        f"{reader.path.name} is not UTF-8 and was read as Windows-1252 (Latin-1)"
        for reader in readers
        if reader.dialect.encoding == "cp1252"
    ]
    commas = [f"{reader.path.name}: decimal comma" for reader in readers if reader.dialect.decimal == ","]
    return Parts.in_order(
        [_batches(reader) for reader in readers],
        notes=notes,
        reshape=True,
        findings=[columns.finding, *commas],
        groups=partial(_groups, readers, options.group) if options.group else None,
        columns=columns.input_names if dialect.header else (),
    )


def _groups(readers: Sequence[_Reader], group: str) -> Iterator[str]:
    """Return the group of each row; the rows are read again."""
    for reader in readers:
        place = reader.dialect.names.index(group)
        for _, row in read_rows(reader.path, reader.dialect):
            yield row[place].strip()


def table_files(folder: Path) -> list[Path]:
    """Return the tables of a folder to train on, test on and choose models on, by a word in their names.

    Only the first is always there.

    Raises:
        DataError: there is none to train on, or several.
    """
    found = sorted(file for file in folder.iterdir() if file.name.lower().endswith(SUFFIXES))
    found = [file for file in found if not file.name.startswith(".")]
    if len(found) == 1:
        return found
    words = {file: set(re.split(r"[^a-z]+", file.name.lower())) for file in found}
    train = [file for file in found if words[file] & set(TRAIN_NAMES)]
    if len(train) != 1:
        msg = f"{folder}: tables {[file.name for file in found]}; name them train.csv and test.csv"
        raise DataError(msg)
    others = [file for file in found if file not in train]
    kinds = (
        [file for file in others if words[file] & set(names)] for names in (TEST_NAMES, VALIDATION_NAMES)
    )
    return [*train, *(files[0] for files in kinds if files)]


def _reordered(
    test: Path, other: Dialect, train: Path, dialect: Dialect, columns: Columns, group: str
) -> Columns:
    """Return the same columns in the order of another file."""
    if other.header != dialect.header or (not other.header and len(other.names) != len(dialect.names)):
        msg = f"{test}: its first row is not that of {train.name}; give both the same columns"
        raise DataError(msg)
    if other.names == dialect.names:
        return columns
    used = [dialect.names[index] for group in (*columns.inputs, *columns.targets) for index in group]
    lacking = [name for name in (*used, *([group] if group else [])) if name not in other.names]
    if lacking:
        msg = f"{test}: its first row is not that of {train.name}: no column {lacking[0]!r}; add it"
        raise DataError(msg)
    place = {
        index: other.names.index(name) for index, name in enumerate(dialect.names) if name in other.names
    }

    def moved(groups: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(place[index] for index in group) for group in groups)

    return type(columns)(other.names, moved(columns.inputs), moved(columns.targets), columns.finding)


def _text_target(path: Path, dialect: Dialect, columns: Columns, missing: frozenset[str]) -> int | None:
    """Return the column of the only target, where it is text rather than numbers.

    The whole column is read where the first rows leave it open: ``none`` may be a class or a missing number.
    """
    if [len(group) for group in columns.targets] != [1]:
        return None
    [[target]] = columns.targets
    if dialect.is_text(target):
        return target
    cells = set(dialect.cells(target)) - missing
    words = {cell for cell in cells if dialect.number(cell) is None and cell}
    if not words:
        return None
    if words < cells - {""} and not all(word.lower() in _BOOLEANS for word in words):
        return None  # numbers among them: the words stand for missing ones
    for _, row in read_rows(path, dialect):
        cell = row[target].strip() if target < len(row) else ""
        if cell and cell not in missing and dialect.number(cell) is not None:
            return None
    return target


def _batches(reader: _Reader) -> Iterator[Batch]:
    width, text = len(reader.columns.names), reader.text
    used = {index for group in (*reader.columns.inputs, *reader.columns.targets) for index in group}
    keep = sorted(used - {text})
    place = {index: at for at, index in enumerate(keep)}
    comma = reader.dialect.decimal == ","
    count = max(1, _BATCH_CELLS // max(len(keep), 1))
    batch: list[list[float]] = []
    words: list[str] = []
    for line, row in read_rows(reader.path, reader.dialect):
        check_width(reader.path, line, row, width)
        if text is not None:
            words.append(_word(reader, line, row[text].strip(), text))
        batch.append(_fast([row[index] for index in keep], comma) or _numbers(reader, line, row, keep))
        if len(batch) == count:
            yield _to_arrays(batch, words, reader, place)
            batch, words = [], []
    if batch:
        yield _to_arrays(batch, words, reader, place)


def _fast(cells: list[str], comma: bool) -> list[float] | None:
    """Return finite numbers in the usual form; None if a cell has to be looked at."""
    joined = "".join(cells)
    if "_" in joined or not joined.isascii():
        return None  # float takes 1_1 for 11
    if comma:
        if "." in joined:
            return None
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        values = list(map(float, cells))
    except ValueError:
        return None
    return values if math.isfinite(sum(values)) else None


def _numbers(reader: _Reader, line: int, row: list[str], keep: list[int]) -> list[float]:
    """Return the numbers of a row; name the cell that is missing or holds none."""
    values = []
    for index in keep:
        cell = row[index].strip()
        value = reader.dialect.number(cell)
        where = f"{reader.path}: row {line}, column {reader.columns.names[index]!r}"
        if value is None and cell.lower() in _BOOLEANS:
            value = _BOOLEANS[cell.lower()]
        if value is None and (cell.lower() in MISSING or cell in reader.missing):
            msg = f"{where}: missing; fill it or remove the row"
            raise DataError(msg)
        if value is None:
            msg = f"{where}: {_no_number(reader, cell)}"
            raise DataError(msg)
        if not math.isfinite(value):
            msg = f"{where}: {cell} is too large; remove or correct it"
            raise DataError(msg)
        values.append(value)
    return values


def _no_number(reader: _Reader, cell: str) -> str:
    mark = reader.dialect.decimal
    if cell.lower().lstrip("+-") in ("inf", "infinity", "nan"):
        return f"{cell} is not finite; remove or correct it"
    if parse_number(cell, "." if mark == "," else ",") is not None:
        other = "point" if mark == "," else "comma"
        return (
            f"{cell!r} has a decimal {other}; give decimal, or write all numbers alike and without separators"
        )
    return f"text {cell[:40]!r}; write it as numbers, or leave the column out with columns"


def _to_arrays(batch: list[list[float]], words: list[str], reader: _Reader, place: dict[int, int]) -> Batch:
    values = np.array(batch, np.float64).reshape(len(batch), len(place))

    def columns_of(group: Iterable[int]) -> Array:
        return values[:, [place[index] for index in group]]

    inputs = tuple(
        columns_of(group) if integer else columns_of(group).astype(np.float32)
        for group, integer in zip(reader.columns.inputs, reader.integers, strict=True)
    )
    if reader.text is not None:
        return inputs, (np.array(words),)
    return inputs, tuple(
        columns_of(group)[:, 0] if len(group) == 1 else columns_of(group) for group in reader.columns.targets
    )


def _word(reader: _Reader, line: int, word: str, index: int) -> str:
    if not word or word in reader.missing:
        name = reader.columns.names[index]
        msg = f"{reader.path}: row {line}, column {name!r}: missing; fill it or remove the row"
        raise DataError(msg)
    return word
