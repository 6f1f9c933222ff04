"""TFLite metadata read back, as far as ``ModelMetadata`` has a place for it."""

from __future__ import annotations

from pathlib import Path

from pipeline.flatbuffer import metadata_layout
from pipeline.flatbuffer.metadata import ModelMetadata, TensorMetadata, check_associated_files, raw_metadata
from pipeline.flatbuffer.reader import Reader, Table

CONTENTS = {metadata_layout.RGB: "rgb", metadata_layout.GRAYSCALE: "grayscale"}


def read_metadata(source: Path | bytes, name: str = "") -> ModelMetadata | None:
    """Return the metadata of a .tflite file, or None where it has none.

    Of what other programs wrote only that is read which ``ModelMetadata`` has a place for.

    Raises:
        InputError: the file or its metadata is damaged.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    reader = Reader(content, name or (str(source) if isinstance(source, Path) else "the model"))
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
        inputs=tuple(_tensor(table) for table in graph["InputTensorMetadata"]),
        outputs=tuple(_tensor(table) for table in graph["OutputTensorMetadata"]),
    )


def read_files(source: Path | bytes, name: str = "") -> dict[str, bytes]:
    """Return the files that are attached to a .tflite file, by name.

    Raises:
        InputError: the file is damaged, or the archive is not what TFLite metadata has: stored files that the
            metadata names, and no other byte.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    reader = Reader(content, name or (str(source) if isinstance(source, Path) else "the model"))
    return check_associated_files(reader, reader.root())


def _tensor(table: Table) -> TensorMetadata:
    content = "features"
    size = None
    properties = table["Content"] or {"ContentPropertiesType": 0}
    if properties["ContentPropertiesType"] == 2:
        image = properties["ContentProperties"]
        content = CONTENTS.get(image["ColorSpace"], "image")
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
