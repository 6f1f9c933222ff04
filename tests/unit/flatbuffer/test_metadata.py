"""What is written into a file is read from it again; what others wrote is read as far as it has a place."""

from __future__ import annotations

import random

import flatbuffers
import pytest
from tflite_metadata import read_files, read_metadata

from pipeline.errors import InputError
from pipeline.flatbuffer import metadata_layout, read_tflite
from pipeline.flatbuffer.metadata import (
    ModelMetadata,
    TensorMetadata,
    write_metadata,
)

LABELS = {"labels.txt": "links\nrechts\nüber\n".encode()}
METADATA = ModelMetadata(
    name="tiny",
    description='a "tiny" model\u2028of {{ nothing }}',
    version="1.0",
    author="A, B",
    license="Apache-2.0",
    inputs=(
        TensorMetadata(
            name="image",
            description="raw x 2 - 1",
            content="rgb",
            size=(4, 5),
            mean=(0.5, 127.5, -1.0),
            std=(0.25, 1.0, 2.0),
            low=(-1.0,),
            high=(0.5,),
        ),
    ),
    outputs=(TensorMetadata(name="classes", low=(0.0,), high=(1.0,), labels="labels.txt"),),
)


@pytest.fixture
def described(tiny_tflite):
    return write_metadata(tiny_tflite, METADATA, LABELS)


def test_it_is_read_as_it_was_written(described):
    assert read_metadata(described) == METADATA
    assert read_files(described) == LABELS
    assert "TFLITE_METADATA" in read_tflite(described).metadata


def test_a_file_without_metadata_has_none(tiny_tflite, tmp_path):
    (path := tmp_path / "m.tflite").write_bytes(tiny_tflite)

    assert read_metadata(path) is None
    assert read_files(path) == {}


def test_equal_metadata_gives_equal_bytes(tiny_tflite, described):
    assert write_metadata(tiny_tflite, METADATA, LABELS) == described


def test_describing_again_replaces_what_is_there(described):
    other = ModelMetadata(name="other", inputs=METADATA.inputs, outputs=METADATA.outputs)
    again = write_metadata(described, other, {"labels.txt": b"a\nb\nc\n"})

    assert read_metadata(again) == other
    assert read_files(again) == {"labels.txt": b"a\nb\nc\n"}
    assert list(read_tflite(again).metadata) == ["min_runtime_version", "TFLITE_METADATA"]


@pytest.mark.parametrize("content", ["features", "rgb", "grayscale", "image"])
def test_every_kind_of_content_is_kept(content, tiny_tflite):
    tensor = TensorMetadata(name="t", content=content)
    metadata = ModelMetadata(name="m", inputs=(tensor,), outputs=())

    assert read_metadata(write_metadata(tiny_tflite, metadata, {})) == metadata


def test_it_is_a_flatbuffer_of_the_schema(described, tiny_tflite):
    start = described.index(metadata_layout.IDENTIFIER) - 4
    root = flatbuffers.Table(described, start + int.from_bytes(described[start : start + 4], "little"))
    minimum = root.String(root.Pos + root.Offset(4 + 2 * 7))

    assert start % 16 == 0
    assert minimum == b"1.0.0"
    assert root.String(root.Pos + root.Offset(4)) == b"tiny"


def test_the_slots_are_those_of_the_schema():
    slots = {table: {f.name: f.slot for f in fields} for table, fields in metadata_layout.TABLES.items()}

    assert slots["ModelMetadata"]["MinParserVersion"] == 7
    assert slots["SubGraphMetadata"]["OutputProcessUnits"] == 6
    assert slots["TensorMetadata"]["AssociatedFiles"] == 6
    assert slots["Content"] == {"ContentPropertiesType": 0, "ContentProperties": 1, "Range": 2}
    assert slots["ProcessUnit"] == {"OptionsType": 0, "Options": 1}
    assert slots["Stats"] == {"Max": 0, "Min": 1}


def test_files_and_names_have_to_agree(tiny_tflite):
    with pytest.raises(ValueError, match=r"names the files \['labels.txt'\]; given are \[\]"):
        write_metadata(tiny_tflite, METADATA, {})
    with pytest.raises(ValueError, match="given are"):
        write_metadata(tiny_tflite, METADATA, {**LABELS, "more.txt": b""})


def test_damaged_metadata_is_refused_by_name(described):
    start = described.index(metadata_layout.IDENTIFIER)
    damaged = described[: start - 4] + b"\xff\xff\xff\x7f" + described[start:]

    with pytest.raises(InputError, match="TFLITE_METADATA"):
        read_metadata(damaged)
    with pytest.raises(InputError, match="TFLITE_METADATA"):
        read_tflite(damaged)


def test_bytes_behind_a_described_model_are_refused(described):
    for more in (b"\0", b"x" * 100, bytes(2**20)):
        with pytest.raises(InputError):
            read_tflite(described + more)


def test_every_cut_of_a_described_model_is_refused_but_the_one_that_leaves_the_model_whole(described):
    archive = described.index(b"PK\3\4")
    for length in range(len(described) - 400, len(described)):
        if length != archive:
            with pytest.raises(InputError):
                read_tflite(described[:length])
    assert read_tflite(described[:archive]).operators == read_tflite(described).operators


def test_mutants_are_read_or_refused_and_nothing_else(described):
    chance = random.Random(0)
    for _ in range(300):
        mutant = bytearray(described)
        for _ in range(chance.choice((1, 1, 4, 16))):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        for read in (read_tflite, read_metadata, read_files):
            try:
                read(bytes(mutant))
            except InputError:
                continue
