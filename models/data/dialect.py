"""Detect encoding, delimiter, decimal mark and header of a table from its first rows."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.data.packed import encoding_of, open_lines
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    Row = tuple[int, list[str]]
    """The line's number, from 1, and its cells."""

MAX_CELL = 1 << 20
SAMPLE_ROWS = 100
BLANK = " "
"""The delimiter of columns that any number of blanks or tabs separates."""
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-"})
TARGET_NAMES = ("label", "target", "class", "y")
_DELIMITERS = (";", "\t", "|", ",", BLANK)  # in order of preference
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        encoding: as Python names it.
        delimiter: between cells; :data:`BLANK` is any number of blanks and tabs.
        decimal: the decimal mark, ``"."`` or ``","``.
        header: the first row holds the names.
        names: of all columns: the header's, or their numbers from 0.
        rows: the first rows without the header, at most :data:`SAMPLE_ROWS`.
    """

    encoding: str
    delimiter: str
    decimal: str
    header: bool
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def number(self, cell: str) -> float | None:
        """Return the number that a cell holds: decimal, perhaps with an exponent; None for anything else."""
        return parse_number(cell, self.decimal)

    def cells(self, column: int) -> list[str]:
        """Return the cells of one column in the first rows, without surrounding blanks."""
        return [row[column].strip() for row in self.rows if column < len(row)]

    def is_text(self, column: int) -> bool:
        """Return whether a column holds text in the first rows, rather than numbers or missing values."""
        cells = [cell for cell in self.cells(column) if cell.lower() not in MISSING]
        return any(self.number(cell) is None and cell.lower() not in ("true", "false") for cell in cells)


def find_dialect(path: Path, decimal: str = "") -> Dialect:
    """Detect the dialect of a table.

    Args:
        path: the table, perhaps packed with gzip.
        decimal: the decimal mark, where the user gave it.

    Raises:
        DataError: it is not text, has no rows, or a number is ambiguous.
    """
    encoding = encoding_of(path)
    with open_lines(path, encoding) as lines:
        first = list(itertools.islice(lines, SAMPLE_ROWS + 1))
    delimiter = _find_delimiter(path, [line for line in first if line.strip()])
    found = list(_parse(path, first, delimiter))
    if not found:
        msg = f"{path}: no rows; give a header and a row for each sample"
        raise DataError(msg)
    rows = [row for _, row in found]
    for line, row in found[:-1]:  # the last one may go on after the sample
        check_width(path, line, row, len(rows[0]))
    mark = decimal or _find_decimal(path, rows[1:] or rows)
    header = _is_header(rows[0], rows[1] if len(rows) > 1 else [], mark)
    names = tuple(cell.strip() for cell in rows[0]) if header else tuple(map(str, range(len(rows[0]))))
    sample = tuple(map(tuple, rows[1:] if header else rows[:SAMPLE_ROWS]))
    return Dialect(encoding, delimiter, mark, header, names, sample)


def read_rows(path: Path, dialect: Dialect) -> Iterator[Row]:
    """Read the rows that are not blank, without the header.

    Raises:
        DataError: a row is not CSV; says which.
    """
    with open_lines(path, dialect.encoding) as lines:
        rows = _parse(path, lines, dialect.delimiter)
        if dialect.header:
            next(rows, None)
        yield from rows


def check_width(path: Path, line: int, row: Sequence[str], width: int) -> None:
    """Refuse a row that has not as many cells as the first.

    Raises:
        DataError: both numbers.
    """
    if len(row) != width:
        msg = f"{path}: row {line} has {len(row)} cells, the first row {width}; correct it"
        raise DataError(msg)


def parse_number(cell: str, decimal: str = ".") -> float | None:
    """Return the number that a cell holds; None for anything else, such as ``1_1``, ``nan`` or ``0x1``."""
    text = cell.strip()
    if decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def _parse(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL)
    if delimiter == BLANK:
        lines = (line.expandtabs(1).rstrip() for line in lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield reader.line_num, row
    except csv.Error as error:
        msg = f"{path}: row {reader.line_num}: {error}; correct it"
        raise DataError(msg) from error


def _find_delimiter(path: Path, lines: Sequence[str]) -> str:
    """Return the delimiter under which all rows have as many cells, most of them numbers."""
    if not lines:
        return ","
    counts = {delimiter: lines[0].count(delimiter) for delimiter in _DELIMITERS}
    usual = max((",", ";", "\t", "|"), key=counts.__getitem__)
    best, best_share = "", -1.0
    for delimiter in _DELIMITERS:
        rows = [row for _, row in _parse(path, lines, delimiter)]
        if not rows or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
            continue
        cells = [cell for row in rows[1:] or rows for cell in row]
        numbers = sum(parse_number(cell) is not None or _is_comma_number(cell) for cell in cells)
        share = numbers / len(cells)
        if share > best_share and (delimiter != BLANK or share > 0.5 or not counts[usual]):
            best, best_share = delimiter, share
    if best:
        return best
    return usual if counts[usual] or len(lines[0].split()) < 2 else BLANK


def _is_comma_number(cell: str) -> bool:
    return _COMMA.fullmatch(cell.strip()) is not None


def _find_decimal(path: Path, rows: Sequence[Sequence[str]]) -> str:
    cells = [cell.strip() for row in rows for cell in row]
    commas = [cell for cell in cells if _COMMA.fullmatch(cell)]
    if not commas or any(_POINT.fullmatch(cell) for cell in cells):
        return "."
    if all(_THOUSANDS.fullmatch(cell) for cell in commas):
        msg = (
            f"{path}: {commas[0]!r} may have a decimal comma or a separator of thousands; "
            'give decimal = "," or remove the separators'
        )
        raise DataError(msg)
    return ","


def _is_header(first: list[str], second: list[str], decimal: str) -> bool:
    """Return whether the first row is a header: a word above a number, a target name, or 0, 1, 2, ..."""
    if first == [str(number) for number in range(len(first))] and first != second:
        return True
    return any(
        (not _is_value(top, decimal) and _is_value(below, decimal))
        or (top.strip().lower() in TARGET_NAMES[:3] and top != below)
        for top, below in zip(first, second, strict=False)
    )


def _is_value(cell: str, decimal: str) -> bool:
    return parse_number(cell, decimal) is not None or cell.strip().lower() in MISSING
