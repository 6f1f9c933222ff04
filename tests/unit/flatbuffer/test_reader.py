"""Structures that no builder writes: overlapping, misaligned, or so large that reading them would not end."""

from __future__ import annotations

import struct
import time

import pytest

from pipeline.errors import InputError
from pipeline.flatbuffer import printable, read_tflite


def _file(*words: int) -> bytes:
    """Return a file of a root offset, the identifier and 32-bit words from byte 8 on."""
    return struct.pack("<I4s", 16, b"TFL3") + b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)


def test_a_vtable_that_is_its_own_table_is_refused():
    with pytest.raises(InputError):
        read_tflite(_file(0, 0, 0, 0, 0, 0))


def test_a_vtable_before_the_file_is_refused():
    with pytest.raises(InputError, match="the vtable of the table Model, 2 bytes at byte -84"):
        read_tflite(_file(0, 0, 100, 0, 0, 0))


def test_a_field_outside_its_table_is_refused():
    vtable = struct.unpack("<2I", struct.pack("<4H", 8, 8, 0, 200))
    with pytest.raises(InputError, match=r"Model.OperatorCodes at byte 16 lies outside its table"):
        read_tflite(_file(*vtable, 8, 0, 0, 0))


def test_a_misaligned_root_is_refused():
    with pytest.raises(InputError, match="not aligned to 4 bytes"):
        read_tflite(struct.pack("<I4s", 17, b"TFL3") + bytes(64))


def test_a_vector_of_a_billion_is_refused_before_it_is_walked():
    vtable = struct.unpack("<2I", struct.pack("<4H", 8, 8, 0, 4))
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"Model.OperatorCodes, 4000000000 bytes"):
        read_tflite(_file(*vtable, 8, 4, 1_000_000_000, 0))
    assert time.perf_counter() - started < 60


def test_millions_of_references_to_one_table_end_in_bounded_time():
    count = 5_000_000
    model_vtable = struct.unpack("<2I", struct.pack("<4H", 8, 8, 0, 4))
    # Every element of Model.OperatorCodes refers to one empty table: its vtable, then its offset to that.
    empty_table = struct.pack("<2Hi", 4, 4, 4)
    references = struct.pack(f"<{count}I", *range(4 * count + 4, 4, -4))
    started = time.perf_counter()
    with pytest.raises(InputError, match="is one too many"):
        read_tflite(_file(*model_vtable, 8, 4, count) + references + empty_table)
    assert time.perf_counter() - started < 300


def test_control_characters_are_escaped():
    assert printable("conv\n\x1b[2J") == r"conv\n\x1b[2J"
    assert printable("Faltung-ä") == "Faltung-ä"
