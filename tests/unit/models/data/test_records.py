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

# one record that TensorFlow 2.21 wrote: b = b"spam", f = [1.5, -2.0], i = [0, 1, 300, -1, 2**63 - 1]
BY_TENSORFLOW = bytes.fromhex(
    "46000000000000007235b9a50a440a0d0a016212080a060a047370616d0a110a0166120c120a0a080000c03f000000c00a200a01"
    "69121b1a190a170001ac02ffffffffffffffffff01ffffffffffffffff7fe7e20c26"
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
    """Encode a tf.train.Example."""
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


@pytest.mark.parametrize("packed", [False, True])
def test_what_tensorflow_wrote_is_read(packed, tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(gzip.compress(BY_TENSORFLOW * 2) if packed else BY_TENSORFLOW * 2)

    found = list(read_examples([path]))

    assert [where for where, _ in found] == [f"{path}: record 0", f"{path}: record 1"]
    assert found[1][1]["b"] == [b"spam"]
    np.testing.assert_array_equal(found[0][1]["f"], np.float32([1.5, -2]))
    assert found[0][1]["i"].tolist() == [0, 1, 300, -1, 2**63 - 1]


def test_numbers_that_are_not_packed_are_read_too():
    integers = field(3, b"".join(b"\x08" + varint(value) for value in (5, 300, -2)))
    floats = field(2, b"".join(b"\x0d" + struct.pack("<f", value) for value in (1.5, 2.5)))
    content = field(
        1, field(1, field(1, b"i") + field(2, integers)) + field(1, field(1, b"f") + field(2, floats))
    )

    found = parse_example(content)

    assert found["i"].tolist() == [5, 300, -2]
    assert found["f"].tolist() == [1.5, 2.5]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_every_integer_comes_back(values):
    assert parse_example(example(i=np.array(values, np.int64)))["i"].tolist() == values


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_an_error(content):
    try:
        parse_example(content)
    except ValueError:
        return


def test_no_truncation_of_a_file_gets_past_the_errors(tmp_path):
    whole = BY_TENSORFLOW + frame(example(label=3, image=b"0123456789" * 9))
    path = tmp_path / "cut.tfrecord"
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        if end == len(BY_TENSORFLOW):
            continue
        with pytest.raises(DataError, match=r"record [01]|cannot be read") as caught:
            list(read_examples([path]))
        assert "\n" not in str(caught.value)


def test_a_corrupt_length_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(BY_TENSORFLOW + b"\xff" * 7 + BY_TENSORFLOW)

    with pytest.raises(DataError, match="record 1: damaged, or no TFRecord file"):
        list(read_examples([path]))


def test_a_record_may_not_claim_gigabytes(tmp_path):
    length = struct.pack("<Q", 1 << 40)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + struct.pack("<I", masked_crc(length)) + b"x")

    with pytest.raises(DataError, match="has 1099511627776 bytes"):
        list(read_examples([path]))
