"""Labels of images from a table: one column names the files, another one holds the labels."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from models.data.layout import is_image, kind_of, scan
from models.data.packed import encoding_of, open_lines
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.data.layout import Folder, Kind, Layout
    from models.data.options import DataOptions

    Index = dict[str, Path | None]
    """Images by each end of their paths, with and without the suffix; None if two have the same."""

_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_LABELS = (
    *("label", "labels", "class", "classes", "class_name", "classid", "class_id"),
    *("category", "target", "y"),
)
_SPLITS = ("split", "set", "subset", "part", "partition", "fold", "data set", "dataset")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_TRIED = 50  # rows that are looked at for the names of files


@dataclass(frozen=True)
class Labelled:
    """Images in order.

    Attributes:
        files: of the images.
        labels: one for each, or none at all.
        groups: likewise.
    """

    files: list[Path]
    labels: list[Any] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Table:
    """A table that names images.

    Attributes:
        path: of the table.
        names: of its columns.
        rows: the number of the line, from 1, and the cells.
        file: the column with the files.
        labels: the columns with the labels.
    """

    path: Path
    names: list[str]
    rows: list[tuple[int, list[str]]]
    file: int
    labels: list[int]

    def column(self, names: Sequence[str]) -> int | None:
        """Return the first column of one of these names."""
        lower = [name.lower() for name in self.names]
        return next((lower.index(name.lower()) for name in names if name.lower() in lower), None)


class LabelTables:
    """The tables of a data set that label its images.

    Args:
        tree: the folder of the data set.
        layout: its parts.
        options: with the target's column, and the column of groups.
        width: how many numbers the model's output has; None if that is open, or it has several outputs.

    Raises:
        DataError: a table is damaged, or it is not clear which one to use.
    """

    def __init__(self, tree: Folder, layout: Layout, options: DataOptions, width: int | None) -> None:
        self._tree = tree
        self._layout = layout
        self._options = options
        self._width = width
        self._found: dict[Kind | None, _Table] = {}
        index = _index(tree)
        for path in tree.all_files():
            if path.name.lower().endswith(_TABLES) and "submission" not in path.name.lower():
                table = _read(path, index)
                if table is not None:
                    self._add(table)

    def _add(self, table: _Table) -> None:
        kind = kind_of(table.path.name.split(".")[0]) or self._kind_of_place(table.path)
        labels = self._label_columns(table, kind)
        if not labels:
            return
        if kind in self._found:
            names = f"{self._found[kind].path.name} and {table.path.name}"
            msg = f"{self._tree.path}: {names} both label the images; remove one"
            raise DataError(msg)
        self._found[kind] = replace(table, labels=labels)

    def _kind_of_place(self, path: Path) -> Kind | None:
        parts = {"test": self._layout.test, "validation": self._layout.validation}
        if any(part is not None for part in parts.values()):
            parts["train"] = self._layout.train
        kinds: list[Kind] = ["train", "test", "validation"]
        found = [kind for kind in kinds if (part := parts.get(kind)) and path.is_relative_to(part.path)]
        return found[0] if found else None

    def _label_columns(self, table: _Table, kind: Kind | None) -> list[int]:
        """Return the columns with the labels; none where a table has no labels."""
        if self._options.target:
            found = [table.column([name]) for name in self._options.target]
            return [] if None in found else [at for at in found if at is not None]
        named = table.column(_LABELS)
        if named is not None and named != table.file:
            return [named]
        passed = {table.file, table.column(_SPLITS), table.column([self._options.group])}
        rest = [at for at in range(len(table.names)) if at not in passed and table.names[at]]
        if len(rest) < 2:
            return rest
        if len(rest) == self._width and all(_is_number(row[at]) for _, row in table.rows for at in rest):
            return rest
        if kind in ("test", "validation"):
            return []
        msg = (
            f"{table.path}: columns {', '.join(table.names[:12])}: none is called label, class or target; "
            "name the one with the labels as target under [data]"
        )
        raise DataError(msg)

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns, where each is a class; else nothing."""
        for table in self._found.values():
            if len(table.labels) > 1:
                return tuple(table.names[at] for at in table.labels)
        return ()

    def of(self, kind: Kind | None, notes: list[str]) -> Labelled | None:
        """Return the images that the table of one part labels.

        Args:
            kind: of the part; None: of the table that is for all of them.
            notes: get what has no label.

        Raises:
            DataError: it names images that are not there, or has rows without a label.
        """
        table = self._found.get(kind)
        if table is None:
            return None
        parts = {
            "train": self._layout.train,
            "test": self._layout.test,
            "validation": self._layout.validation,
        }
        place = parts[kind] if kind is not None else None
        is_apart = self._layout.test is not None or self._layout.validation is not None
        return self._labelled(table, place if place is not None and is_apart else self._tree, notes)

    def parts(self, notes: list[str]) -> dict[Kind, Labelled]:
        """Divide the images of the table for all parts: by its column ``split``, else by where they are."""
        table, every = self._found.get(None), self.of(None, notes)
        if table is None or every is None:
            return {}
        column = table.column(_SPLITS)
        kinds: dict[Path, Kind | None] = {}
        if column is not None and column not in (table.file, *table.labels):
            index = _index(self._tree)
            kinds = {self._file(table, index, line, row): kind_of(row[column]) for line, row in table.rows}
        found: dict[Kind, Labelled] = {}
        for at, file in enumerate(every.files):
            kind = kinds.get(file) or self._kind_of_place(file) or "train"
            part = found.setdefault(kind, Labelled([]))
            part.files.append(file)
            part.labels.append(every.labels[at])
            part.groups.extend(every.groups[at : at + 1])
        return found

    def _labelled(self, table: _Table, place: Folder, notes: list[str]) -> Labelled:
        index = _index(place)
        found: dict[Path, tuple[Any, str]] = {}
        group = table.column([self._options.group]) if self._options.group else None
        for line, row in table.rows:
            file = self._file(table, index, line, row)
            cells = [row[at].strip() for at in table.labels]
            if "" in cells:
                msg = f"{table.path}: row {line}: no label; fill it or remove the row"
                raise DataError(msg)
            label = cells[0] if len(cells) == 1 else tuple(cells)
            if found.setdefault(file, (label, row[group] if group is not None else ""))[0] != label:
                msg = f"{table.path}: row {line}: {file.name} has two different labels; keep one"
                raise DataError(msg)
        unnamed = len(place.images()) - len(found)
        if unnamed > 0:
            notes.append(f"{unnamed} images that {table.path.name} does not name are not used")
        groups = [of for _, of in found.values()] if group is not None else []
        return Labelled(list(found), [label for label, _ in found.values()], groups)

    def _file(self, table: _Table, index: Index, line: int, row: list[str]) -> Path:
        if len(row) != len(table.names):
            msg = (
                f"{table.path}: row {line} has {len(row)} cells, the first row {len(table.names)}; correct it"
            )
            raise DataError(msg)
        file, key = _look_up(index, row[table.file])
        if file is None:
            what = "several images" if key in index else "no image"
            msg = f"{table.path}: row {line}: {what} {row[table.file]!r} in the data set's folder; correct it"
            raise DataError(msg)
        return file


