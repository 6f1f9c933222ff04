"""Protocol buffers as plain fields, without their classes: what little of a SavedModel is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at ``place`` and the place behind it.

    Raises:
        ValueError: it is cut off or too long.
    """
    value = 0
    for count in range(_LONGEST_VARINT):
        if place + count >= len(data):
            break
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    msg = "a number is cut off"
    raise ValueError(msg)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield each field of a message: its number, and an integer or bytes.

    Raises:
        ValueError: the message is damaged.
    """
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = varint(message, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, place = varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            msg = f"unknown kind of field {kind}"
            raise ValueError(msg)
        if place + size > len(message):
            msg = "a field is cut off"
            raise ValueError(msg)
        yield key >> 3, message[place : place + size]
        place += size


def messages(message: bytes, number: int) -> Iterator[bytes]:
    """Yield every field ``number`` of a message, where these are messages or strings themselves."""
    for field, value in fields(message):
        if field == number and isinstance(value, bytes):
            yield value


def text(message: bytes, number: int) -> str:
    """Return the last string field ``number``, or ``""``."""
    found = ""
    for value in messages(message, number):
        found = value.decode("utf-8", "replace")
    return found


def number(message: bytes, wanted: int) -> int:
    """Return the last integer field ``wanted``, or 0."""
    found = 0
    for field, value in fields(message):
        if field == wanted and isinstance(value, int):
            found = value
    return found
