"""Features between layers: which are paired, what is compared, and that students learn them."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.errors import StageError
from pipeline.samples import Samples
from pipeline.training.features import compare_features, pairs_by_shape
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.keras_io import open_model, predict, save_model, start_tensorflow
from pipeline.training_config import TrainingConfig


def network(filters, hidden, seed):
    """A convolution, pooling and a hidden layer; the names are those of both students and teachers."""
    start_tensorflow(seed)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((6, 6, 2), name="image")
    x = layers.Conv2D(filters, 3, padding="same", name="conv")(inputs)
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name="reduce")(x)
    x = layers.Dense(hidden, "relu", name="hidden")(layers.GlobalAveragePooling2D(name="pool")(x))
    return tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))


@pytest.fixture(scope="module")
def given(tmp_path_factory, store_dataset, prepared_model):
    """A teacher with its data."""
    folder = tmp_path_factory.mktemp("model")
    save_model(network(8, 12, 1), folder / "keras/model")
    ports = {"inputs": (Port("image", (6, 6, 2)),), "outputs": (Port("class", (2,), activation="softmax"),)}
    model = prepared_model(folder, **ports).keras
    inputs = np.random.default_rng(0).normal(size=(48, 6, 6, 2)).astype(np.float32)
    data = store_dataset(tmp_path_factory.mktemp("data"), inputs, np.arange(48) % 2)
    return model, data


def compared(given, student, kind, pairs=(), weight=1.0):
    model, data = given
    samples = Samples.of(data, "train", model.preprocessing)
    return compare_features(student, open_model(model.model), kind, dict(pairs), weight, samples)


def test_the_last_layers_of_each_grid_of_positions_are_paired():
    student, teacher = network(4, 5, 0), network(8, 12, 1)

    expected = {"relu": "relu", "reduce": "reduce", "hidden": "hidden"}
    assert pairs_by_shape(student, teacher, with_positions=False) == expected
    del expected["hidden"]
    assert pairs_by_shape(student, teacher, with_positions=True) == expected


def test_hints_are_projected_to_the_teachers_channels_and_weighed_by_their_variance(given):
    student = network(4, 12, 0)

    found = compared(given, student, "hints", weight=3.0)

    assert found.pairs == (("relu", "relu"), ("reduce", "reduce"), ("hidden", "hidden"))
    assert [tuple(tensor.shape[1:]) for tensor in found.student.outputs] == [
        (2,), (6, 6, 8), (3, 3, 8), (12,)
    ]  # fmt: skip
    own = {layer.name for layer in found.student.layers} - {layer.name for layer in student.layers}
    assert own == {"relu_projection", "reduce_projection"}
    inputs = np.load(given[1].input(0)).astype(np.float32)
    features = predict(found.teacher, [inputs])[1:]
    np.testing.assert_allclose(
        np.multiply(found.weights, [each.var() for each in features]), 3.0 / 3, rtol=1e-3
    )


def test_attention_is_the_energy_of_each_position_with_norm_1(given):
    found = compared(given, network(4, 12, 0), "attention", {"relu": "conv"})
    inputs = np.load(given[1].input(0))[:5].astype(np.float32)

    teacher = open_model(given[0].model)
    activations = np.maximum(teacher.get_layer("conv")(inputs).numpy(), 0)
    energy = (activations**2).sum(axis=-1).reshape(5, -1)
    expected = energy / np.linalg.norm(energy, axis=-1, keepdims=True)
    np.testing.assert_allclose(predict(found.teacher, [inputs])[1], expected, atol=1e-5)
    assert found.student.outputs[1].shape[1:] == (36,)


@pytest.mark.parametrize("kind", ["hints", "attention"])
def test_a_student_learns_the_features_of_its_teacher(given, kind):
    """With features the student comes nearer to them than without; its own layers alone are trained."""
    model, data = given
    config = TrainingConfig(epochs=5, min_steps=1, batch_size=8, learning_rate=8e-3, distillation=0.5)
    inputs = [np.load(data.input(0)).astype(np.float32)]
    apart = []
    for weight in (30.0, 1e-9):
        student = network(8, 12, 2)
        features = compared(given, student, kind, {"reduce": "reduce"}, weight)
        fine_tune("distill", student, model, data, config, 0, features=features)
        taught, found = (predict(each, inputs)[1] for each in (features.teacher, features.student))
        apart.append(float(np.mean((taught - found) ** 2)))
        assert len(student.outputs) == 1
    assert apart[0] < 0.6 * apart[1]


@pytest.mark.parametrize(
    ("kind", "pairs", "problem"),
    [
        ("hints", {"conf": "conv"}, "'conf' is no layer with an output; its layers are image, conv"),
        ("hints", {"conv": "absent"}, "'absent' is no layer with an output"),
        ("hints", {"conv": "reduce"}, r"'conv' \(6, 6, 8\) and 'reduce' \(3, 3, 4\) have other positions"),
        ("attention", {"hidden": "hidden"}, "'hidden' and 'hidden' have no positions"),
    ],
)
def test_pairs_that_cannot_be_compared_are_refused(given, kind, pairs, problem):
    with pytest.raises(StageError, match=problem):
        compared(given, network(4, 12, 0), kind, pairs)


def test_without_features_there_is_nothing_to_compare(given):
    assert compared(given, network(4, 12, 0), "none") is None
