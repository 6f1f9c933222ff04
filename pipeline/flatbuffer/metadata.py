"""TFLite metadata: what a model is, and what its inputs and outputs mean, inside its .tflite file.

The metadata is a FlatBuffer of its own in one of the model's buffers, named ``TFLITE_METADATA``; the files
that it names, such as the labels, are an archive behind the model (``associated_files.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import flatbuffers
import numpy as np

from pipeline.flatbuffer import associated_files, metadata_layout
from pipeline.flatbuffer.metadata_entry import add_metadata_entry
from pipeline.flatbuffer.reader import Reader, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.flatbuffer.layout import Field

NAME = "TFLITE_METADATA"
Content = Literal["features", "rgb", "grayscale", "image"]
_CONTENTS: dict[int, Content] = {metadata_layout.RGB: "rgb", metadata_layout.GRAYSCALE: "grayscale"}
_COLORS: dict[Content, int] = {"rgb": metadata_layout.RGB, "grayscale": metadata_layout.GRAYSCALE, "image": 0}


@dataclass(frozen=True, kw_only=True)
class TensorMetadata:
    """Description of one input or output.

    Attributes:
        content: an image of which channels ("image": of others than RGB and grey), or features.
        size: (height, width) of an image; None if it is none.
        mean: raw values become the model's by ``(raw - mean) / std``: one, or one for each channel; empty
            where they go in as they are.
        std: likewise.
        low: the smallest real value that it can hold; empty if that is not known.
        high: the largest, likewise.
        labels: name of the attached file that has a label for each entry of its last axis; "" for none.
    """

    name: str
    description: str = ""
    content: Content = "features"
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    labels: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """Description of a model; inputs and outputs are in the order of the main subgraph."""

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class _MetadataReader(Reader):
    identifier, root_table = metadata_layout.IDENTIFIER, metadata_layout.ROOT

    def fields(self, table: str) -> tuple[Field, ...]:
        return metadata_layout.TABLES[table]

    def union(self, enumeration: str) -> dict[int, str]:
        return metadata_layout.UNIONS[enumeration]


def write_metadata(content: bytes, metadata: ModelMetadata, files: Mapping[str, bytes]) -> bytes:
    """Return the .tflite file with metadata and attached files, in place of those that it has.

    Operators, tensors and buffers keep their bytes, and buffers their alignment. Equal arguments give equal
    bytes.

    Args:
        content: a verified .tflite file.
        metadata: as many inputs and outputs as the file's.
        files: by name; those that ``metadata`` names.

    Raises:
        InputError: the file keeps data outside of its FlatBuffer, or is of a schema that is not known.
        ValueError: a file is named and not given, or given and not named.
    """
    named = {tensor.labels for tensor in (*metadata.inputs, *metadata.outputs) if tensor.labels}
    if named != set(files):
        msg = f"the metadata names the files {sorted(named)}; given are {sorted(files)}"
        raise ValueError(msg)
    model = add_metadata_entry(content, NAME, _pack_metadata(metadata))
    return associated_files.append_files(model, files)


def read_metadata(content: bytes, name: str) -> ModelMetadata | None:
    """Return the metadata of a verified .tflite file, or None where it has none.

    Of what other programs wrote only that is read which ``ModelMetadata`` has a place for.

    Raises:
        InputError: the metadata is damaged; ``name`` says of which file.
    """
    reader = Reader(content, name)
    raw = raw_metadata(reader, reader.root())
    if raw is None:
        return None
    none: Table = {"InputTensorMetadata": [], "OutputTensorMetadata": []}
    graph = next(iter(raw["SubgraphMetadata"]), none)
    return ModelMetadata(
        name=raw["Name"],
        description=raw["Description"],
        version=raw["Version"],
        author=raw["Author"],
        license=raw["License"],
        inputs=tuple(_tensor_of(table) for table in graph["InputTensorMetadata"]),
        outputs=tuple(_tensor_of(table) for table in graph["OutputTensorMetadata"]),
    )


def check_associated_files(reader: Reader, root: Table) -> dict[str, bytes]:
    """Return the files behind a model that was read to its end; refuse what is not one of TFLite metadata."""
    if not reader.check_end():
        return {}  # whatever the metadata names: programs that edit a model leave its files off
    files = associated_files.read_associated_files(reader.content, reader.end, reader.fail)
    raw = raw_metadata(reader, root)
    named = set() if raw is None else {file["Name"] for file in _files(raw)}
    if unnamed := sorted(set(files) - named):
        reader.fail(f"the file {unnamed[0]!r} is attached, and the metadata does not name it")
    return files


def raw_metadata(reader: Reader, root: Table) -> Table | None:
    """Return the decoded ``ModelMetadata`` table of a model's root table; None if there is none."""
    index = next((entry["Buffer"] for entry in root["Metadata"] if entry["Name"] == NAME), None)
    if index is None:
        return None
    if not index < len(root["Buffers"]):
        reader.fail(f"metadata {NAME!r} names buffer {index} of {len(root['Buffers'])}")
    start, length = root["Buffers"][index]["Data"]
    return _MetadataReader(reader.content[start : start + length], f"{reader.name}, {NAME}").root()


