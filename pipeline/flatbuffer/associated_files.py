"""Associated files of a .tflite file: an archive of stored members behind its FlatBuffer.

It is written by hand, because ``zipfile`` looks for an archive anywhere in what it appends to, and read by
hand, because ``zipfile`` takes archives with other bytes before, between and behind their members.

Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fail = Callable[[str], NoReturn]

MAX_FILES = 64
MAX_BYTES = 64 * 2**20
MAX_PADDING_BYTES = 64

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION = 20
_UNIX = 3 << 8
_MODE = 0o100644 << 16
# 1980-01-01, the first day that a zip knows.
_TIME, _DATE = 0, (1 << 5) | 1
# Bits of a local header's flags: names are UTF-8. All others change how members are stored.
_UTF8 = 1 << 11


def append_files(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return ``content`` with an archive of ``files`` behind it; no file, no archive.

    Offsets count from the start of the whole, as the readers of TFLite metadata expect.
    """
    if not files:
        return content
    whole, directory = bytearray(content), bytearray()
    for name, data in files.items():
        path = name.encode()
        flags = 0 if path.isascii() else _UTF8
        common = (flags, 0, _TIME, _DATE, zlib.crc32(data), len(data), len(data), len(path), 0)
        directory += _CENTRAL.pack(b"PK\1\2", _UNIX | _VERSION, _VERSION, *common, 0, 0, 0, _MODE, len(whole))
        directory += path
        whole += _LOCAL.pack(b"PK\3\4", _VERSION, *common) + path + data
    end = _END.pack(b"PK\5\6", 0, 0, len(files), len(files), len(directory), len(whole), 0)
    return bytes(whole + directory + end)


def read_associated_files(content: bytes, start: int, fail: Fail) -> dict[str, bytes]:
    """Return the files of the archive that fills ``content[start:]``, each byte of which has its place.

    Members are stored, one behind the other, then their directory, and nothing else, but for zeros before the
    first. There may be none.

    Args:
        content: a whole .tflite file.
        start: where its model ends.
        fail: raises the error.
    """
    directory_at, count = _end(content, start, fail)
    files: dict[str, bytes] = {}
    behind, entry = start, directory_at
    for _ in range(count):
        if entry + _CENTRAL.size > len(content) - _END.size:
            fail("the directory of the attached files is cut short")
        central = _CENTRAL.unpack_from(content, entry)
        name_length, extra, comment, at = central[10], central[11], central[12], central[16]
        name = content[entry + _CENTRAL.size : entry + _CENTRAL.size + name_length]
        gap = content[behind:at]
        if at < behind or gap.strip(b"\0") or len(gap) > MAX_PADDING_BYTES or (gap and files):
            fail(f"{len(gap)} bytes lie before an attached file at byte {at}")
        data, behind = _member(content, at, directory_at, (*central[3:10], name), fail)
        text = _name(name, fail)
        if text in files:
            fail(f"the file {text!r} is attached twice")
        files[text] = data
        entry += _CENTRAL.size + name_length + extra + comment
    if not files and not content[start:directory_at].strip(b"\0"):
        behind = directory_at  # an archive without a file, as some write
    if behind != directory_at or entry != len(content) - _END.size:
        fail("bytes that belong to no attached file lie among them")
    return files


def _end(content: bytes, start: int, fail: Fail) -> tuple[int, int]:
    """Return where the directory begins, and how many entries it has."""
    if len(content) - start > MAX_BYTES:
        fail(f"more than {MAX_BYTES // 2**20} MiB follow the end of the model at byte {start}")
    at = len(content) - _END.size
    if at < start:
        fail("the archive behind the model is cut short")
    magic, disk, first_disk, here, count, length, directory_at, comment = _END.unpack_from(content, at)
    if magic != b"PK\5\6" or disk or first_disk or comment or here != count:
        fail("the archive behind the model does not end where the file ends")
    if count > MAX_FILES:
        fail(f"{count} files are attached; at most {MAX_FILES} may be")
    if not start <= directory_at <= at or directory_at + length != at:
        fail("the directory of the attached files is not where it is said to be")
    return directory_at, count


def _member(
    content: bytes, at: int, limit: int, expected: tuple[object, ...], fail: Fail
) -> tuple[bytes, int]:
    """Return a member's bytes and where it ends; ``expected`` is what the directory says of it."""
    if at + _LOCAL.size > limit:
        fail("an attached file is cut short")
    local = _LOCAL.unpack_from(content, at)
    flags, method, _, _, checksum, stored, size, name_length, extra = local[2:]
    name_at = at + _LOCAL.size
    name = content[name_at : name_at + name_length]
    data_at = name_at + name_length + extra
    local_values = (flags, method, *local[4:9], name)
    if local[0] != b"PK\3\4" or local_values != expected:
        fail("the directory of the attached files is not that of the files")
    if method or flags & ~_UTF8 or stored != size:
        fail("an attached file is compressed or encrypted; attach it as it is")
    if data_at + size > limit:
        fail("an attached file is cut short")
    data = content[data_at : data_at + size]
    if zlib.crc32(data) != checksum:
        fail("an attached file is damaged")
    return data, data_at + size


def _name(name: bytes, fail: Fail) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        fail("the name of an attached file is not UTF-8")
    plain = text.isprintable() and "\\" not in text and not text.startswith("/")
    if not text or not plain or ".." in text.split("/"):
        fail(f"an attached file is called {text!r}")
    return text
