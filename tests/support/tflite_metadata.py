"""TFLite metadata of a file or its bytes, read back."""

from __future__ import annotations

from pathlib import Path

from pipeline.flatbuffer import metadata
from pipeline.flatbuffer.metadata import ModelMetadata, check_associated_files
from pipeline.flatbuffer.reader import Reader


def read_metadata(source: Path | bytes, name: str = "") -> ModelMetadata | None:
    """Return the metadata of a .tflite file, or None where it has none."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    return metadata.read_metadata(content, name or str(source if isinstance(source, Path) else "the model"))


def read_files(source: Path | bytes, name: str = "") -> dict[str, bytes]:
    """Return the files that are attached to a .tflite file, by name.

    Raises:
        InputError: the file is damaged, or the archive is not what TFLite metadata has: stored files that the
            metadata names, and no other byte.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    reader = Reader(content, name or (str(source) if isinstance(source, Path) else "the model"))
    return check_associated_files(reader, reader.root())
