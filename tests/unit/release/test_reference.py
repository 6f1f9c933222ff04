"""How a reference model gets its inputs: by its own preprocessing, whatever the candidate's is."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Source, Transform
from pipeline.content import file_sha256
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.metadata import ModelMetadata, TensorMetadata, write_metadata
from pipeline.quantize.metadata import ModelInfo, model_metadata
from pipeline.release.reference import reference_of
from pipeline.release.released import open_release

TO_ONE = Transform(scale=(1 / 255,), reason="declared")
AROUND_ZERO = Transform(scale=(1 / 127.5,), offset=(-1.0,), reason="declared")
AS_IT_IS = Transform(reason="as it is")
INFO = ModelInfo(name="tiny", description="", authors=(), license="")


@pytest.fixture
def built(tiny_tflite, prepared_model, tmp_path):
    """The tiny model with the metadata that a build with this preprocessing writes."""

    def build(transform):
        prepared = prepared_model(tmp_path, inputs=(Port("image", (4, 4, 1)),), preprocessing=(transform,))
        metadata = model_metadata(read_tflite(tiny_tflite), prepared, (), INFO)
        return write_metadata(tiny_tflite, metadata, {})

    return build


@pytest.fixture
def of(tmp_path, tiny_tflite, store_dataset):
    """The reference of a file, or of its bytes, for a candidate with this preprocessing."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 4, 4, 1)).astype(np.uint8)
    data = store_dataset(tmp_path / "data", images, np.arange(90) % 3)

    def find(file, candidate, data=data):
        if isinstance(file, bytes):
            (path := tmp_path / "old.tflite").write_bytes(file)
            file = path
        source = Source(location=str(file), digest=file_sha256(file))
        return reference_of(source, (candidate,), data)

    return find


@pytest.mark.parametrize(
    "own",
    [
        AS_IT_IS,
        AROUND_ZERO,
        Transform(scale=(1 / 255,), reverse_channels=True),
        Transform(indices=True, reason="the model takes integers"),
    ],
)
def test_metadata_of_a_build_says_what_the_reference_takes(own, of, built):
    found = of(built(own), TO_ONE)
    [transform] = found.preprocessing
    raw = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)

    assert found.note.startswith("inputs by its own preprocessing: ")
    np.testing.assert_allclose(transform.apply(raw), own.apply(raw), rtol=1e-6)


def test_the_manifest_of_a_release_says_what_the_reference_takes(of, tiny_tflite, tmp_path, write_release):
    release = open_release(write_release(tmp_path / "releases", model_bytes=tiny_tflite))
    found = of(release.model, TO_ONE)

    assert found.preprocessing == release.transforms
    assert "raw x 0.5 -1 (as the release's manifest.json says)" in found.note


@pytest.mark.parametrize("same", [TO_ONE, AROUND_ZERO, AS_IT_IS])
def test_the_rounding_of_metadata_makes_no_other_preprocessing(same, of, built):
    found = of(built(same), same)

    assert (found.preprocessing, found.note) == ((same,), "")


def test_metadata_of_another_program_is_only_tried(of, tiny_tflite):
    wrong = TensorMetadata(name="image", mean=(0.0,), std=(1e9,))
    metadata = ModelMetadata(name="x", inputs=(wrong,), outputs=(TensorMetadata(name="y"),))
    found = of(write_metadata(tiny_tflite, metadata, {}), TO_ONE)

    assert found.preprocessing is None  # the labels are random
    assert found.note.startswith("accuracy is not compared: the file does not state its preprocessing")


def test_without_samples_nothing_is_looked_for(of, tiny_tflite):
    assert of(tiny_tflite, TO_ONE, data=None).note == ""
