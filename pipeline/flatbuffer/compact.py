"""Write a .tflite file in fewer bytes, with the same operators and constants.

Converters describe each tensor and operator by itself, even where hundreds of them are alike: an unrolled
recurrent layer has twenty operators per step. FlatBuffers allow several tables to refer to the same string,
vector or table, so what is equal is written once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np

from pipeline.flatbuffer.reader import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NUMBER = re.compile(rb"(/[^/;]+/[^/;]*?)_\d+$")
"""What TensorFlow appends to the name of an operation inside a layer, to make it unique."""


def compact(flat: Any) -> None:
    """Merge equal constants of a ``ModelT``, and remove tensors and buffers that nothing uses.

    Tensors of operations that one layer repeats get the same name. It still names the layer, which the
    report looks for, and the operation.
    """
    _merge_buffers(flat)
    for number, graph in enumerate(flat.subgraphs):
        signatures = [each for each in flat.signatureDefs or () if each.subgraphIndex == number]
        ends = {*map(int, graph.inputs), *map(int, graph.outputs)}
        _replace_tensors(graph, signatures, _equal_constants(flat, graph, ends))
        _shorten_names(graph)
    _drop_buffers(flat)


def pack_shared(flat: Any) -> bytes:
    """Pack a ``ModelT``, and write equal strings, vectors and tables once. Do not use ``flat`` afterwards."""
    known: dict[Any, _Shared] = {}
    for graph in flat.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = _shared(tensor.quantization, known)
        for operator in graph.operators:
            operator.builtinOptions = _shared(operator.builtinOptions, known)
    builder = _SharingBuilder(1 << 16)
    builder.Finish(flat.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _merge_buffers(flat: Any) -> None:
    first: dict[bytes, int] = {}
    for graph in flat.subgraphs:
        for tensor in graph.tensors:
            data = flat.buffers[tensor.buffer].data
            if data is not None and len(data):
                tensor.buffer = first.setdefault(bytes(data), tensor.buffer)
            elif not flat.buffers[tensor.buffer].offset:
                tensor.buffer = 0  # by TFLite's convention the empty one


def _equal_constants(flat: Any, graph: Any, ends: set[int]) -> list[int]:
    """Return for each tensor the first constant that equals it in all but its name, or the tensor itself."""
    first: dict[Any, int] = {}
    found = []
    for index, tensor in enumerate(graph.tensors):
        data = flat.buffers[tensor.buffer].data
        if data is None or not len(data) or tensor.isVariable or index in ends:
            found.append(index)
            continue
        described = {name: value for name, value in vars(tensor).items() if name != "name"}
        found.append(first.setdefault(_content(described), index))
    return found


def _replace_tensors(graph: Any, signatures: Sequence[Any], by: Sequence[int]) -> None:
    """Let operators read other tensors, and renumber those that are left."""
    sides = ("inputs", "outputs", "intermediates")
    tensors = [(op, side) for op in graph.operators for side in sides if getattr(op, side) is not None]
    tensors += [(graph, "inputs"), (graph, "outputs")]
    entries = [entry for each in signatures for entry in (*(each.inputs or ()), *(each.outputs or ()))]
    used = {by[index] for owner, side in tensors for index in getattr(owner, side) if index >= 0}
    kept = sorted(used | {int(entry.tensorIndex) for entry in entries})
    place = {old: new for new, old in enumerate(kept)}
    for owner, side in tensors:
        indices = [place[by[index]] if index >= 0 else -1 for index in getattr(owner, side)]
        setattr(owner, side, np.array(indices, np.int32))
    for entry in entries:
        entry.tensorIndex = place[int(entry.tensorIndex)]
    graph.tensors = [graph.tensors[index] for index in kept]


def _shorten_names(graph: Any) -> None:
    ends = {*map(int, graph.inputs), *map(int, graph.outputs)}
    for index, tensor in enumerate(graph.tensors):
        if index not in ends and tensor.name is not None:
            tensor.name = _short(tensor.name)


def _short(name: bytes) -> bytes:
    """Return a name without the numbers of operations, and with each path once.

    The converter numbers the results of one operation, and joins all of these names in the name of each.
    """
    paths = name.split(b";")
    bare = [path.rstrip(b"0123456789") for path in paths]
    chosen = [base if base in paths else path for base, path in zip(bare, paths, strict=True)]
    return b";".join(dict.fromkeys(_NUMBER.sub(rb"\1", path) for path in chosen))


def _drop_buffers(flat: Any) -> None:
    """Remove buffers that neither tensors nor metadata use; the first stays, and has to be empty."""
    used = {tensor.buffer for graph in flat.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in flat.metadata or ()} | set(flat.metadataBuffer or ())
    kept = [0, *sorted(used - {0})]
    place = {old: new for new, old in enumerate(kept)}
    flat.buffers = [flat.buffers[index] for index in kept]
    for graph in flat.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place[tensor.buffer]
    for entry in flat.metadata or ():
        entry.buffer = place[entry.buffer]
    if flat.metadataBuffer is not None:
        flat.metadataBuffer = [place[index] for index in flat.metadataBuffer]


def _content(value: Any) -> Any:
    """Return a hashable value that two objects of the schema share if they are equal."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        return tuple((name, _content(each)) for name, each in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(_content, value))
    if hasattr(value, "__dict__"):
        return type(value).__name__, _content(vars(value))
    return value


def _shared(table: Any, known: dict[Any, _Shared]) -> Any:
    return None if table is None else known.setdefault(_content(table), _Shared(table))


class _Shared:
    """A table that several others refer to."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._offset: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the schema's code calls
        if self._offset is None:
            self._offset = int(self._table.Pack(builder))
        return self._offset


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal strings and vectors once; but not bytes, which are the constants."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        content = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        key = "string", content
        if key not in self._vectors:
            self._vectors[key] = super().CreateString(content)
        return self._vectors[key]

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        if x.dtype == np.uint8:
            return int(super().CreateNumpyVector(x))
        key = x.dtype.str, x.tobytes()
        if key not in self._vectors:
            self._vectors[key] = int(super().CreateNumpyVector(x))
        return self._vectors[key]
