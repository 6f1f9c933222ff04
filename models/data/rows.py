"""Rows of ``.npy`` files, appended as they come and read a piece at a time: memory stays bounded."""

from __future__ import annotations

import contextlib
import errno
import lzma
import math
import os
import shutil
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from models.data.options import Array

npy: Any = np.lib.format  # it has no types

PIECE_BYTES = 4 << 20
MAX_BYTES = 64 << 30
MAX_RATIO = 1000  # unpacked / packed size of an array, beyond 16 MiB
MAX_WHOLE = 1 << 30  # bytes of an array in Fortran order, which is read whole
_SMALL_BYTES = 16 << 20
_HEADER_BYTES = 256
_SPARE_BYTES = 256 << 20  # kept free on the disk, in case a source is endless
_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    NotImplementedError,
    MemoryError,
    RuntimeError,
    SyntaxError,  # this and the next two: of numpy, for a damaged header
    TypeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class RowWriter:
    """Appends rows to a ``.npy`` file; dtype and shape are those of the first rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.shape: tuple[int, ...] | None = None
        self.dtype = np.dtype(np.float32)
        self._file = path.open("wb")
        self._file.write(b"\0" * _HEADER_BYTES)

    def append(self, rows: Array) -> None:
        """Write rows of the same shape and dtype as those before.

        Raises:
            OSError: the disk is almost full.
        """
        if self.shape is None:
            self.shape, self.dtype = rows.shape[1:], rows.dtype
        if rows.shape[1:] != self.shape or rows.dtype != self.dtype:
            msg = f"{self.path.name}: {rows.dtype} {rows.shape[1:]} after {self.dtype} {self.shape}"
            raise ValueError(msg)
        if shutil.disk_usage(self.path.parent).free < rows.nbytes + _SPARE_BYTES:
            self._file.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path.parent))
        self._file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        self.rows += len(rows)

    def close(self) -> None:
        """Write the header: the file is then whole."""
        if self._file.closed:
            return
        shape = (self.rows, *(self.shape or ()))
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        text = repr(header).encode().ljust(_HEADER_BYTES - 11) + b"\n"
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        self._file.close()


@dataclass(frozen=True)
class Rows:
    """An array that is read a piece at a time.

    Attributes:
        shape: of the whole array; at least one axis.
        dtype: of its values.
        pieces: gives arrays of so many rows, the last one perhaps shorter, from the start each time.
        name: for messages.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pieces: Callable[[int], Iterator[Array]]
    name: str = ""


def rows_of_array(array: Array, name: str = "") -> Rows:
    """Read an array that is in memory."""

    def pieces(count: int) -> Iterator[Array]:
        for start in range(0, len(array), count):
            yield array[start : start + count]

    return Rows(array.shape, array.dtype, pieces, name)


def rows_of_file(path: Path) -> Rows:
    """Read a ``.npy`` file.

    Raises:
        DataError: it is damaged, holds Python objects, or claims more than it holds; the first also while the
            pieces are read.
    """
    return _rows(lambda: path.open("rb"), path.stat().st_size, path.stem, str(path), "numpy.save")


def rows_of_archive(path: Path) -> dict[str, Rows]:
    """Return every array of an ``.npz`` file by its name.

    Raises:
        DataError: as :func:`rows_of_file`, or it unpacks to more than it may.
    """
    with _damage(str(path), "numpy.savez"), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
    found: dict[str, Rows] = {}
    total = 0
    for member in members:
        name = member.filename.removesuffix(".npy")
        total += member.file_size
        bomb = member.file_size > max(_SMALL_BYTES, MAX_RATIO * member.compress_size)
        if bomb or total > MAX_BYTES:
            msg = f"{path}: array {name!r} unpacks to {member.file_size} bytes; refused as too large"
            raise DataError(msg)

        def opened(filename: str = member.filename) -> IO[bytes]:
            with zipfile.ZipFile(path) as archive:
                return archive.open(filename)  # keeps the file open for as long as it needs it

        where = f"{path}: array {name!r}"
        found[name] = _rows(opened, member.file_size, name, where, "numpy.savez")
    return found


def _rows(opened: Callable[[], IO[bytes]], size: int, name: str, where: str, remedy: str) -> Rows:
    with _damage(where, remedy), opened() as file:
        shape, fortran, dtype = _header(file)
    if dtype.hasobject:
        msg = f"{where} holds Python objects, which are never unpickled; save numbers"
        raise DataError(msg)
    if dtype.itemsize * math.prod(shape) > size or min(shape, default=0) < 0:
        msg = f"{where} claims the shape {shape}, more than it holds; save it again"
        raise DataError(msg)
    if fortran and dtype.itemsize * math.prod(shape) > MAX_WHOLE:
        msg = f"{where} is stored column by column, too large for that; save numpy.ascontiguousarray of it"
        raise DataError(msg)

    def pieces(count: int) -> Iterator[Array]:
        with _damage(where, remedy), opened() as file:
            _header(file)
            if fortran:
                whole = _read(file, shape[::-1], dtype).T
                yield from rows_of_array(whole).pieces(count)
            else:
                for start in range(0, shape[0], count):
                    yield _read(file, (min(count, shape[0] - start), *shape[1:]), dtype)
            file.read(1)  # at its end an archive checks the checksum

    return Rows(tuple(shape), dtype, pieces, name)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(shape), bool(fortran), dtype


def _read(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = math.prod(shape) * dtype.itemsize
    content = file.read(size)
    if len(content) < size:
        msg = f"it ends {size - len(content)} bytes early"
        raise EOFError(msg)
    return np.frombuffer(content, dtype).reshape(shape)


@contextlib.contextmanager
def _damage(where: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        msg = f"{where}: damaged: {' '.join(str(error).split())[:200]}; save it again with {remedy}"
        raise DataError(msg) from error


def together(arrays: Sequence[Rows]) -> Iterator[tuple[Array, ...]]:
    """Read arrays of one length side by side, in pieces of a few megabytes."""
    row_bytes = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
    count = max(1, min(1 << 16, PIECE_BYTES // max(row_bytes, 1)))
    return zip(*(array.pieces(count) for array in arrays), strict=True)
