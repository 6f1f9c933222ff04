"""Distillation: narrower, other and equal students, what they learn from, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.compress.distill import DistillConfig, architecture_file, distill_model
from pipeline.errors import InputError, StageError
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training_config import TrainingConfig

pytestmark = pytest.mark.xdist_group("distill")

TRAINING = TrainingConfig(epochs=1, min_steps=4, batch_size=16, learning_rate=1e-3, temperature=2.0)
CONFIG = DistillConfig(training=TRAINING, max_drop_points=100)


@pytest.fixture(scope="module")
def stored(store_network):
    """Two convolutions; half of the weights of the second are zero."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(16, 3, padding="same", name="first")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(32, 3, strides=2, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    kernel = network.get_layer("second").kernel
    kernel.assign(kernel * (np.arange(4608) % 2).reshape(kernel.shape))
    return store_network(network)


def pruned(model):
    facts = {"weights": 4608, "sparsity": 0.5}
    layers = tuple(replace(each, **facts) if each.name == "second" else each for each in model.layers)
    return replace(model, layers=layers)


def distilled(model, data, folder, teacher=None, files=(), **settings):
    config = CONFIG.model_copy(update=settings)
    return distill_model(model, teacher or model, data, *files, config=config, seed=0, out=folder)


def test_the_model_as_it_is_learns_and_keeps_its_zeros(stored, data, tmp_path):
    found = distilled(pruned(stored), data, tmp_path)

    before, after = (open_model(each.model).get_layer("second").kernel.numpy() for each in (stored, found))
    np.testing.assert_array_equal(before == 0, after == 0)
    assert not np.array_equal(before, after)
    operations = {layer.name: layer.operations for layer in found.layers if layer.operations}
    assert operations == dict.fromkeys(("first", "second", "class"), ("distilled",))
    assert [training.name for training in found.trainings] == ["distill"]


def test_a_student_of_half_the_width_starts_afresh_and_records_its_channels(stored, data, tmp_path):
    found = distilled(stored, data, tmp_path, width=0.5)

    network = open_model(found.model)
    assert network.get_layer("first").kernel.shape == (3, 3, 2, 8)
    assert network.get_layer("second").kernel.shape == (3, 3, 8, 16)
    operations = {layer.name: layer.operations for layer in found.layers if layer.operations}
    assert operations == {
        "first": ("distilled with 8 of 16 channels",),
        "second": ("distilled with 16 of 32 channels",),
        "class": ("distilled",),
    }
    macs = 64 * 9 * 2 * 16 + 9 * 9 * 16 * 32 + 64, 64 * 9 * 2 * 8 + 9 * 9 * 8 * 16 + 32
    assert found.findings[0].endswith(f"multiply-accumulates {macs[0]:,} -> {macs[1]:,}")
    assert not (network.get_layer("second").kernel.numpy() == 0).any()
    assert (found.inputs, found.outputs) == (stored.inputs, stored.outputs)


@pytest.mark.parametrize("start", ["fresh", "weights"])
def test_a_narrower_student_starts_afresh_or_with_the_largest_filters(
    stored, data, tmp_path, monkeypatch, start
):
    monkeypatch.setattr("pipeline.compress.distill.fine_tune", lambda *_, **__: None)

    found = distilled(stored, data, tmp_path, width=0.5, start=start)

    kernel, own = (open_model(each.model).get_layer("first").kernel.numpy() for each in (stored, found))
    largest = np.sort(np.argsort(np.linalg.norm(kernel.reshape(-1, 16), axis=0))[8:])
    assert np.array_equal(own, kernel[..., largest]) == (start == "weights")


def test_another_architecture_has_names_of_its_own_but_for_inputs_and_outputs(stored, data, tmp_path, file):
    [source] = architecture_file(CONFIG.model_copy(update={"into": str(file())}))

    known = replace(stored, layers=tuple(replace(each, reason="of before") for each in stored.layers))

    found = distilled(known, data, tmp_path / "out", files=[source], into="small")

    assert not any(layer.reason for layer in found.layers)
    network = open_model(found.model)
    assert [layer.name for layer in network.layers] == ["image", "distilled_first", "distilled_pool", "class"]
    assert [layer.name for layer in found.layers] == [layer.name for layer in network.layers]
    assert {layer.name: layer.operations for layer in found.layers if layer.operations} == dict.fromkeys(
        ("distilled_first", "class"), ("distilled",)
    )
    assert network.get_layer("distilled_first").kernel.shape == (3, 3, 2, 4)


