"""The first stages: what they hand on of a model and its data."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from models.errors import DataError
from models.ports import Port
from pipeline.artifacts import FloatModel, Source
from pipeline.config import CalibrationConfig, DataConfig, ModelConfig
from pipeline.errors import InputError, StageError
from pipeline.loading import load as intake
from pipeline.loading.calibration_set import choose_calibration
from pipeline.loading.load import load_data, load_model, model_digest

MODEL = FloatModel(
    inputs=(Port("image", (4, 5, 1)),),
    outputs=(Port("class", (3,), activation="softmax"),),
    from_logits=(False,),
)
X = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 1)).astype(np.uint8)
Y = np.arange(30) % 3


def run_stage(model, config, out):
    """Load what the settings name, for this model."""
    out.mkdir(exist_ok=True)
    source = Source(location=config.source, digest="x")
    return load_data(source, inputs=model.inputs, outputs=model.outputs, config=config, seed=0, out=out)


@pytest.fixture
def load(tmp_path):
    """Run the stage on these arrays."""

    def run(model=MODEL, labels=(), **arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        config = DataConfig(source=str(tmp_path / "data.npz"), labels=labels, test_fraction=0.3)
        return run_stage(model, config, tmp_path / "out")

    return run


def test_samples_are_stored_once_and_split_by_rows(load):
    data = load(x=X, y=Y)

    assert (data.train_samples, data.test_samples, data.tasks) == (21, 9, ("classification",))
    np.testing.assert_array_equal(np.load(data.input(0)), X)
    rows = np.concatenate([np.load(data.rows("train")), np.load(data.rows("test"))])
    assert sorted(rows) == list(range(30))


def test_classes_without_a_name_are_numbered(load):
    assert load(x=X, y=Y).classes == ("0", "1", "2")
    assert load(labels=("x", "y", "z"), x=X, y=Y).classes == ("x", "y", "z")


def test_a_single_output_has_two_classes(load):
    binary = FloatModel(
        inputs=MODEL.inputs, outputs=(Port("class", (1,), activation="sigmoid"),), from_logits=(False,)
    )

    data = load(model=binary, x=X, y=Y % 2)

    assert (data.tasks, data.classes) == (("binary",), ("0", "1"))


def test_data_that_does_not_fit_is_refused_in_one_line_that_names_the_source(load):
    with pytest.raises(DataError, match=r"data\.npz") as caught:
        load(x=X[:, :3], y=Y)
    assert "\n" not in str(caught.value)


PROGRAM = """
import os, signal, sys, time
import numpy as np
X = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 1)).astype(np.uint8)
Y = np.arange(30) % 3
class Array:
    def __len__(self): return 30
    def __array__(self, *_, **__): {leave}
def rows():
    yield X[0], 0
    {leave}
def endless():
    while True: yield X, Y
"""
PLACES = {
    "at import": "{leave}",
    "in the function": "def load(): {leave}",
    "in a generator": "def load(): return rows()",
    "in __array__": "def load(): return Array(), Y",
}
WAYS = {
    "sys.exit(0)": (InputError, "called sys.exit(0); return the data instead"),
    "sys.exit('done')": (InputError, "called sys.exit('done'); return the data instead"),
    "os._exit(0)": (InputError, "ended the process with exit code 0"),
    "os.kill(os.getpid(), signal.SIGSEGV)": (StageError, "was killed by SIGSEGV"),
    "raise KeyboardInterrupt": (InputError, "raised KeyboardInterrupt"),
    "raise BaseException('odd')": (InputError, "raised BaseException: odd"),
    "os.close(1); sys.stdout.close(); raise ValueError('x')": (InputError, "raised ValueError: x"),
}


@pytest.fixture
def load_program(tmp_path, monkeypatch):
    """Run the stage on a function of the user."""
    monkeypatch.chdir(tmp_path)

    def run(text, **settings):
        (tmp_path / "source.py").write_text(text)
        return run_stage(MODEL, DataConfig(source="source.py:load", **settings), tmp_path / "out")

    return run


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("leave", WAYS)
def test_every_way_out_of_a_users_function_is_one_clear_error(place, leave, load_program, capfd):
    error, message = WAYS[leave]
    text = PROGRAM.replace("{leave}", leave) + PLACES[place].replace("{leave}", leave)

    with pytest.raises(error) as caught:
        load_program(text)

    assert message in str(caught.value)
    assert "source.py:load" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_a_function_does_to_its_own_process_stays_there(load_program, capfd):
    text = (
        PROGRAM.replace("{leave}", "pass")
        + """
