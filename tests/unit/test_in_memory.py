"""Models and arrays of a program become files that commands read."""

from __future__ import annotations

import time
import zipfile

import numpy as np
import pytest

from pipeline.errors import ConfigError, InputError
from pipeline.in_memory import is_keras_model, write_arrays, write_model

X, Y = np.zeros((6, 2), np.float32), np.arange(6)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"x_train": X, "meta": Y}, ["meta", "x_train"]),
        ((X, Y), ["x", "y"]),
        ((X.tolist(), Y.tolist()), ["x", "y"]),
        (((X, Y), (X[:2], Y[:2])), ["x_test", "x_train", "y_test", "y_train"]),
        (X, ["x"]),
    ],
)
def test_arrays_are_stored_by_the_names_that_data_have(data, names, tmp_path):
    path = write_arrays(data, tmp_path / "inputs")
    with np.load(path) as stored:
        assert sorted(stored) == names


def test_the_same_arrays_have_the_same_bytes(tmp_path):
    first, second = (write_arrays((X, Y), tmp_path / name).read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize("data", [3, [X, Y], {1: X}, {"file": X}, {}.items()])
def test_other_data_are_refused_with_the_forms_there_are(data, tmp_path):
    with pytest.raises(ConfigError, match=r"^data: "):
        write_arrays(data, tmp_path)


def test_python_objects_are_refused(tmp_path):
    with pytest.raises(InputError, match="y holds Python objects"):
        write_arrays((X, np.array([None, "a", 3], object)), tmp_path)


def test_the_same_model_has_the_same_bytes_whenever_it_is_saved(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="tiny")
    assert is_keras_model(model)
    assert not is_keras_model("tiny.keras")
    first = write_model(model, tmp_path / "a")
    time.sleep(2.1)  # an archive has times in steps of two seconds
    second = write_model(model, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert list(first.parent.iterdir()) == [first]
    restored = keras.saving.load_model(second)
    assert np.array_equal(
        restored.predict(np.ones((1, 4)), verbose=0), model.predict(np.ones((1, 4)), verbose=0)
    )


def test_an_archive_of_a_model_has_no_time_in_it(tmp_path):
    from pipeline.in_memory import _without_time

    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}')
        archive.writestr("config.json", "{}")
    _without_time(tmp_path / "old.zip", tmp_path / "new.zip")
    with zipfile.ZipFile(tmp_path / "new.zip") as archive:
        assert archive.read("metadata.json") == b'{"keras_version": "3.15.1", "date_saved": ""}'
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
