"""Time series from ``.ts`` files (UCR, UEA, TSER) and from UCR's tables with the label first."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.options import Parts
from models.data.packed import open_lines
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models.data.options import Array, Batch
    from models.ports import Port

    Line = tuple[int, str, list[str]]
    """The row's number in the data from 0, its label (or ""), and the text of each dimension."""

_PART = re.compile(r"_(train|test)(?=\.)", re.IGNORECASE)
_BATCH_VALUES = 1 << 19
_MISSING = ("?", "nan", "")


@dataclass(frozen=True)
class Header:
    """Content of the ``@`` lines of a ``.ts`` file.

    Attributes:
        labelled: each line ends with a class.
        classes: all of them, in the file's order.
        valued: each line ends with a number to predict.
    """

    labelled: bool = False
    classes: tuple[str, ...] = ()
    valued: bool = False


def is_series(path: Path) -> bool:
    """Return whether a file holds time series: any ``.ts``, and a ``.tsv`` or ``.txt`` of a pair."""
    suffix = path.suffix.lower()
    return suffix == ".ts" or (suffix in (".tsv", ".txt") and _PART.search(path.name) is not None)


def series_files(path: Path) -> tuple[Path, Path | None]:
    """Return the file to train on and that to test on: ``NAME_TRAIN.ts`` and ``NAME_TEST.ts``.

    Raises:
        DataError: a folder holds several.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if is_series(file))
        found = [file for file in found if _part(file) != "test"] or found
        named = [file for file in found if _twin(file).lower() == f"{path.name}.ts".lower()]
        found = named or [file for file in found if file.suffix.lower() == ".ts"] or found
        if len(found) != 1:
            names = ", ".join(file.name for file in found[:5])
            msg = f"{path}: several files of time series: {names}; name one"
            raise DataError(msg)
        path = found[0]
    if _part(path) is None:
        return path, None
    twins = {_part(file): file for file in sorted(path.parent.iterdir()) if _twin(file) == _twin(path)}
    return twins.get("train", path), twins.get("test") if "train" in twins else None


def read_series(path: Path, inputs: Sequence[Port]) -> Parts:
    """Read time series as float32 ``(n, steps, channels)``.

    Series of unequal length end in zeros: up to the model's length, or the longest's where that is open.

    Raises:
        DataError: the header is not understood; while it is read: a value is missing, or a series too long.
    """
    if len(inputs) != 1:
        msg = f"{path}: time series are one input, the model has {len(inputs)}; give an .npz or a function"
        raise DataError(msg)
    train, test = series_files(path)
    files = [file for file in (train, test) if file is not None]
    headers = [_header(file) for file in files]
    shortest, longest, words = _survey(files, headers)
    notes = []
    length = None
    if shortest != longest:
        expected = inputs[0].shape[0] if inputs[0].shape else None
        length = longest if expected is None else expected
        if longest > length:
            msg = f"{path}: series of up to {longest} steps, the model takes {length}; cut them"
            raise DataError(msg)
        notes.append(f"series of {shortest} to {longest} steps end in zeros, up to {length} steps")
    classes = tuple(_sorted(set(headers[0].classes) | words)) if headers[0].labelled else ()
    parts = [_batches(file, header, length) for file, header in zip(files, headers, strict=True)]
    return Parts.in_order(parts, class_names=classes, notes=notes)


def _part(path: Path) -> str | None:
    found = _PART.search(path.name)
    return found.group(1).lower() if found else None


def _twin(path: Path) -> str:
    return _PART.sub("", path.name)


def _sorted(words: set[str]) -> list[str]:
    """Sort numbers by value, other words by the alphabet."""
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", word) for word in words):
        return sorted(words, key=float)
    return sorted(words)


def _header(path: Path) -> Header:
    if path.suffix.lower() != ".ts":
        return Header(labelled=True)
    header = Header()
    with open_lines(path) as lines:
        for line in lines:
            words = line.split()
            if not words or words[0].startswith(("#", "%")):
                continue
            key, value = words[0].lower(), (words[1:] or [""])[0].lower()
            if key == "@data":
                return header
            if not key.startswith("@"):
                break
            if key == "@timestamps" and value == "true":
                msg = f"{path}: values with time stamps are not supported; resample them to equal steps"
                raise DataError(msg)
            if key == "@classlabel":
                header = Header(value == "true", tuple(words[2:]) if value == "true" else ())
            elif key == "@targetlabel":
                header = Header(valued=value == "true")
    msg = f"{path}: no @data line before the values; this is not a .ts file"
    raise DataError(msg)


def _lines(path: Path, header: Header) -> Iterator[Line]:
    with open_lines(path) as lines:
        if path.suffix.lower() != ".ts":
            for row, line in enumerate(text for text in lines if text.strip()):
                label, *values = line.replace(",", " ").split()
                while values and values[-1].lower() == "nan":  # how these files fill up shorter series
                    values.pop()
                yield row, _plain_number(label), [",".join(values)]
            return
        for line in lines:
            if line.strip().lower() == "@data":
                break
        for row, line in enumerate(
            text for text in lines if text.strip() and not text.startswith(("#", "%"))
        ):
            dimensions = line.strip().split(":")
            label = dimensions.pop().strip() if header.labelled or header.valued else ""
            if not dimensions:
                msg = f"{path}: row {row}: no values, or no label behind the last ':'; correct it"
                raise DataError(msg)
            yield row, label, dimensions


def _plain_number(word: str) -> str:
    """Write ``1.0000000e+00`` as ``1``."""
    try:
        value = float(word)
    except ValueError:
        return word
    return str(int(value)) if value.is_integer() else word


def _survey(files: list[Path], headers: list[Header]) -> tuple[int, int, set[str]]:
    """Return the shortest and longest dimension of any series, and all labels."""
    shortest, longest = 1 << 62, 0
    words: set[str] = set()
    for path, header in zip(files, headers, strict=True):
        for _, label, dimensions in _lines(path, header):
            counts = [text.count(",") + 1 for text in dimensions]
            shortest, longest = min(shortest, *counts), max(longest, *counts)
            if header.labelled:
                words.add(label)
    return shortest, longest, words


def _batches(path: Path, header: Header, length: int | None) -> Iterator[Batch]:
    series: list[Array] = []
    labels: list[str] = []
    channels = None
    for row, label, dimensions in _lines(path, header):
        channels = channels or len(dimensions)
        if len(dimensions) != channels:
            msg = f"{path}: row {row} has {len(dimensions)} dimensions, the first {channels}; correct it"
            raise DataError(msg)
        values = [_values(path, row, text) for text in dimensions]
        steps = length or len(values[0])
        array = np.zeros((steps, channels), np.float32)
        for channel, column in enumerate(values):
            array[: len(column), channel] = column
        series.append(array)
        labels.append(label)
        if len(series) * array.size >= _BATCH_VALUES:
            yield (np.stack(series),), _targets(path, header, labels, row)
            series, labels = [], []
    if series:
        yield (np.stack(series),), _targets(path, header, labels, row)


def _targets(path: Path, header: Header, labels: list[str], last: int) -> tuple[Array, ...]:
    if header.labelled:
        return (np.array(labels),)
    if not header.valued:
        return ()
    first = last + 1 - len(labels)
    return (np.array([_number(path, first + at, label) for at, label in enumerate(labels)], np.float32),)


def _values(path: Path, row: int, text: str) -> list[float]:
    try:
        values = list(map(float, text.split(",")))
    except ValueError:
        return [_number(path, row, value) for value in text.split(",")]
    if not math.isfinite(sum(values)):
        return [_number(path, row, value) for value in text.split(",")]
    return values


def _number(path: Path, row: int, text: str) -> float:
    word = text.strip()
    if word.lower() in _MISSING:
        msg = f"{path}: row {row}: a value is missing ({word or 'nothing'}); fill it or remove the row"
        raise DataError(msg)
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"{path}: row {row}: {word[:40]!r} is not a number; correct it"
        raise DataError(msg)
    return value
