"""Append a buffer to a .tflite file without changing the bytes of existing ones.

FlatBuffers refer forwards only, by distances. So a new root table, with the buffer, is put in front of the
whole file; all that the old root refers to stays as it is, and at the alignment it had.

Format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct

from pipeline.flatbuffer.reader import IDENTIFIER, UPDATE, Reader

# No buffer is aligned to more.
ALIGNMENT = 64
BUFFER_ALIGNMENT = 16

# Slots of ``Model``, ``Metadata`` and ``Buffer`` in TensorFlow Lite's schema.fbs.
_VERSION, _BUFFERS, _METADATA, _MODEL_SLOTS = 0, 4, 6, 10
_NAME, _BUFFER, _METADATA_SLOTS = 0, 1, 2
_DATA, _BUFFER_SLOTS = 0, 1


def add_metadata_entry(content: bytes, name: str, data: bytes) -> bytes:
    """Return the .tflite file with ``data`` as the metadata entry ``name``, in place of one that it has.

    What follows the FlatBuffer is left off. A buffer that is replaced stays in the file, and nothing refers
    to it.

    Raises:
        InputError: the file is damaged, keeps data outside of its FlatBuffer, or has a newer schema's fields.
    """
    reader = Reader(content, "the model")
    root = reader.root()
    outside = any(buffer["Offset"] > 1 for buffer in root["Buffers"]) or any(
        operator["LargeCustomOptionsOffset"] > 1
        for graph in root["Subgraphs"]
        for operator in graph["Operators"]
    )
    if outside or root["ExternalBuffers"] or root["ExternalBufferGroups"]:
        reader.fail("it keeps data outside of its FlatBuffer", "convert to a file below 2 GB")
    old = _Old(content)
    if any(slot >= _MODEL_SLOTS for slot in old.fields):
        reader.fail("it has fields that are not known", UPDATE)
    kept = [
        entry
        for entry, table in zip(old.elements(_METADATA), root["Metadata"], strict=True)
        if table["Name"] != name
    ]
    head = _front(old, root["Version"], kept, name.encode(), data)
    return head + content[: reader.end]


class _Old:
    """Positions in a verified file, from its start."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        table = self.number(0)
        vtable = table - int(struct.unpack_from("<i", content, table)[0])
        slots = int(struct.unpack_from("<H", content, vtable)[0]) // 2 - 2
        offsets = struct.unpack_from(f"<{slots}H", content, vtable + 4)
        self.fields: dict[int, int] = {slot: table + offset for slot, offset in enumerate(offsets) if offset}

    def number(self, position: int) -> int:
        return int(struct.unpack_from("<I", self.content, position)[0])

    def target(self, slot: int) -> int:
        """Return the position that a field of the root table refers to."""
        return self.fields[slot] + self.number(self.fields[slot])

    def elements(self, slot: int) -> list[int]:
        """Return the positions that the elements of a vector of tables refer to."""
        if slot not in self.fields:
            return []
        start = self.target(slot) + 4
        places = range(start, start + 4 * self.number(start - 4), 4)
        return [place + self.number(place) for place in places]


class _Places:
    """Gives out places in a file, one behind the other, from behind its header on."""

    def __init__(self) -> None:
        self.end = 8

    def take(self, size: int, alignment: int, before: int = 0) -> int:
        """Return a place of ``size`` bytes, of which the one at ``before`` is aligned."""
        start = self.end + -(self.end + before) % alignment
        self.end = start + size
        return start

    def table(self, slots: int) -> int:
        """Return the place of a table of four-byte fields, its vtable right before it."""
        vtable = 4 + 2 * slots
        return self.take(vtable + 4 + 4 * slots, 4, vtable) + vtable


class _Front:
    """The bytes in front of the old file, written at places that are known before."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)

    def put(self, position: int, number: int) -> None:
        struct.pack_into("<I", self.bytes, position, number)

    def put_bytes(self, position: int, value: bytes) -> None:
        """Write a string or a vector of bytes."""
        self.put(position, len(value))
        self.bytes[position + 4 : position + 4 + len(value)] = value

    def put_table(self, table: int, slots: int, numbers: dict[int, int], targets: dict[int, int]) -> None:
        """Write a table: fields by slot, numbers as they are and targets as distances to them."""
        vtable = 4 + 2 * slots
        offsets = [4 + 4 * slot if slot in numbers or slot in targets else 0 for slot in range(slots)]
        struct.pack_into(f"<{2 + slots}H", self.bytes, table - vtable, vtable, 4 + 4 * slots, *offsets)
        self.put(table, vtable)
        for slot, number in numbers.items():
            self.put(table + 4 + 4 * slot, number)
        for slot, target in targets.items():
            self.put(table + 4 + 4 * slot, target - (table + 4 + 4 * slot))

    def put_vector(self, vector: int, targets: list[int]) -> None:
        self.put(vector, len(targets))
        for place, target in enumerate(targets, start=1):
            self.put(vector + 4 * place, target - (vector + 4 * place))


def _front(old: _Old, version: int, kept: list[int], name: bytes, data: bytes) -> bytes:
    """Return the new root table and all that only it refers to; the old file goes behind it."""
    buffers = old.elements(_BUFFERS)
    at = _Places()
    # References point forward.
    model = at.table(_MODEL_SLOTS)
    buffer_list = at.take(4 + 4 * (len(buffers) + 1), 4)
    entry_list = at.take(4 + 4 * (len(kept) + 1), 4)
    entry, buffer = at.table(_METADATA_SLOTS), at.table(_BUFFER_SLOTS)
    text = at.take(4 + len(name) + 1, 4)
    data_at = at.take(4 + len(data), BUFFER_ALIGNMENT, 4)
    size = at.take(0, ALIGNMENT)

    head = _Front(size)
    head.put(0, model)
    head.bytes[4:8] = IDENTIFIER
    targets = {slot: size + old.target(slot) for slot in old.fields if slot != _VERSION}
    head.put_table(
        model, _MODEL_SLOTS, {_VERSION: version}, targets | {_BUFFERS: buffer_list, _METADATA: entry_list}
    )
    head.put_table(entry, _METADATA_SLOTS, {_BUFFER: len(buffers)}, {_NAME: text})
    head.put_table(buffer, _BUFFER_SLOTS, {}, {_DATA: data_at})
    head.put_bytes(text, name)
    head.put_bytes(data_at, data)
    head.put_vector(buffer_list, [*(size + target for target in buffers), buffer])
    head.put_vector(entry_list, [*(size + target for target in kept), entry])
    return bytes(head.bytes)
