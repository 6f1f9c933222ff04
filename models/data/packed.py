"""Open files that may be packed with gzip, within bounds."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from typing import IO, TYPE_CHECKING, cast

from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_RATIO = 1000  # unpacked / packed size, beyond 16 MiB
MAX_LINE = 16 << 20
_SMALL_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_NO_TEXT = frozenset({*range(9), *range(14, 26), *range(28, 32)})  # control characters
_NOT_1252 = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D, 0xFF})  # the last is a letter, but a very rare one


class _Bounded(io.RawIOBase):
    """Reads an unpacked stream and refuses to read more than a real file would hold."""

    def __init__(self, file: IO[bytes], limit: int, where: str) -> None:
        self._file = file
        self._left = limit
        self._where = where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        content = self._file.read(len(view))
        self._left -= len(content)
        if self._left < 0:
            msg = f"{self._where}: unpacks to more than {MAX_RATIO} times its size; refused as too large"
            raise DataError(msg)
        view[: len(content)] = content
        return len(content)


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == b"\x1f\x8b\x08"


@contextlib.contextmanager
def open_bytes(path: Path, *, packed: bool | None = None) -> Iterator[IO[bytes]]:
    """Open a file, unpacked where it is packed with gzip.

    Args:
        path: the file.
        packed: whether it is compressed; None: detected from its first bytes.

    Raises:
        DataError: inside the block too: it is damaged, or unpacks to more than it may.
    """
    try:
        packed = is_gzip(path) if packed is None else packed
        if not packed:
            with path.open("rb", buffering=1 << 20) as plain:
                yield plain
            return
        limit = max(_SMALL_BYTES, MAX_RATIO * path.stat().st_size)
        with gzip.open(path, "rb") as unpacked:
            yield io.BufferedReader(_Bounded(cast("IO[bytes]", unpacked), limit, str(path)), 1 << 20)
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        msg = f"{path}: cannot be read: {' '.join(str(error).split())[:200]}; replace it"
        raise DataError(msg) from error


def encoding_of(path: Path) -> str:
    """Detect the encoding of a text file: UTF-8, UTF-16 with a byte order mark, else Windows-1252.

    Windows-1252 has the letters of Latin-1 (ISO 8859-1) in the same places.

    Raises:
        DataError: it is not text in any of them.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    found: set[int] = set()
    is_utf8 = True
    with open_bytes(path) as file:
        chunk = file.read(_CHUNK_BYTES)
        if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        while chunk:
            found.update(chunk)
            following = file.read(_CHUNK_BYTES)
            if is_utf8:
                try:
                    decoder.decode(chunk, final=not following)
                except UnicodeDecodeError:
                    is_utf8 = False
            chunk = following
    wrong = found & _NO_TEXT or (set() if is_utf8 else found & _NOT_1252)
    if wrong:
        msg = f"{path}: not UTF-8 text: byte {min(wrong):#x}; save it as UTF-8"
        raise DataError(msg)
    return "utf-8-sig" if is_utf8 else "cp1252"


@contextlib.contextmanager
def open_lines(path: Path, encoding: str = "utf-8-sig") -> Iterator[Iterator[str]]:
    """Read the lines of a text file, in UTF-8 unless another encoding is given.

    Raises:
        DataError: as :func:`open_bytes`, or it is not text, or a line is too long to be one.
    """
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding, newline="")
        try:
            yield _lines(text, path)
        except UnicodeDecodeError as error:
            msg = f"{path}: not UTF-8 text: byte {error.object[error.start]:#x}; save it as UTF-8"
            raise DataError(msg) from error
        finally:
            text.detach()


def _lines(file: IO[str], path: Path) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            msg = f"{path}: a line of more than {MAX_LINE} characters; this is not a table"
            raise DataError(msg)
        yield line
