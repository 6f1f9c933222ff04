"""The arrays of a TensorFlow checkpoint, read without TensorFlow.

``variables.index`` is a sorted string table (the format of LevelDB) from a name to where its array is in
``variables.data-00000-of-00001``; one entry holds the object graph that says which array is whose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import protobuf
from models.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

MAX_INDEX_BYTES = 64 << 20
MAX_ARRAY_BYTES = 2 << 30
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER, _TRAILER, _CHECKSUM = 48, 5, 4
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = b"VARIABLE_VALUE"
_LONGEST_VARINT = 10
_STRING, _BFLOAT16 = 7, 14
_DTYPES = {1: "f4", 2: "f8", 3: "i4", 4: "u1", 5: "i2", 6: "i1", 9: "i8", 10: "?", 19: "f2", _BFLOAT16: "u2"}


@dataclass(frozen=True)
class _Entry:
    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True)
class Node:
    """An object of the checkpoint: what it holds, by name, and the entry of its array, if it is one."""

    children: dict[str, int]
    key: str


@dataclass(frozen=True)
class Bundle:
    """An open checkpoint.

    Attributes:
        data: the file of the arrays.
        entries: where each array is in it, by name.
        nodes: the object graph; the model itself is node 0.
    """

    data: Path
    entries: dict[str, _Entry]
    nodes: tuple[Node, ...]

    def array(self, key: str) -> NDArray[np.generic]:
        """Read one array; bfloat16 becomes float32.

        Raises:
            ModelError: it is not there, or holds NaN or infinity.
        """
        import numpy as np

        entry = self.entries.get(key)
        if entry is None or entry.dtype not in _DTYPES:
            msg = f"{key!r} is not an array of numbers in the checkpoint; save the model again"
            raise ModelError(msg)
        dtype = np.dtype(_DTYPES[entry.dtype]).newbyteorder("<")
        if math.prod(entry.shape) * dtype.itemsize != entry.size:
            msg = f"{key!r} claims the shape {entry.shape} for {entry.size} bytes; save the model again"
            raise ModelError(msg)
        array: NDArray[np.generic] = np.frombuffer(_part(self.data, entry), dtype).reshape(entry.shape)
        if entry.dtype == _BFLOAT16:
            array = (array.astype(np.uint32) << 16).view(np.float32)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            msg = f"{key!r} holds NaN or infinity; train the model again from its last good checkpoint"
            raise ModelError(msg)
        return array


def open_bundle(folder: Path) -> Bundle:
    """Open the checkpoint ``variables`` of a SavedModel.

    Raises:
        ModelError: it is missing or damaged.
    """
    index, data = folder / "variables.index", folder / "variables.data-00000-of-00001"
    try:
        if index.is_symlink() or data.is_symlink():
            msg = "a symbolic link"
            raise ValueError(msg)
        if index.stat().st_size > MAX_INDEX_BYTES:
            msg = "the index is too large"
            raise ValueError(msg)
        entries = _entries(index.read_bytes())
        if _GRAPH not in entries:
            msg = "it has no object graph"
            raise ValueError(msg)
        return Bundle(data, entries, _nodes(_string(_part(data, entries[_GRAPH]))))
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        msg = f"{folder}: damaged checkpoint: {reason}; copy or save the model again"
        raise ModelError(msg) from error


def _entries(table: bytes) -> dict[str, _Entry]:
    if len(table) < _FOOTER or table[-8:] != _MAGIC:
        msg = "variables.index is not an index"
        raise ValueError(msg)
    _, place = _handle(table, len(table) - _FOOTER)
    root, _ = _handle(table, place)
    found: dict[str, _Entry] = {}
    for _, handle in _block(table, *root):
        for key, value in _block(table, *_handle(handle, 0)[0]):
            if not key:  # the header of the checkpoint
                header = protobuf.parse("BundleHeader", value)
                if header.num_shards != 1 or header.endianness:
                    msg = "it is in several parts or big-endian"
                    raise ValueError(msg)
                continue
            entry = protobuf.parse("BundleEntry", value)
            shape = tuple(dimension.size for dimension in entry.shape.dim)
            found[key.decode("utf-8", "replace")] = _Entry(entry.dtype, shape, entry.offset, entry.size)
    return found


def _handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return (offset, size), place


def _block(table: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    """Return the keys and values of one block; each key says how much it shares with the one before."""
    if offset + size + _TRAILER > len(table) or size < 4:
        msg = "a block lies outside the index"
        raise ValueError(msg)
    if table[offset + size] != 0:
        msg = "the index is compressed"
        raise ValueError(msg)
    block = table[offset : offset + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    found, key, place = [], b"", 0
    while place < end:
        shared, place = _varint(block, place)
        more, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or place + more + length > size:
            msg = "an entry lies outside its block"
            raise ValueError(msg)
        key = key[:shared] + block[place : place + more]
        place += more
        found.append((key, block[place : place + length]))
        place += length
    return found


def _part(data: Path, entry: _Entry) -> bytes:
    if entry.size > min(MAX_ARRAY_BYTES, data.stat().st_size):
        msg = "an array is larger than its file"
        raise ValueError(msg)
    with data.open("rb") as file:
        file.seek(entry.offset)
        found = file.read(entry.size)
    if len(found) != entry.size:
        msg = "an array is cut off"
        raise ValueError(msg)
    return found


def _string(stored: bytes) -> bytes:
    """A tensor of one string: its length, a checksum, its bytes."""
    length, place = _varint(stored, 0)
    return stored[place + _CHECKSUM : place + _CHECKSUM + length]


def _nodes(graph: bytes) -> tuple[Node, ...]:
    nodes = []
    for node in protobuf.parse("ObjectGraph", graph).nodes:
        children = {child.local_name.decode("utf-8", "replace"): child.node_id for child in node.children}
        keys = (
            each.checkpoint_key.decode("utf-8", "replace") for each in node.attributes if each.name == _VALUE
        )
        nodes.append(Node(children, next(keys, "")))
    return tuple(nodes)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at ``place``, seven bits a byte, and the place behind it."""
    value = 0
    for count, byte in enumerate(data[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    msg = "a number is cut off"
    raise ValueError(msg)