def with_numbers(*parts: Labelled | None) -> list[Labelled | None]:
    """Return the parts with labels as numbers, where all of them are numbers; else as text."""
    labels = [label for part in parts if part is not None for label in part.labels]
    cells = [cell for label in labels for cell in (label if isinstance(label, tuple) else (label,))]
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        convert: Any = int
    elif all(map(_is_number, cells)):
        convert = float
    else:
        return list(parts)

    def change(label: Any) -> Any:
        return [convert(cell) for cell in label] if isinstance(label, tuple) else convert(label)

    return [None if part is None else replace(part, labels=list(map(change, part.labels))) for part in parts]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def names_images(path: Path) -> bool:
    """Return whether a table names images that are beside or below it."""
    index = _index(scan(path.parent, [], []))
    return bool(index) and _read(path, index) is not None


def check_no_images(path: Path) -> None:
    """Refuse a table of images that is given without them.

    Raises:
        DataError: says to give the folder.
    """
    if path.is_dir():
        return
    with open_lines(path, encoding_of(path)) as lines:
        cells = [cell for line in itertools.islice(lines, 2) for cell in re.split(r"[,;\t|\"\s]", line)]
    if any(is_image(cell) for cell in cells if "." in cell):
        msg = f"{path}: it names images; give the folder that holds the table and the images"
        raise DataError(msg)


def _index(place: Folder) -> Index:
    index: Index = {}
    for file in place.images():
        parts = file.relative_to(place.path).parts
        for at in range(len(parts)):
            end = "/".join(parts[at:])
            for key in (end, end[: -len(file.suffix)]):
                index[key] = file if key not in index else None
    return index


def _look_up(index: Index, cell: str) -> tuple[Path | None, str]:
    """Find an image by its path; one from another machine by the end of it that is known here."""
    parts = [part for part in cell.strip().replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for at in range(len(parts)):
        key = "/".join(parts[at:])
        if key in index:
            return index[key], key
    return None, ""


def _read(path: Path, index: Index) -> _Table | None:
    """Read a table that names images; None if it does not."""
    with open_lines(path, encoding_of(path)) as lines:
        text = list(lines)
    first = text[0] if text else ""
    delimiter = "\t" if ".tsv" in path.name.lower() else max(",;\t|", key=first.count)
    try:
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
        rows = [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        msg = f"{path}: {error}; correct it"
        raise DataError(msg) from error
    if not rows:
        return None
    width = len(rows[0][1])
    tried = [row for _, row in rows[1 : _TRIED + 1] if len(row) == width] or [rows[0][1]]
    hits = [sum(bool(_look_up(index, row[at])[1]) for row in tried) for at in range(width)]
    file = max(range(width), key=lambda at: hits[at])
    if 2 * hits[file] <= len(tried) - 1 or not hits[file]:
        return None
    has_header = not _look_up(index, rows[0][1][file])[1]
    names = [cell.strip() for cell in rows[0][1]] if has_header else list(map(str, range(width)))
    return _Table(path, names, rows[1:] if has_header else rows, file, [])
