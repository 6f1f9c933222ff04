"""Rows of numbers, by the names of their columns or by position: CSV, JSON, and dicts.

Part of every release; needs numpy, and nothing of this project.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SUFFIXES = (".csv", ".json")
LARGEST = 3.4028234e38  # of float32
SHOWN = 12  # names of columns that a message lists
_BOOLEANS = {"true": 1, "false": 0}


def are_taken(contract: dict[str, Any]) -> bool:
    """Return whether the model takes rows of numbers: its values have names, or its inputs are vectors."""
    ports = contract["inputs"]
    return bool(names(contract)) or (bool(ports) and all(len(port["shape"]) == 2 for port in ports))


def names(contract: dict[str, Any]) -> list[str]:
    """Return the names of the columns of all inputs in order; [] if a value has none.

    Releases of earlier versions have no names.
    """
    found = [name for port in contract["inputs"] for name in port.get("columns") or [""]]
    return found if "" not in found and len(set(found)) == len(found) else []


def read(name: str, contract: dict[str, Any]) -> list[NDArray[Any]]:
    """Read the rows of a ``.csv`` or ``.json`` file.

    Returns:
        For each input an array (n, ...): float32, or int64 for indices.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not of rows of numbers that the model takes; names the row or the column.
    """
    text = Path(name).read_text(encoding="utf-8-sig")
    return parse_json(text, contract, name) if name.endswith(".json") else parse_csv(text, contract, name)


def parse_csv(text: str, contract: dict[str, Any], where: str) -> list[NDArray[Any]]:
    """Read the rows of a CSV text, as ``read``.

    If the first row has the names of the columns, they may be in any order, and other columns, such as the
    target, are left out. Otherwise they are in the order of the training data.
    """
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(map(str.strip, row))]
    known = names(contract)
    header: list[str] = []
    if rows and (_is_header(rows[0][1]) or (known and set(rows[0][1]) >= set(known))):
        _, header = rows.pop(0)
    order = _order(header, known, where, others=True) if header and known else None
    if not rows:
        msg = f"{where}: no rows of numbers"
        raise ValueError(msg)
    samples = []
    for line, row in rows:
        width = len(header) if order else _width(contract)
        if len(row) != width:
            takes = "the first row" if order else "the model takes"
            msg = f"{where}: row {line} has {len(row)} values, {takes} {width}"
            raise ValueError(msg)
        cells = [row[place] for place in order] if order else row
        samples.append(_split(cells, contract, f"{where}: row {line}"))
    return [np.stack(arrays) for arrays in zip(*samples)]


def parse_json(text: str, contract: dict[str, Any], where: str) -> list[NDArray[Any]]:
    """Read a JSON object of numbers by the names of the columns, or a list of such objects, as ``read``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: not JSON: {' '.join(str(error).split())[:200]}"
        raise ValueError(msg) from error
    rows = found if isinstance(found, list) else [found]
    if not rows or not all(isinstance(row, dict) for row in rows):
        msg = f"{where}: give an object of numbers by name, or a list of them"
        raise ValueError(msg)
    samples = [
        by_name(row, contract, f"{where}: row {number}" if isinstance(found, list) else where)
        for number, row in enumerate(rows, 1)
    ]
    return [np.stack(arrays) for arrays in zip(*samples)]


def by_name(row: Mapping[str, Any], contract: dict[str, Any], where: str = "row") -> list[NDArray[Any]]:
    """Return a sample of each input from numbers by the names of the columns.

    Raises:
        ValueError: a column is missing, unknown or not a number, or the release has no names of columns.
    """
    known = names(contract)
    if not known:
        msg = f"{where}: this release has no names of columns; give the numbers in order, as a row of a .csv"
        raise ValueError(msg)
    given = list(row)
    return _split([row[given[place]] for place in _order(given, known, where)], contract, where)


def _order(given: Sequence[str], known: Sequence[str], where: str, *, others: bool = False) -> list[int]:
    """Return the place in ``given`` of each of the known columns; others: whether there may be more."""
    shown = ", ".join(known[:SHOWN]) + (f", ... ({len(known)})" if len(known) > SHOWN else "")
    twice = next((name for name in known if given.count(name) > 1), None)
    missing = next((name for name in known if name not in given), None)
    unknown = next((name for name in given if name not in known), None)
    if twice is not None:
        problem = f"two columns are named {twice!r:.60}"
    elif missing is not None:
        problem = f"no column {missing!r:.60}" + (f", but {unknown!r:.60}" if unknown is not None else "")
    elif unknown is not None and not others:
        problem = f"unknown column {unknown!r:.60}; remove it"
    else:
        return [given.index(name) for name in known]
    msg = f"{where}: {problem}; the model takes {shown}"
    raise ValueError(msg)


def _is_header(row: Sequence[str]) -> bool:
    return not any(_is_number(cell) for cell in row)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.lower() in _BOOLEANS
    return True


def _width(contract: dict[str, Any]) -> int:
    return sum(math.prod(port["shape"][1:]) for port in contract["inputs"])


def _split(cells: Sequence[Any], contract: dict[str, Any], where: str) -> list[NDArray[Any]]:
    """Return the values of a row, in the order of the training data, as a sample of each input."""
    samples, start = [], 0
    for port in contract["inputs"]:
        shape = port["shape"][1:]
        count = math.prod(shape)
        indices = port["preprocessing"].get("indices")
        values = [_number(cell, where, whole=indices) for cell in cells[start : start + count]]
        samples.append(np.array(values, np.int64 if indices else np.float32).reshape(shape))
        start += count
    return samples


def _number(cell: Any, where: str, *, whole: bool) -> float:
    try:
        if not isinstance(cell, (str, int, float)):
            raise ValueError
        value = _BOOLEANS.get(str(cell).lower(), cell)
        number = int(value) if whole else float(value)
        if not abs(number) <= LARGEST or (whole and number != float(value)):  # not a number either
            raise ValueError
    except (ValueError, OverflowError) as error:
        msg = f"{where} has {cell!r:.60}; write every value as a {'whole' if whole else 'finite'} number"
        raise ValueError(msg) from error
    return number
