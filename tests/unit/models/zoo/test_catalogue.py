"""Every model of the zoo: its settings, its file, and the metric that the catalogue states."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import models.zoo
from models.load import load_model
from models.zoo import autoencoder, fashion_mnist, series
from models.zoo.catalogue import ZOO
from pipeline.settings import make_config, zoo_settings

FOLDER = Path(models.zoo.__file__).parent
ROOT = FOLDER.parents[1]
IMAGES = 1500
TOLERANCE = 0.02  # three standard errors of 90 % on that many images
COMPACT = {"ItalyPowerDemand": series.ITALY_POWER_DEMAND, "JapaneseVowels": series.JAPANESE_VOWELS}


def settings(name):
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def samples_of(entry):
    """The model's input and the labels of the part of the test set that is quick."""
    if entry.data == "Fashion-MNIST":
        with np.load(fashion_mnist.COMPACT) as arrays:
            return fashion_mnist.scale(arrays["x_test"][:IMAGES]), arrays["y_test"][:IMAGES]
    with np.load(COMPACT[entry.data]) as arrays:
        return arrays["x_test"], arrays["y_test"]


@pytest.fixture(scope="module")
def legacy_keras():
    from pipeline.training.tfmot import tensorflow

    tensorflow()


def test_the_catalogue_names_every_model_of_the_folder():
    assert set(ZOO) == {path.stem for path in FOLDER.glob("*.keras")}
    assert set(ZOO) == {path.stem for path in FOLDER.glob("*.toml")}


def test_the_catalogue_is_read_without_tensorflow():
    program = "import sys, json, models.zoo.catalogue; print(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "tf_keras", "numpy"} & set(json.loads(run.stdout))


@pytest.mark.parametrize("name", ZOO)
def test_the_settings_name_files_beside_them(name):
    found = settings(name)
    source = found["data"]["source"]

    assert found["model"]["path"] == f"{name}.keras"
    assert (FOLDER / source).is_file() or source == "models.zoo.autoencoder:data"
    assert found["project"].keys() == {"name", "version"}


@pytest.mark.parametrize("name", ZOO)
def test_a_build_understands_the_settings(name):
    config = make_config(zoo_settings(name), name)

    assert config.model.path == FOLDER / f"{name}.keras"
    assert config.project.name == settings(name)["project"]["name"]


def test_the_project_names_differ():
    assert len({settings(name)["project"]["name"] for name in ZOO}) == len(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_the_file_holds_what_the_program_builds(legacy_keras, name):
    built = importlib.import_module(f"models.zoo.{name}").build()
    loaded = load_model(FOLDER / f"{name}.keras")

    assert built.name == name
    assert built.count_params() == loaded.count_params()
    assert loaded.input_shape == (None, *ZOO[name].input_shape) == built.input_shape


@pytest.mark.parametrize("name", ZOO)
def test_the_model_reaches_its_stated_metric(legacy_keras, name):
    entry = ZOO[name]
    model = load_model(FOLDER / f"{name}.keras")
    inputs, labels = samples_of(entry)

    if entry.task == "anomaly":
        assert model.output_shape == model.input_shape
        errors = autoencoder.rebuilding_error(model, inputs)
        found = autoencoder.area_under_curve(errors, autoencoder.anomalies(labels))
    else:
        assert model.output_shape == (None, len(settings(name)["data"]["labels"]))
        found = float((model.predict(inputs, batch_size=500, verbose=0).argmax(axis=-1) == labels).mean())
    assert found == pytest.approx(entry.score, abs=TOLERANCE)


def test_no_file_of_the_zoo_is_large():
    assert {path.name for path in FOLDER.iterdir() if path.is_file() and path.stat().st_size > 2 << 20} == {
        "fashion_mnist.npz"
    }


@pytest.mark.parametrize("name", ZOO)
def test_the_reference_states_what_the_catalogue_does(name):
    entry = ZOO[name]
    shape = "x".join(map(str, entry.input_shape))
    cells = (f"`{name}`", entry.description, entry.task, shape, entry.data)
    row = f"| {' | '.join(cells)} | {entry.metric} {entry.score:.2%} |".replace("%", " %")
    assert row in (ROOT / "docs" / "reference" / "zoo.md").read_text(encoding="utf-8")