@pytest.fixture
def file(tmp_path):
    """Write the Keras file of a small model, whose form can be changed."""

    def write(shape=(None, None, 2), units=2, activation="softmax"):
        start_tensorflow(0)
        import tf_keras

        layers = tf_keras.layers
        inputs = layers.Input(shape, name="x")
        x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        path = tmp_path / "small.keras"
        tf_keras.Model(inputs, layers.Dense(units, activation, name="y")(x)).save(path)
        return path

    return write


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"shape": (8, 8, 3)}, "input 'x' of small is float32 8 x 8 x 3, the model's is float32 8 x 8 x 2"),
        ({"units": 3}, "output 'y' of small is float32 3 softmax, the model's is float32 2 softmax"),
        ({"activation": None}, "output 'y' of small is float32 2 linear, the model's is float32 2 softmax"),
    ],
)
def test_an_architecture_with_other_inputs_or_outputs_is_refused(stored, data, tmp_path, file, form, problem):
    [source] = architecture_file(CONFIG.model_copy(update={"into": str(file(**form))}))

    with pytest.raises(StageError, match=problem):
        distilled(stored, data, tmp_path / "out", files=[source], into="small")


def test_a_reference_model_is_found_by_its_name_and_a_file_by_its_content(tmp_path):
    [source] = architecture_file(DistillConfig(into="zoo:lenet5"))
    assert source.location.endswith("lenet5.keras")
    assert architecture_file(DistillConfig()) == ()
    config = DistillConfig(into=str(tmp_path / "small.keras"))
    digests = set()
    for content in ("one", "other"):
        (tmp_path / "small.keras").write_text(content)
        digests |= {each.digest for each in architecture_file(config)}
    assert len(digests) == 2
    with pytest.raises(InputError, match=r"absent.keras: no such file; give zoo:NAME or a .keras"):
        architecture_file(DistillConfig(into="absent.keras"))


def test_a_student_that_loses_too_much_leaves_the_model_as_it_was(stored, data, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.compress.distill.lost_points", lambda *_: 9.0)

    found = distilled(stored, data, tmp_path, width=0.5, max_drop_points=3)

    assert found.notes == ("the student lost 9.0 points on held-out samples, so the model stays as it was",)
    assert (found.layers, found.trainings) == (stored.layers, stored.trainings)
    for ours, theirs in zip(
        open_model(found.model).get_weights(), open_model(stored.model).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_too_narrow_for_it_stays(stored, data, tmp_path):
    found = distilled(stored, data, tmp_path, width=0.9, multiple=64)

    assert found.notes == ('no layer can be narrower: [[compress]] method = "distill" did nothing',)


@pytest.mark.parametrize(
    ("facts", "width", "what"),
    [
        ({"clusters": 16, "levels": 16}, 1.0, "clustered weights, which distillation would undo"),
        ({"output_bits": 4}, 1.0, "4-bit outputs, which distillation would undo"),
        ({"weights": 10, "sparsity": 0.5}, 0.5, "pruned weights, which a student with layers of its own"),
    ],
)
def test_what_earlier_steps_did_is_not_undone(stored, data, tmp_path, facts, width, what):
    layers = (*stored.layers[:-1], replace(stored.layers[-1], **facts))

    with pytest.raises(StageError, match=f"layer 'class' has {what}.*; put method = \"distill\" before"):
        distilled(replace(stored, layers=layers), data, tmp_path, width=width)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"width": 0.5, "into": "zoo:lenet5"}, "width and into exclude each other"),
        ({"start": "weights"}, "start is that of another student"),
        ({"pairs": {"a": "b"}}, 'pairs are compared as features = "hints" or "attention"'),
        ({"into": "zoo:lenet"}, "no reference model 'lenet'; did you mean 'lenet5'?"),
        ({"width": 0}, "greater than 0"),
    ],
)
def test_settings_without_effect_are_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem.replace("?", r"\?")):
        DistillConfig(**settings)
