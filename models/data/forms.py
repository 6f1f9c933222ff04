"""Detect the form of a source, and read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from models.data.layout import is_ignored
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.data.options import DataOptions, Parts
    from models.ports import Port

_FORMS = (
    ".npz, .npy, .csv, .tsv, .ts, .tfrecord, an IDX file, a folder of these or of images, or module:function"
)


def read(source: str | Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions) -> Parts:
    """Find out what a source is, and begin to read it.

    Raises:
        DataError: it is not there, of no known form, or has no groups where they are needed.
    """
    parts = _read(source, inputs, outputs, options)
    if options.group and parts.groups is None:
        msg = (
            f"{source}: a source of this form has no group {options.group!r}; give a table with that column, "
            "an .npz or a dict with an array of that name, or images and a regular expression for their paths"
        )
        raise DataError(msg)
    return parts


def _read(source: str | Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions) -> Parts:
    if is_program(source):
        from models.data.program import call_program

        return call_program(str(source), inputs, outputs, options.group, options.max_samples)
    path = existing(source)
    kind = _kind(path)
    if kind == "npz":
        from models.data.arrays import read_npz

        return read_npz(_only(path, ".npz"), inputs, outputs, options.group)
    if kind == "npy":
        from models.data.arrays import read_npy

        return read_npy(path, inputs, outputs, options.group)
    if kind == "tfrecord":
        from models.data.tfrecord import read_tfrecord

        return read_tfrecord(path, inputs, outputs, options)
    if kind == "idx":
        from models.data.idx import read_idx

        return read_idx(path)
    if kind == "series":
        from models.data.series import read_series

        return read_series(path, inputs)
    if kind == "table":
        from models.data.picture_labels import check_no_images
        from models.data.table import read_table

        check_no_images(path)
        return read_table(path, inputs, outputs, options)
    from models.data.folders import read_folder

    return read_folder(path, inputs, outputs, options)


def source_files(path: Path) -> list[Path]:
    """Return every file that reading a source may open."""
    if path.is_dir():
        found = []
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if not is_ignored(name)]
            found += [Path(folder, name) for name in names if not is_ignored(name)]
        return sorted(file for file in found if file.is_file())
    kind = _kind(path)
    if kind == "tfrecord":
        from models.data.tfrecord import split_files

        return split_files(path)[0]
    if kind == "idx":
        from models.data.idx import idx_files

        return idx_files(path)
    if kind == "series":
        from models.data.series import series_files

        return [file for file in series_files(path) if file is not None]
    return [path]


def source_form(file: Path) -> str:
    """Return of which form a data file is, such as ``"npz"`` or ``"table"``; "" if of none."""
    try:
        return _kind(file)
    except (DataError, OSError):
        return ""


def _kind(path: Path) -> str:
    from models.data.folders import has_class_folders
    from models.data.idx import is_idx
    from models.data.picture_labels import names_images
    from models.data.series import is_series
    from models.data.table import FILE_SUFFIXES, SUFFIXES
    from models.data.tfrecord import is_record_file

    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        name = file.name.lower()
        if is_ignored(name):
            continue
        if is_record_file(file):
            return "tfrecord"
        if is_idx(file):
            return "idx"
        if is_series(file):
            return "series"
        suffixes = SUFFIXES if path.is_dir() else FILE_SUFFIXES
        if name.endswith(suffixes) and not (
            path.is_dir() and (has_class_folders(path) or names_images(file))
        ):
            return "table"
        if name.endswith((".npz", ".npy")):
            return name[-3:]
    if path.is_dir():
        return "images"
    msg = f"{path}: not a known form of data; give {_FORMS}"
    raise DataError(msg)


def _only(path: Path, suffix: str) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"*{suffix}"))
    if len(found) != 1:
        msg = f"{path}: {len(found)} {suffix} files; name the one meant"
        raise DataError(msg)
    return found[0]


def is_program(source: str | Path) -> bool:
    """Return whether a source is ``module:function`` rather than a path."""
    return isinstance(source, str) and ":" in source and not Path(source).exists()


def existing(source: str | Path) -> Path:
    """Return the path of a source.

    Raises:
        DataError: it is not there.
    """
    path = Path(source)
    if not path.exists():
        msg = f"{path}: no such file or folder; give {_FORMS}"
        raise DataError(msg)
    return path