def _tensor_of(table: Table) -> TensorMetadata:
    content: Content = "features"
    size = None
    properties = table["Content"] or {"ContentPropertiesType": 0}
    if properties["ContentPropertiesType"] == 2:
        image = properties["ContentProperties"]
        content = _CONTENTS.get(image["ColorSpace"], "image")
        if given := image["DefaultSize"]:
            size = (given["Height"], given["Width"])
    units = [unit["Options"] for unit in table["ProcessUnits"] if unit["OptionsType"] == 1]
    normalization = units[0] if units else {"Mean": (), "Std": ()}
    stats = table["Stats"] or {"Min": (), "Max": ()}
    labels = (
        file["Name"]
        for file in table["AssociatedFiles"]
        if file["Type"] in (metadata_layout.TENSOR_AXIS_LABELS, metadata_layout.TENSOR_VALUE_LABELS)
    )
    return TensorMetadata(
        name=table["Name"],
        description=table["Description"],
        content=content,
        size=size,
        mean=normalization["Mean"],
        std=normalization["Std"],
        low=stats["Min"],
        high=stats["Max"],
        labels=next(labels, ""),
    )


def _files(table: Table) -> Iterator[Table]:
    """Yield every ``AssociatedFile`` below a table, wherever the schema has one."""
    for field, value in table.items():
        for below in value if isinstance(value, list) else [value]:
            if isinstance(below, dict):
                if field in ("AssociatedFiles", "VocabFile", "SentencePieceModel"):
                    yield below
                yield from _files(below)


def _pack_metadata(metadata: ModelMetadata) -> bytes:
    values = {
        "Name": metadata.name,
        "Description": metadata.description,
        "Version": metadata.version,
        "SubgraphMetadata": [
            {
                "InputTensorMetadata": [_tensor_values(tensor) for tensor in metadata.inputs],
                "OutputTensorMetadata": [_tensor_values(tensor) for tensor in metadata.outputs],
            }
        ],
        "Author": metadata.author,
        "License": metadata.license,
        "MinParserVersion": metadata_layout.MIN_PARSER_VERSION,
    }
    builder = flatbuffers.Builder()
    builder.Finish(_pack(builder, metadata_layout.ROOT, values), metadata_layout.IDENTIFIER)
    return bytes(builder.Output())


def _tensor_values(tensor: TensorMetadata) -> Table:
    kind = 1
    properties: Table = {}
    if tensor.content != "features":
        kind, properties = 2, {"ColorSpace": _COLORS[tensor.content]}
        if tensor.size is not None:
            properties["DefaultSize"] = {"Height": tensor.size[0], "Width": tensor.size[1]}
    values: Table = {
        "Name": tensor.name,
        "Description": tensor.description,
        "Content": {"ContentPropertiesType": kind, "ContentProperties": properties},
        "Stats": {"Min": tensor.low, "Max": tensor.high} if tensor.low else None,
    }
    if tensor.mean:
        options = {"Mean": tensor.mean, "Std": tensor.std}
        values["ProcessUnits"] = [{"OptionsType": 1, "Options": options}]
    if tensor.labels:
        values["AssociatedFiles"] = [
            {
                "Name": tensor.labels,
                "Description": "a label for each entry of the last axis, one line each",
                "Type": metadata_layout.TENSOR_AXIS_LABELS,
            }
        ]
    return values


def _pack(builder: Any, table: str, values: Table) -> int:
    """Write a table with what it refers to, and return its offset; what is None or empty is left out."""
    fields = metadata_layout.TABLES[table]
    offsets: dict[str, int] = {}
    for field in fields:
        value = values.get(field.name)
        if field.kind == "number" or value is None or (field.kind != "union" and not value):
            continue
        match field.kind:
            case "string":
                offsets[field.name] = builder.CreateString(value)
            case "numbers":
                numbers = np.asarray(value, np.dtype(f"<{field.code}4"))
                offsets[field.name] = builder.CreateNumpyVector(numbers)
            case "tables":
                made = [_pack(builder, field.refers_to, below) for below in value]
                offsets[field.name] = _vector(builder, made)
            case "union":
                kind = metadata_layout.UNIONS[field.refers_to][values[f"{field.name}Type"]]
                offsets[field.name] = _pack(builder, kind, value)
            case _:
                offsets[field.name] = _pack(builder, field.refers_to, value)
    builder.StartObject(max((field.slot + 1 for field in fields), default=0))
    for field in fields:
        if field.name in offsets:
            builder.PrependUOffsetTRelativeSlot(field.slot, offsets[field.name], 0)
        elif field.kind == "number" and values.get(field.name):
            prepend = _PREPEND[field.code]
            prepend(builder, field.slot, values[field.name], 0)
    return int(builder.EndObject())


_PREPEND = {
    "b": flatbuffers.Builder.PrependInt8Slot,
    "B": flatbuffers.Builder.PrependUint8Slot,
    "I": flatbuffers.Builder.PrependUint32Slot,
}


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
