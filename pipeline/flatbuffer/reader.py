"""Read FlatBuffer tables from bytes that may have been written by an adversary.

Every offset, length and alignment is checked before it is followed, as FlatBuffers' C++ ``Verifier``
does, so what comes out is a plain tree of Python values and nothing outside the file was looked at.
Work is bounded: whatever is decoded is counted, as often as it is referred to.

Format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, NoReturn

from pipeline.errors import InputError
from pipeline.flatbuffer import layout

Table = dict[str, Any]

IDENTIFIER = b"TFL3"
# In numbers decoded; a table counts for many. Enough for 100,000 tensors, or 2,000,000 quantized channels.
MAX_WORK = 4_000_000
TABLE_WORK = 16
# Builders pad a file to its largest alignment, and converters align external buffers to 16 bytes.
MAX_PADDING_BYTES = 64
_ZIP_MAGIC, _EMPTY_ZIP_MAGIC = b"PK\x03\x04", b"PK\x05\x06"

MAX_MESSAGE = 300
UPDATE = "update ai-edge-litert, or convert with an older TensorFlow"
DAMAGED = "the file is damaged, copy it or convert the model again"


class Span(NamedTuple):
    """Bytes of the file that are left undecoded: ``content[start : start + length]``."""

    start: int
    length: int


class Reader:
    """A cursor-less reader of one file.

    Args:
        content: the whole file.
        name: what errors call the file.

    Attributes:
        end: where the last object that was read ends, in bytes from the start.
    """

    # Belongs to the schema, like the next two functions; readers of other schemas override it.
    identifier, root_table = IDENTIFIER, "Model"

    def fields(self, table: str) -> tuple[layout.Field, ...]:
        """Return the fields of a table."""
        return layout.fields(table)

    def union(self, enumeration: str) -> dict[int, str]:
        """Return the tables that a union may hold, by number."""
        return layout.names(enumeration)

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name = content, name
        self.end = 0
        self._work = 0

    def root(self) -> Table:
        """Return the decoded root table.

        Raises:
            InputError: if the file is not a TFLite model, or its structure is damaged.
        """
        head = self.content[:8]
        if not head:
            self.fail("the file is empty", "convert the model again")
        if len(head) < 8 or head[4:] != self.identifier:
            self.fail(f"not a TFLite model: {_resemblance(self.content)}", "pass a .tflite file")
        return self._table(self._reference(0, "the root"), self.root_table)

    def fail(self, message: str, hint: str = DAMAGED) -> NoReturn:
        """Raise an InputError of one line that names the file; names out of the file are made harmless."""
        msg = f"{self.name}: {printable(message[:MAX_MESSAGE])}; {hint}"
        raise InputError(msg)

    def claim(self, start: int, length: int, what: str) -> Span:
        """Return the span as one that is in use; refuse it where it leaves the file."""
        end = start + length
        if start < 0 or length < 0 or end > len(self.content):
            self.fail(f"{what}, {length} bytes at byte {start}, reaches past byte {len(self.content)}")
        self.end = max(self.end, end)
        return Span(start, length)

    def check_end(self) -> bool:
        """Return whether a zip archive may follow the last object; refuse other bytes there than padding."""
        rest = self.content[self.end :]
        head = rest[: MAX_PADDING_BYTES + len(_ZIP_MAGIC)].lstrip(b"\0")
        if not head and len(rest) <= MAX_PADDING_BYTES:
            return False
        if not head.startswith((_ZIP_MAGIC, _EMPTY_ZIP_MAGIC)):
            self.fail(f"{len(rest)} bytes follow the end of the model at byte {self.end}")
        return True

    def _number(self, code: str, position: int, what: str) -> Any:
        size = struct.calcsize(code)
        self.claim(position, size, what)
        if position % size:
            self.fail(f"{what} at byte {position} is not aligned to {size} bytes")
        return struct.unpack_from(f"<{code}", self.content, position)[0]

    def _reference(self, position: int, what: str) -> int:
        return position + int(self._number("I", position, what))

    def _count(self, position: int, size: int, what: str) -> Span:
        """Return the elements' span of the vector at ``position``; the length stays in elements."""
        length = self._number("I", position, f"the length of {what}")
        if (position + 4) % size:
            self.fail(f"{what} at byte {position + 4} is not aligned to {size} bytes")
        self.claim(position + 4, length * size, what)
        return Span(position + 4, length)

    def _spend(self, work: int, what: str) -> None:
        self._work += work
        if self._work > MAX_WORK:
            self.fail(f"{what} is one too many: no model of a sensible size refers to so much")

    def _table(self, position: int, table: str) -> Table:
        what = f"the table {table}"
        vtable = position - self._number("i", position, what)
        vtable_size = self._number("H", vtable, f"the vtable of {what}")
        table_size = self._number("H", vtable + 2, f"the vtable of {what}")
        if vtable_size < 4 or vtable_size % 2 or table_size < 4:
            self.fail(f"the vtable of {what} at byte {vtable} has impossible sizes")
        self.claim(vtable, vtable_size, f"the vtable of {what}")
        self.claim(position, table_size, what)
        self._spend(TABLE_WORK + 2 * vtable_size, what)

        values: Table = {}
        for field in self.fields(table):
            entry = 4 + 2 * field.slot
            offset = self._number("H", vtable + entry, what) if entry < vtable_size else 0
            width = struct.calcsize(field.code if field.kind == "number" else "I")
            if offset and not 4 <= offset <= table_size - width:
                self.fail(f"{table}.{field.name} at byte {position} lies outside its table")
            values[field.name] = self._value(field, position + offset if offset else 0, table, values)
        return values

    def _value(self, field: layout.Field, position: int, table: str, siblings: Table) -> Any:
        what = f"{table}.{field.name}"
        if field.kind == "number":
            return self._number(field.code, position, what) if position else field.default
        if not position:
            return _ABSENT[field.kind]
        target = self._reference(position, what)
        match field.kind:
            case "table":
                return self._table(target, field.refers_to)
            case "union":
                member = siblings[f"{field.name}Type"]
                known = self.union(field.refers_to)
                if member not in known:
                    self.fail(f"{what} holds kind {member}, which this LiteRT does not know", UPDATE)
                return self._table(target, known[member]) if member else None
            case "bytes":
                return self._count(target, 1, what)
            case "string":
                return self._string(target, what)
            case "strings":
                start, length = self._count(target, 4, what)
                return [self._string(self._reference(start + 4 * i, what), what) for i in range(length)]
            case "numbers":
                return self._numbers(target, field.code, what)
            case _:
                return self._tables(target, field.refers_to, what)

    def _numbers(self, position: int, code: str, what: str) -> tuple[int | float, ...]:
        start, length = self._count(position, struct.calcsize(code), what)
        self._spend(length, what)
        return struct.unpack_from(f"<{length}{code}", self.content, start)

    def _tables(self, position: int, table: str, what: str) -> list[Table]:
        start, length = self._count(position, 4, what)
        return [self._table(self._reference(start + 4 * i, what), table) for i in range(length)]

    def _string(self, position: int, what: str) -> str:
        start, length = self._count(position, 1, what)
        self._spend(length // 16, what)
        self.claim(start + length, 1, f"the end of {what}")
        if self.content[start + length]:
            self.fail(f"{what} at byte {start} does not end with a zero byte")
        try:
            return self.content[start : start + length].decode()
        except UnicodeDecodeError:
            self.fail(f"{what} at byte {start} is not UTF-8")


_ABSENT: dict[layout.Kind, Any] = {
    "numbers": (), "bytes": Span(0, 0), "string": "", "strings": [], "table": None, "tables": [],
    "union": None,
}  # fmt: skip


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped, so that a name cannot drive the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _resemblance(content: bytes) -> str:
    """Return what a file without the identifier looks like instead."""
    if content.startswith(_ZIP_MAGIC):
        return "it is a zip archive, perhaps a .keras file"
    if content.startswith(b"\x89HDF\r\n"):
        return "it is an HDF5 file, perhaps a Keras .h5"
    if not any(content[:4096]):
        return "it begins with zeros only"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in content[:4096]):
        return "it is text"
    return f"bytes 4 to 7 are {content[4:8]!r} where {IDENTIFIER!r} is expected"
