"""Read TFRecord files: the frames of records, and the ``tf.train.Example`` in each, without TensorFlow."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import numpy as np

from models import protobuf
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
            except ValueError as error:
                msg = f"{where} is not a tf.train.Example: {error}; write it again"
                raise DataError(msg) from error


def _read_records(path: Path) -> Iterator[bytes]:
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
            yield content[:length]


def _has_length(header: bytes) -> bool:
    """Return whether a record begins here: its length and that length's checksum."""
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


def parse_example(content: bytes) -> Example:
    """Return the features of a serialized ``tf.train.Example``, by name.

    Raises:
        ValueError: it is none.
    """
    example: Example = {}
    for named in protobuf.parse("Example", content).features.feature:
        lists, name = named.value, named.key.decode("utf-8", "replace")
        if lists.HasField("float_list"):
            example[name] = np.array(lists.float_list.value, np.float32)
        elif lists.HasField("int64_list"):
            example[name] = np.array(lists.int64_list.value, np.int64)
        else:
            example[name] = list(lists.bytes_list.value)
    return example
