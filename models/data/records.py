"""Read TFRecord files: the frames of records, and the ``tf.train.Example`` in each, without TensorFlow."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import numpy as np

from models.data.packed import open_bytes
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Value = list[bytes] | NDArray[np.float32] | NDArray[np.int64]
    Example = dict[str, Value]

MAX_RECORD_BYTES = 256 << 20
_LENGTH = struct.Struct("<QI")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


def read_examples(paths: Sequence[Path]) -> Iterator[tuple[str, Example]]:
    """Read the examples of some files, in order.

    Yields:
        Where it is, for messages, and each feature's list: of bytes, float32 or int64.

    Raises:
        DataError: a file is damaged; says at which record.
    """
    for path in paths:
        for number, content in enumerate(_read_records(path)):
            where = f"{path}: record {number}"
            try:
                yield where, parse_example(content)
            except (ValueError, IndexError, struct.error) as error:
                msg = f"{where} is no tf.train.Example: {error}; write it again"
                raise DataError(msg) from error


def _read_records(path: Path) -> Iterator[memoryview]:
    with path.open("rb") as file:
        packed = not _has_length(file.read(_LENGTH.size))
    with open_bytes(path, packed=None if packed else False) as file:
        for number in itertools.count():
            header = file.read(_LENGTH.size)
            if not header:
                return
            if not _has_length(header):
                msg = f"{path}: record {number}: damaged, or no TFRecord file; write it again"
                raise DataError(msg)
            length = _LENGTH.unpack(header)[0]
            if length > MAX_RECORD_BYTES:
                msg = f"{path}: record {number} has {length} bytes; write smaller ones"
                raise DataError(msg)
            content = file.read(length + 4)
            if len(content) < length + 4:
                msg = f"{path}: record {number}: the file ends within it; write it again"
                raise DataError(msg)
            yield memoryview(content)[:length]


def _has_length(header: bytes) -> bool:
    """Tell whether a record begins here: its length and that length's checksum."""
    return len(header) == _LENGTH.size and _LENGTH.unpack(header)[1] == masked_crc(header[:8])


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # the polynomial of CRC-32C
        table.append(value)
    return table


_CRC = _crc_table()


def masked_crc(content: bytes) -> int:
    """Return the checksum of a TFRecord file: CRC-32C, rotated and offset."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def parse_example(content: memoryview) -> Example:
    """Parse the protobuf message ``Example { Features { map<string, Feature> } }``.

    Raises:
        ValueError, IndexError: it is none.
    """
    example: Example = {}
    for field, kind, features in _fields(content):
        if field != 1 or kind != _BYTES:
            continue
        for entry_field, entry_kind, entry in _fields(features):
            if entry_field == 1 and entry_kind == _BYTES:
                name, value = _parse_entry(entry)
                example[name] = value
    return example


def _parse_entry(entry: memoryview) -> tuple[str, Value]:
    name, value = "", memoryview(b"")
    for field, kind, content in _fields(entry):
        if kind == _BYTES and field == 1:
            name = bytes(content).decode("utf-8", "replace")
        elif kind == _BYTES and field == 2:
            value = content
    for field, kind, content in _fields(value):
        if kind != _BYTES:
            continue
        if field == _BYTES_LIST:
            return name, [bytes(item) for _, item_kind, item in _fields(content) if item_kind == _BYTES]
        if field == _FLOAT_LIST:
            pieces = [
                bytes(item) for _, item_kind, item in _fields(content) if item_kind in (_BYTES, _FIXED32)
            ]
            return name, np.frombuffer(b"".join(pieces), "<f4")
        if field == _INT64_LIST:
            return name, _parse_integers(content)
    return name, []


def _parse_integers(content: memoryview) -> NDArray[np.int64]:
    """Parse varints, packed into one field or each in its own."""
    values = []
    for _, kind, item in _fields(content):
        if kind == _BYTES and len(item) > 1:
            values.append(_varints(np.frombuffer(item, np.uint8)))
        elif kind == _BYTES:
            values.append(np.frombuffer(item, np.uint8).astype(np.int64))
        elif kind == _VARINT:
            values.append(_varints(np.frombuffer(item, np.uint8)))
    return np.concatenate(values) if values else np.empty(0, np.int64)


def _varints(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode many varints at once: seven bits a byte, the lowest first; the eighth says that more follow."""
    ends = np.flatnonzero(content < 128)
    if len(content) and (not len(ends) or ends[-1] != len(content) - 1):
        msg = "a number is cut off"
        raise ValueError(msg)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > 10:
        msg = "a number of more than 64 bits"
        raise ValueError(msg)
    place = np.arange(len(content)) - np.repeat(starts, lengths)
    bits = (content & 127).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(bits, starts).astype(np.int64) if len(ends) else np.empty(0, np.int64)


def _fields(content: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Split a protobuf message into field number, wire type and content."""
    at, end = 0, len(content)
    while at < end:
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _BYTES:
            length, at = _varint(content, at)
            after = at + length
        elif kind == _VARINT:
            after = _varint(content, at)[1]
        elif kind in (_FIXED64, _FIXED32):
            after = at + (8 if kind == _FIXED64 else 4)
        else:
            msg = f"a field of wire type {kind}"
            raise ValueError(msg)
        if after > end:
            msg = "a field is longer than its message"
            raise ValueError(msg)
        yield key >> 3, kind, content[at:after]
        at = after


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            msg = "a number of more than 64 bits"
            raise ValueError(msg)
