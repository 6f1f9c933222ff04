"""The first stages: what they refuse of a model and its data, and what they hand on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.artifacts import Baseline, Dataset, FloatModel, Source
from pipeline.config import CalibrationConfig, DataConfig
from pipeline.errors import InputError
from pipeline.intake import choose_calibration, choose_preprocessing, load_data

MODEL = FloatModel(
    input_shape=(4, 5, 1),
    output_shape=(3,),
    task="classification",
    from_logits=False,
    parameters=1,
    rewrites=(),
)
X = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 1)).astype(np.uint8)
Y = np.arange(30) % 3


@pytest.fixture
def load(tmp_path):
    """Run the stage on these arrays."""

    def run(model=MODEL, labels=(), **arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        (out := tmp_path / "out").mkdir(exist_ok=True)
        config = DataConfig(source=str(tmp_path / "data.npz"), labels=labels, test_fraction=0.3)
        return load_data(Source(location=config.source, digest="x"), model, config=config, seed=0, out=out)

    return run


def test_samples_keep_their_dtype_and_labels_become_ids(load):
    data = load(x=X, y=Y.astype(np.float32))

    assert (data.train_samples, data.test_samples) == (21, 9)
    assert data.classes == ("0", "1", "2")
    assert np.load(data.train_inputs).dtype == np.uint8
    assert np.load(data.train_labels).dtype == np.int64


def test_declared_names_come_before_those_in_the_file(load):
    assert load(x=X, y=Y, class_names=["a", "b", "c"]).classes == ("a", "b", "c")
    assert load(labels=("x", "y", "z"), x=X, y=Y, class_names=["a", "b", "c"]).classes == ("x", "y", "z")


def test_a_name_for_each_class_is_needed(load):
    with pytest.raises(InputError, match="2 label names for a model with 3 classes: give one name a class"):
        load(labels=("x", "y"), x=X, y=Y)


def test_a_single_output_has_two_classes(load):
    binary = FloatModel(**{**vars(MODEL), "output_shape": (1,), "task": "binary"})

    assert load(model=binary, x=X, y=Y % 2).classes == ("0", "1")


def test_a_declared_scale_is_taken_without_asking_the_model(tmp_path):
    config = DataConfig(source="x", scale=0.5, offset=-1.0)
    found = choose_preprocessing(
        Baseline(size_bytes=1),
        Dataset(classes=(), train_samples=1, test_samples=1),
        config=config,
        out=tmp_path,
    )

    assert (found.scale, found.offset, found.reason) == (0.5, -1.0, "declared")


def test_the_calibration_set_comes_with_its_manifest(load, tmp_path):
    data = load(x=X, y=Y)
    (out := tmp_path / "chosen").mkdir()
    chosen = choose_calibration(data, config=CalibrationConfig(samples=6), seed=4, out=out)

    manifest = json.loads(chosen.manifest.read_text())
    assert chosen.samples == len(np.load(chosen.indices)) == manifest["samples"] == 6
    assert manifest["per_class"] == {"0": 2, "1": 2, "2": 2}
    assert manifest["seed"] == 4
