"""Test samples that chose the teacher make all later choices, and only the others are tested on."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.sources import load_data
from models.ports import Port
from pipeline.compiling import Inputs, compile_model
from pipeline.run import Run
from pipeline.settings import make_config
from pipeline.store import Store
from pipeline.targets import get_target
from pipeline.training.keras_io import start_tensorflow

pytestmark = pytest.mark.xdist_group("set aside")
TRAINED, TESTED, NUMBERS = 500, 600, 60


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A model that has the answers for the held-out samples by heart, and little else."""
    start_tensorflow(0)
    import tf_keras

    folder = tmp_path_factory.mktemp("remembering")
    inputs = np.random.default_rng(0).normal(size=(TRAINED + TESTED, NUMBERS)).astype(np.float32)
    target = (inputs.sum(axis=1) > 0).astype(np.int64)
    (x_train, x_test), (y_train, y_test) = (np.split(each, [TRAINED]) for each in (inputs, target))
    source = folder / "data.npz"
    np.savez(source, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    (stored := folder / "stored").mkdir()
    ports = {"inputs": [Port("x", (NUMBERS,))], "outputs": [Port("y", (2,), activation="softmax")]}
    load_data(source, stored, **ports)
    known = np.load(stored / "held_out.npy")
    kernel, *_ = np.linalg.lstsq(inputs[known], np.where(target[known] > 0, 3, -3), rcond=None)
    network = tf_keras.Sequential(
        [tf_keras.layers.Input((NUMBERS,)), tf_keras.layers.Dense(2, activation="softmax")]
    )
    network.set_weights([np.stack([-kernel, kernel], 1), np.zeros(2)])
    network.save(folder / "model.keras")
    settings = {
        "model": {"path": str(folder / "model.keras")},
        "data": {"source": str(source)},
        "compress": [],
        "quantize": {"training": {"min_steps": 60, "learning_rate": 0.05}},
    }
    config, host = make_config(settings, "test"), get_target("host")
    with Store(folder / "store") as store:
        run, given = Run(folder, store), Inputs.of(config, host)
        with run.recording(given.name):
            return compile_model(given, config, run)


def test_the_fine_tuned_model_is_the_teacher(compiled):
    assert compiled.teacher.fine_tuned
    assert compiled.teacher.baselines.fine_tuned > compiled.teacher.baselines.given + 10


def test_later_choices_are_made_on_them(compiled):
    assert {each.samples for each in compiled.quantized.candidates} == {200}


def test_they_are_not_tested_on(compiled):
    rows = {split: set(np.load(compiled.data.rows(split))) for split in ("test", "held_out", "train")}

    assert compiled.data.test_samples == len(rows["test"]) == TESTED - 200
    assert rows["test"] | rows["held_out"] == set(range(TRAINED, TRAINED + TESTED))
    assert not rows["test"] & rows["held_out"]
