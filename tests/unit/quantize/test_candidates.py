"""Of several quantized models the smallest download is taken of those that are not shown to be worse."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Baseline, QuantizedModel
from pipeline.flatbuffer import read_tflite
from pipeline.quantize.candidates import choose_quantized
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.training.keras_io import save_model, start_tensorflow

SAMPLES = 1200


KERNEL = np.random.default_rng(1).integers(-100, 101, (3, 64)).astype(np.int8)


def right(model):
    """Give each class weights of its own."""
    model.buffers[4].data = KERNEL.ravel().view(np.uint8)


def padded(model):
    """Compute the same in a larger file."""
    right(model)
    model.buffers[6].data = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8)


def wrong(model):
    """Give each class the answer of another one."""
    model.buffers[4].data = np.roll(KERNEL, 1, axis=0).ravel().view(np.uint8)


@pytest.fixture(scope="module")
def network(tiny_tflite):
    """The tiny model in float, with the right weights."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((4, 4, 1), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    network = tf_keras.Model(inputs, layers.Dense(3, "softmax", name="dense")(layers.Flatten()(x)))
    flat = read_tflite(tiny_tflite)
    kernel = flat.constant(next(each for each in flat.tensors if each.name == "conv/kernel"))
    scaled = kernel.transpose(1, 2, 3, 0) * np.array([0.01, 0.02, 0.03, 0.04])
    network.get_layer("conv").set_weights([scaled, np.zeros(4)])
    network.get_layer("dense").set_weights([0.01 * KERNEL.T, np.zeros(3)])
    return network


@pytest.fixture
def choose(tmp_path, store_dataset, prepared_model, tiny_tflite_with, network):
    """Choose among files; the right answers are those of the tiny model."""
    images = np.random.default_rng(0).random((SAMPLES, 4, 4, 1), np.float32)
    contents = {edit.__name__: tiny_tflite_with(edit) for edit in (right, padded, wrong)}
    (tmp_path / "right.tflite").write_bytes(contents["right"])
    with Session(host_runtime("litert"), tmp_path / "right.tflite") as session:
        labels = run_real(session, [images])[0].argmax(axis=-1)
    save_model(network, tmp_path / "keras/model")
    baseline = Baseline(folder=tmp_path, sha256="")
    baseline.tflite.write_bytes(bytes(10_000))

    def run(*names, samples=SAMPLES, size_ratio=1.0, download=None, shift=200.0, formats=()):
        data = store_dataset(tmp_path / f"data{samples}", images[:samples], labels[:samples])
        made = []
        for place, name in enumerate(names):
            (folder := tmp_path / f"{place}-{name}").mkdir()
            size, sha256 = len(contents[name]), hashlib.sha256(contents[name]).hexdigest()
            written = QuantizedModel(
                folder=folder, size_bytes=size, sha256=sha256, sparsity=0.0,
                format=dict(formats).get(name, "int8"), reason="", layers=(),
            )  # fmt: skip
            written.tflite.write_bytes(contents[name])
            made.append(written)
        model = prepared_model(
            tmp_path, inputs=(Port("image", (4, 4, 1)),), outputs=(Port("out", (3,), activation="softmax"),)
        ).keras
        (out := tmp_path / "out").mkdir()
        found = choose_quantized(
            data, model, baseline, *made,
            names=names, max_size_ratio=size_ratio, max_download=download, max_shift_points=shift,
            out=out,
        )  # fmt: skip
        assert found.tflite.read_bytes() == contents[chosen(found)]
        return found

    return run


def chosen(found):
    return next(each.name for each in found.candidates if each.chosen)


def test_a_model_that_is_measurably_worse_is_not_taken_however_small_it_is(choose):
    found = choose("wrong", "padded")

    assert chosen(found) == "padded"
    worse, best = found.candidates
    assert (best.score, best.difference, best.samples) == (100, (0, 0, 0), SAMPLES // 10)
    assert worse.difference[2] < 0
    assert "'padded' is taken" in found.findings[0]


def test_of_models_that_are_as_good_the_smallest_download_is_taken(choose):
    assert chosen(choose("padded", "right")) == "right"


def test_the_size_of_a_small_file_is_no_limit_as_it_is_none_to_the_gate(choose):
    assert chosen(choose("padded", "wrong", size_ratio=0.4)) == "padded"


def test_a_model_beyond_the_limit_of_size_is_out(choose, monkeypatch):
    monkeypatch.setattr("pipeline.quantize.candidates.SMALL_FILE_BYTES", 0)
    found = choose("padded", "wrong", size_ratio=0.4)

    assert chosen(found) == "wrong"
    assert [each.within_limits for each in found.candidates] == [False, True]


def test_a_model_beyond_the_limit_of_the_download_is_out(choose):
    found = choose("padded", "wrong", download=4000)

    assert chosen(found) == "wrong"
    assert [each.reason for each in found.candidates] == ["beyond [gates] download_bytes", ""]


def test_a_model_that_loses_much_under_a_corruption_against_float_is_out(choose):
    wrong, padded = choose("wrong", "padded", shift=2.0).candidates

    assert padded.chosen
    assert wrong.reason.startswith("-")
    assert " points against float with " in wrong.reason
    assert wrong.worst[0] < -50 < -2 < padded.worst[0]


def test_a_model_that_is_not_full_integer_is_out(choose):
    assert chosen(choose("right", "wrong", formats={"right": "float16"})) == "wrong"


def test_if_all_are_out_the_best_is_taken_all_the_same(choose):
    assert chosen(choose("wrong", "padded", size_ratio=0.01)) == "padded"


def test_of_few_samples_none_are_held_out_and_training_samples_judge(choose):
    found = choose("wrong", "padded", "right", samples=300)

    assert chosen(found) == "right"
    assert {(each.samples, each.held_out) for each in found.candidates} == {(300, False)}
