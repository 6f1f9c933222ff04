"""Validation of a file: which preprocessing its samples get, labels in another order, answers at chance."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.release.released import open_release
from pipeline.run import Run
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.settings import make_config
from pipeline.standalone_validation import read_given
from pipeline.store import Store
from pipeline.validation.model_under_test import ModelUnderTest

SETTINGS = """\
[validate]
threads = [1]
latency_inferences = 64
operators = false
[validate.shift]
samples = 0
[validate.stability]
faults = false
"""
COUNT, TEST = 600, 200


def tell_apart(model):
    """Give the tiny model three different classes: a bright first row, middle or last row."""
    kernel = np.zeros((3, 64), np.int8)
    kernel[0, :16], kernel[1, 16:48], kernel[2, 48:] = 20, 7, 20
    model.buffers[4].data = kernel.view(np.uint8).ravel()


def take_raw_pixels(model):
    """Let the model of ``tell_apart`` take 0..255 in place of 0..1: the same network with 1/255 inside."""
    tell_apart(model)
    image, kernel, *_ = (tensor.quantization for tensor in model.subgraphs[0].tensors)
    image.scale, kernel.scale = image.scale * 255, kernel.scale / 255


@pytest.fixture
def answered(tiny_tflite_with, tmp_path):
    """The tiny model with three different classes, images, as many of each class, these, and settings."""

    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite_with(tell_apart))
    (tmp_path / "pipeline.toml").write_text(SETTINGS)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 200, (8000, 4, 1, 1))
    images = (rows + rng.integers(0, 56, (8000, 4, 4, 1))).astype(np.uint8)
    with Session(host_runtime("litert"), tmp_path / "tiny.tflite") as session:
        [answers] = session.run([(images.astype(np.int16) - 128).astype(np.int8)], batches=True)
    classes = answers.argmax(axis=1)
    chosen = np.concatenate([np.flatnonzero(classes == label)[: COUNT // 3] for label in range(3)])
    assert len(chosen) == COUNT
    chosen = rng.permutation(chosen)
    return tmp_path, images[chosen], classes[chosen]


@pytest.fixture
def validate(answered, pipeline):
    """Validate the tiny model on its images with these labels."""
    folder, images, _ = answered

    def run(labels, *flags):
        np.savez(
            folder / "data.npz",
            x_train=images[TEST:], y_train=labels[TEST:], x_test=images[:TEST], y_test=labels[:TEST],
        )  # fmt: skip
        return pipeline(
            "validate", folder / "tiny.tflite", "--target", "host", "--config", folder / "pipeline.toml",
            "--data", folder / "data.npz", "--json", *flags,
        )  # fmt: skip

    return run


def test_labels_in_another_order_are_refused_with_the_right_one(answered, validate):
    _, _, classes = answered
    ended = validate(np.array([1, 2, 0])[classes])

    assert ended.code == 3
    assert "the labels are in another order than the model's classes" in ended.said[-1]
    assert "renumber the labels: " in ended.said[-1]


def test_preprocessing_that_does_not_suit_the_model_is_refused_unless_that_is_allowed(answered, validate):
    _, _, classes = answered
    declared = ("--scale", "1e-5", "--gate", "float baseline")
    ended = validate(classes, *declared)

    assert ended.code == 3
    assert "the preprocessing does not suit the model: inputs run from 2e-05 to 0.00254" in ended.said[-1]
    assert "set [preprocessing] scale = 0.00392" in ended.said[-1]
    assert "--allow-chance" in ended.said[-1]
    assert json.loads(validate(classes, *declared, "--allow-chance").out)["verdicts"]


@pytest.mark.parametrize(
    ("flags", "code", "outcome"), [((), 1, "failed"), (("--allow-chance",), 0, "warning")]
)
def test_a_file_at_chance_fails_unless_that_is_allowed(answered, validate, flags, code, outcome):
    _, _, classes = answered
    ended = validate(np.random.default_rng(3).permutation(classes), "--gate", "float baseline", *flags)

    assert ended.code == code, ended.err
    [verdict] = json.loads(ended.out)["verdicts"]
    assert (verdict["gate"], verdict["outcome"]) == ("float baseline", outcome)
    assert verdict["got"].startswith("no better than chance: accuracy ")


@pytest.fixture
def read(tmp_path, tiny_tflite, write_release):
    """How samples are read for the file of a release, under these settings; and the release."""
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(60) % 3)
    release = write_release(tmp_path / "releases", model_bytes=tiny_tflite)

    def run(**preprocessing):
        raw = {"model": {"path": ""}, "data": {"source": str(tmp_path / "data.npz")}}
        raw |= {"gates": {"allow_chance": True}}
        config = make_config(raw | ({"preprocessing": preprocessing} if preprocessing else {}), "x")
        under_test = ModelUnderTest.open(open_release(release).model)
        (folder := tmp_path / "read").mkdir()
        return read_given(under_test, under_test, config, Run(folder, Store(folder / "store"))), open_release(
            release
        )

    return run


def test_a_releases_own_preprocessing_is_used(read):
    given, release = read()

    assert given.transforms == release.transforms
    assert not [note for note in given.notes if "preprocessing" in note]


def test_preprocessing_that_the_settings_declare_beside_a_release_is_not_used_and_a_note_says_so(read):
    given, release = read(scale=0.125)

    assert given.transforms == release.transforms
    assert [note for note in given.notes if note.startswith("the release's own preprocessing is used; ")]


def test_a_reference_that_scales_its_input_itself_gets_raw_samples(answered, validate, tiny_tflite_with):
    folder, _, classes = answered
    (folder / "old.tflite").write_bytes(tiny_tflite_with(take_raw_pixels))
    old = ("--against", folder / "old.tflite", "--set", "validate.latency_pairs=10")
    found = json.loads(validate(classes, "--scale", str(1 / 255), "--gate", "regression", *old).out)
    [accuracy], note = found["against"]["accuracy"], found["against"]["note"]
    [verdict] = [each for each in found["verdicts"] if each["subject"] != "host latency"]
    metric = accuracy["metrics"][0]

    assert (metric["baseline"], metric["quantized"]) == (100.0, 100.0)
    assert verdict["got"].startswith("top-1 +0.00 points")
    assert note.startswith("inputs by the preprocessing that suits it best, raw x 1 +0")