def load():
    print("progress")
    os.write(1, b"more")
    os.chdir("/")
    os.environ["MARK"] = "x"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path.clear()
    import threading
    threading.Thread(target=time.sleep, args=(60,)).start()
    sys.stdout.close()
    return X, Y
"""
    )
    before = Path.cwd(), signal.getsignal(signal.SIGINT), list(sys.path)
    assert load_program(text).train_samples == 24
    assert (Path.cwd(), signal.getsignal(signal.SIGINT), list(sys.path)) == before
    assert "MARK" not in os.environ
    assert capfd.readouterr() == ("", "")


def test_an_endless_generator_is_bounded_by_its_samples(load_program):
    text = PROGRAM.replace("{leave}", "pass") + "def load(): return endless()"
    with pytest.raises(InputError, match=r"more than 1,000 samples; let it end .* \[data\] max_samples"):
        load_program(text, max_samples=1000)


def test_a_function_that_never_returns_is_bounded_by_time(load_program):
    text = PROGRAM.replace("{leave}", "pass") + "def load(): time.sleep(600)"
    with pytest.raises(InputError, match=r"source.py:load: no result after 2 s; .* \[data\] timeout_s"):
        load_program(text, timeout_s=2)


def test_a_function_that_allocates_without_end_is_bounded_by_its_own_setting(load_program):
    text = PROGRAM.replace("{leave}", "pass") + "def load():\n while True: HOARD.append(bytearray(1 << 20))"
    with pytest.raises(
        InputError, match=r"source.py:load used more than 900 MB of memory; return a generator "
    ):
        load_program(f"HOARD = []\n{text}", max_memory_mb=900)


def test_a_trusted_model_may_read_its_own_files_and_its_custom_objects_modules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("one.py", "mine/__init__.py", "mine/layers.py"):
        (tmp_path / name).write_text("objects = {}")
    path, weights = tmp_path / "in" / "m.json", tmp_path / "in" / "m.weights.h5"

    def needed(objects):
        config = ModelConfig(path=path, weights=weights, trust=True, custom_objects=objects)
        return [str(found.relative_to(tmp_path)) for found in intake._needed(path, config)]

    assert needed(None) == ["in/m.json", "in/m.weights.h5"]
    assert needed("one:objects")[2:] == needed("one.py:objects")[2:] == ["."]
    assert needed("mine.layers:objects")[2:] == ["."]
    assert needed("mine/layers.py:objects")[2:] == ["mine"]


def test_a_function_that_needs_longer_may_have_it(load_program):
    text = PROGRAM.replace("{leave}", "pass") + "def load():\n    time.sleep(1)\n    return X, Y"
    assert load_program(text).train_samples == 24


def test_the_calibration_set_comes_with_its_manifest(load, tmp_path):
    data = load(x=X, y=Y)
    (out := tmp_path / "chosen").mkdir()
    chosen = choose_calibration(data, config=CalibrationConfig(samples=6), seed=4, out=out)

    manifest = json.loads(chosen.manifest.read_text())
    assert chosen.samples == len(np.load(chosen.indices)) == manifest["samples"] == 6
    assert manifest["sampling"] == chosen.sampling == "stratified"
    assert manifest["strata"]["class"]["1"] == {"samples": 2, "training_samples": 7}
    assert manifest["seed"] == 4


@pytest.mark.parametrize(
    ("activation", "units", "logits"),
    [("softmax", 3, False), ("sigmoid", 3, False), ("sigmoid", 1, False), (None, 3, True), ("relu", 3, True)],
)
def test_logits_are_told_from_probabilities(activation, units, logits, tmp_path):
    from pipeline.training.tfmot import tensorflow

    tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)])
    model.save(tmp_path / "model.keras")

    found = load_model(
        Source(location=str(tmp_path / "model.keras"), digest="x"),
        config=ModelConfig(path=tmp_path / "model.keras"),
        out=tmp_path / "out",
    )

    assert found.from_logits == (logits,)
    assert [port.shape for port in (*found.inputs, *found.outputs)] == [(4,), (units,)]


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.keras: no such file"):
        model_digest(ModelConfig(path=tmp_path / "absent.keras"))


def test_another_version_of_the_weights_or_of_custom_code_is_another_model(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "model.weights.h5").write_text("1")
    (tmp_path / "mine.py").write_text("objects = {}")
    config = ModelConfig(
        path=tmp_path / "model.json",
        weights=tmp_path / "model.weights.h5",
        custom_objects=f"{tmp_path / 'mine.py'}:objects",
    )
    digests = {model_digest(config)}
    for name in ("model.json", "model.weights.h5", "mine.py"):
        (tmp_path / name).write_text("changed")
        digests.add(model_digest(config))

    assert len(digests) == 4
