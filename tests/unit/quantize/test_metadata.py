"""The stage that says in the .tflite file what its numbers mean."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tflite_metadata import read_files, read_metadata

from deploy.bundle import labels_text
from models.ports import Port
from pipeline.artifacts import Dataset, QuantizedModel, Transform
from pipeline.flatbuffer import read_tflite
from pipeline.quantize.metadata import ModelInfo, add_metadata

ABOUT = ModelInfo(name="tiny", description="", authors=(), license="")


@pytest.fixture
def run(tiny_tflite, prepared_model, tmp_path):
    """Describe the tiny model and return the artifact."""
    (given := tmp_path / "given").mkdir()
    quantized = QuantizedModel(
        folder=given, size_bytes=0, sha256="", sparsity=0.5, format="int8", reason="", layers=()
    )
    quantized.tflite.write_bytes(tiny_tflite)

    def run(name="out", classes=("a", "b", "c"), info=ABOUT, **changes):
        (out := tmp_path / name).mkdir()
        facts = {"inputs": (Port("image", (4, 4, 1)),), **changes}
        data = Dataset(
            tasks=("classification",), classes=classes, shapes=((4, 4, 1),), train_samples=1, test_samples=1
        )
        return add_metadata(
            quantized,
            prepared_model(given, **facts),
            data,
            info=info,
            out=out,
        )

    return run


def test_the_artifact_is_that_of_the_new_file(run, tiny_tflite):
    found = run()
    content = found.tflite.read_bytes()

    assert found.size_bytes == len(content) > len(tiny_tflite)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert read_tflite(content).operators == read_tflite(tiny_tflite).operators
    assert (found.format, found.sparsity) == ("int8", 0.5)


def test_the_file_says_what_the_build_knows(run):
    info = replace(ABOUT, description="left or right", license="MIT", authors=("A", "B"))
    found = run(info=info, preprocessing=(Transform(scale=(1 / 127.5,), offset=(-1.0,)),))
    metadata = read_metadata(found.tflite)
    (image,), (classes,) = metadata.inputs, metadata.outputs

    assert (metadata.name, metadata.version) == ("tiny", "")
    assert (metadata.description, metadata.author, metadata.license) == ("left or right", "A, B", "MIT")
    assert (image.name, image.content, image.size) == ("image", "grayscale", (4, 4))
    assert (image.mean, image.std) == ((127.5,), (127.5,))
    assert (classes.name, classes.description) == ("output", "classification, probabilities")
    assert (classes.low, classes.high, classes.labels) == ((0.0,), (255 / 256,), "labels.txt")
    assert read_files(found.tflite) == {"labels.txt": b"a\nb\nc\n"}


@pytest.mark.parametrize(
    ("scale", "offset"),
    [((1 / 255,), (0.0,)), ((0.5, 2.0, -3.0), (1.0,)), ((2.0,), (0.1, 0.2, 0.3)), ((1.0,), (0.0,))],
)
def test_normalization_by_mean_and_deviation_is_the_transform(scale, offset, run):
    transform = Transform(scale=scale, offset=offset)
    image = read_metadata(run(preprocessing=(transform,)).tflite).inputs[0]
    raw = np.random.default_rng(0).uniform(0, 255, (100, 3)).astype(np.float32)

    normalized = (raw - np.float32(image.mean)) / np.float32(image.std)
    assert np.allclose(normalized, transform.apply(raw), rtol=1e-5, atol=1e-5)
    assert len(image.mean) == len(image.std)


@pytest.mark.parametrize(
    "transform", [Transform(indices=True), Transform(scale=(0.0,)), Transform(scale=(1e-45,))]
)
def test_what_cannot_be_said_by_mean_and_deviation_is_left_out(transform, run):
    assert read_metadata(run(preprocessing=(transform,)).tflite).inputs[0].mean == ()


def test_labels_that_are_not_one_for_each_entry_are_left_out(run):
    found = run(classes=("no", "yes"))

    assert read_metadata(found.tflite).outputs[0].labels == ""
    assert read_files(found.tflite) == {}


def test_names_with_anything_in_them_stay_one_line_each(run):
    hostile = ("a\nb", "\x1b[31mred\x00", "ü, \u202e{{x}}")
    found = run(classes=hostile, info=replace(ABOUT, description="x\x00\ny", authors=("\x1b[0m",)))

    lines = read_files(found.tflite)["labels.txt"].decode().splitlines()
    assert lines == [r"a\nb", r"\x1b[31mred\x00", "ü, \\u202e{{x}}"]
    assert read_metadata(found.tflite).description == r"x\x00\ny"
    assert labels_text(("\udcff",)) == "\\udcff\n"


def test_equal_builds_give_equal_bytes(run):
    assert run("one").tflite.read_bytes() == run("two").tflite.read_bytes()


def test_the_command_inspects_and_an_archiver_lists_it(run, pipeline):
    path = run().tflite

    assert pipeline("inspect", path).code == 0
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", path], capture_output=True, text=True, check=True
    )
    assert "labels.txt" in listed.stdout


def test_float_outputs_have_no_range(run, tiny_tflite_with, prepared_model, tmp_path):
    from ai_edge_litert import schema_py_generated as schema

    from pipeline.quantize.metadata import model_metadata

    def widen(model):
        for tensor in (8, 9):
            model.subgraphs[0].tensors[tensor].type = schema.TensorType.FLOAT32
            model.subgraphs[0].tensors[tensor].quantization = None

    prepared = replace(prepared_model(tmp_path), inputs=(Port("image", (4, 4, 1)),), from_logits=(True,))
    model = read_tflite(tiny_tflite_with(widen))
    found = model_metadata(model, prepared, ("a", "b", "c"), ABOUT)

    assert found.outputs[0].low == ()
    assert found.outputs[0].description == "classification, logits"
