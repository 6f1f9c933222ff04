"""Data from IDX files, the form of MNIST: ``train-images-idx3-ubyte.gz`` and its siblings."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.arrays import parts_of_rows
from models.data.packed import is_gzip, open_bytes
from models.data.rows import Rows
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from models.data.options import Array, Parts

_NAME = re.compile(r"(-idx\d-|\.idx\d?-|ubyte|\.idx)", re.IGNORECASE)
_PARTS = re.compile(r"(train|t10k|test|val|images|labels)", re.IGNORECASE)
_TEST = re.compile(r"(t10k|test|val)", re.IGNORECASE)
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_AXES = 8


def is_idx(path: Path) -> bool:
    """Return whether a file's name is that of an IDX file."""
    return _NAME.search(path.name) is not None and path.is_file()


def idx_files(path: Path) -> list[Path]:
    """Return the files of a folder, or one file and its siblings, plain ones before packed ones.

    Raises:
        DataError: the folder holds several sets.
    """
    found = sorted(file for file in (path if path.is_dir() else path.parent).iterdir() if is_idx(file))
    plain = {file.name for file in found}
    found = [file for file in found if not (file.suffix == ".gz" and file.stem in plain)]
    sets = sorted({_set_name(file) for file in found})
    if not path.is_dir():
        return [file for file in found if _set_name(file) == _set_name(path)]
    if len(sets) > 1:
        msg = (
            f"{path}: several sets of IDX files: {', '.join(map(repr, sets))}; name one file of the one meant"
        )
        raise DataError(msg)
    return found


def read_idx(path: Path) -> Parts:
    """Read images and labels to train on, and those named ``t10k`` or ``test``.

    Args:
        path: a folder, or one file, which stands for all of its set.

    Raises:
        DataError: one is damaged, or claims more than it holds.
    """
    found: dict[tuple[str, str], Rows] = {}
    for file in idx_files(path):
        rows = _rows(file)
        part = "test" if _TEST.search(file.name) else "train"
        kind = "labels" if len(rows.shape) == 1 or "label" in file.name.lower() else "images"
        if (part, kind) in found:
            msg = f"{file}: a second file of {part} {kind}, beside {found[part, kind].name}; keep one"
            raise DataError(msg)
        found[part, kind] = rows
    if ("train", "images") not in found and ("test", "images") in found:
        found = {("train", kind): rows for (_, kind), rows in found.items()}
    if ("train", "images") not in found:
        msg = f"{path}: no IDX file of images to train on, such as train-images-idx3-ubyte; add it"
        raise DataError(msg)
    pairs = [
        ((found[part, "images"],), (found[part, "labels"],) if (part, "labels") in found else ())
        for part in ("train", "test")
        if (part, "images") in found
    ]
    return parts_of_rows(pairs[0], pairs[1] if len(pairs) > 1 else None, str(path))


def _set_name(path: Path) -> str:
    return _PARTS.split(path.name, maxsplit=1)[0].strip("-_.")


def _rows(path: Path) -> Rows:
    with open_bytes(path) as file:
        shape, dtype = _header(file, path)
    size = math.prod(shape) * dtype.itemsize
    if not is_gzip(path) and path.stat().st_size < size:
        msg = f"{path}: claims the shape {shape}, more than it holds; get it again"
        raise DataError(msg)

    def pieces(count: int) -> Iterator[Array]:
        with open_bytes(path) as file:
            _header(file, path)
            row_bytes = math.prod(shape[1:]) * dtype.itemsize
            for start in range(0, shape[0], count):
                rows = min(count, shape[0] - start)
                content = file.read(rows * row_bytes)
                if len(content) < rows * row_bytes:
                    row = start + len(content) // max(row_bytes, 1)
                    msg = f"{path}: ends at row {row} of {shape[0]}; get it again"
                    raise DataError(msg)
                yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])

    return Rows(shape, dtype, pieces, path.name)


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    axes = magic[3] if len(magic) == 4 else 0
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 0 < axes <= _MAX_AXES:
        msg = f"{path}: not an IDX file: it begins with {magic.hex() or 'nothing'}; get it again"
        raise DataError(msg)
    content = file.read(4 * axes)
    if len(content) < 4 * axes:
        msg = f"{path}: ends within its header; get it again"
        raise DataError(msg)
    return struct.unpack(f">{axes}I", content), np.dtype(_DTYPES[magic[2]])
