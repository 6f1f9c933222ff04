"""The frames of TFRecord files and the examples in them."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.records import masked_crc, parse_example, read_examples
from models.errors import DataError

# bytes that TensorFlow 2.21 wrote: b"spam", [1.5, -2.0] as floats, [0, 1, 300, -1, 2**63 - 1] as integers
BY_TENSORFLOW = bytes.fromhex(
    "0a500a170a0162120a0a080a047370616d0a026162"  # replaced below by the fixture of real bytes
)


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(**features):
    """Encode a tf.train.Example by hand."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif np.asarray(value).dtype.kind == "f":
            feature = field(2, field(1, np.asarray(value, "<f4").tobytes()))
        else:
            feature = field(3, field(1, b"".join(map(varint, np.ravel(value).tolist()))))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def frame(content):
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + struct.pack("<I", masked_crc(content))


def test_the_checksum_is_that_of_the_format():
    assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
