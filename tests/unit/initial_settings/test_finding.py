"""The only model and the only data set of a folder are found; else the message says what is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.initial_settings.finding import find_data, find_model

MODEL = Path("model.keras")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a model, its weights, and what is no data."""
    monkeypatch.chdir(tmp_path)
    for name in ("model.keras", "model.weights.h5", "README.md", "train.py", ".hidden.npz"):
        (tmp_path / name).touch()
    (tmp_path / "build").mkdir()
    np.save(tmp_path / "build" / "golden.npy", np.zeros(3))
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "run.json").touch()
    np.save(tmp_path / "older" / "golden.npy", np.zeros(3))
    return tmp_path


def test_the_only_model_is_found():
    assert find_model(Path()) == MODEL


def test_several_models_are_listed(folder):
    (folder / "b.h5").touch()

    with pytest.raises(
        InputError, match=r"2 candidates .* in this folder: b.h5, model.keras; name one: pipeline"
    ):
        find_model(Path())


def test_no_model_says_how_to_name_one(folder):
    (folder / "model.keras").unlink()

    with pytest.raises(
        InputError, match=r"no Keras model .* in this folder; name it: pipeline init MODEL DATA"
    ):
        find_model(Path())


@pytest.mark.parametrize("name", ["data.npz", "table.csv", "photos/train/cat/1.png", "raw/series.csv"])
def test_the_only_data_set_is_found_but_no_output_of_a_build(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("a,b\n1,2\n")

    assert find_data(Path(), MODEL) == Path(Path(name).parts[0])


def test_no_data_says_how_to_name_it():
    with pytest.raises(
        InputError, match=r"no data set in this folder; name it: pipeline init model.keras DATA"
    ):
        find_data(Path(), MODEL)


def test_several_data_sets_are_listed(folder):
    for name in ("train.csv", "test.csv"):
        (folder / name).write_text("a,b\n1,2\n")

    with pytest.raises(
        InputError, match=r"2 candidates .*: test.csv, train.csv; name one: .* the folder with both"
    ):
        find_data(Path(), MODEL)
