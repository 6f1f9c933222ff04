"""Weights and outputs of few levels: which layers get them, and that training and conversion keep them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from models.ports import Port
from pipeline.compress.low_bit import LowBitConfig, plan, train_low_bit
from pipeline.compress.quantizers import rounded_activations, ternary
from pipeline.compress.straight_through import LatentKernel, with_rounded_outputs
from pipeline.compress.weights import prune_weights
from pipeline.compress.weights_config import WeightsConfig
from pipeline.errors import StageError
from pipeline.flatbuffer import read_tflite
from pipeline.layer_records import LayerRecord
from pipeline.quantize.layers import is_of_layer
from pipeline.quantize.levels import require_levels
from pipeline.quantize.qat import QatConfig, open_qat_model, train_qat
from pipeline.quantize.tflite import write_model
from pipeline.samples import Samples
from pipeline.training.keras_io import open_model, predict, save_model, start_tensorflow
from pipeline.training.kernels import distinct_values, kernels_of
from pipeline.training_config import TrainingConfig

pytestmark = pytest.mark.xdist_group("low_bit")  # one process trains what the tests share

TRAINING = TrainingConfig(epochs=1, min_steps=4, batch_size=16, learning_rate=1e-3)
PRUNED = ("c3", "class")  # the last one keeps 8 bits
CONFIG = LowBitConfig(
    weights=4,
    activations=4,
    per_type={"dense": 3},
    layers={"c3": "ternary", "depthwise": {"bits": 5, "range": "max"}, "r3": 2},
    training=TRAINING,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory, store_dataset):
    labels = np.arange(48) % 2
    inputs = np.random.default_rng(0).normal(size=(48, 8, 8, 2)) + labels[:, None, None, None]
    return store_dataset(tmp_path_factory.mktemp("data"), inputs, labels)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, prepared_model):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="c1")(inputs)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="c2")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="r2")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(name="r3")(layers.Conv2D(8, 3, name="c3")(x))
    x = layers.Dense(6, activation="relu", name="hidden")(layers.Flatten(name="flat")(x))
    network = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    for name in PRUNED:
        kernel = network.get_layer(name).kernel
        kernel.assign(kernel * mask_of(kernel))
    return store(network, tmp_path_factory.mktemp("model"), prepared_model, (8, 8, 2))


def mask_of(kernel):
    """Every second weight."""
    return np.arange(np.prod(kernel.shape)).reshape(kernel.shape) % 2


def store(network, folder, prepared_model, shape):
    save_model(network, folder / "keras/model")
    return prepared_model(
        folder,
        inputs=(Port(network.input_names[0], shape),),
        outputs=(Port(network.output_names[0], (2,), activation="softmax"),),
        layers=tuple(map(record_of, network.layers)),
    ).keras


def record_of(layer):
    record = LayerRecord(name=layer.name, kind=type(layer).__name__)
    if layer.name not in PRUNED:
        return record
    return replace(record, operations=("pruned",), weights=int(np.prod(layer.kernel.shape)), sparsity=0.5)


@pytest.fixture(scope="module")
def found(stored, data, tmp_path_factory):
    return train_low_bit(stored, stored, data, config=CONFIG, seed=0, out=tmp_path_factory.mktemp("low"))


def planned(stored, **settings):
    start_tensorflow(0)
    return plan(open_model(stored.model), stored, LowBitConfig(**settings))


def weights(plans):
    return {name: each.weights for name, each in plans.items() if each.weights != 8}


def outputs(plans):
    return {name: each.activations for name, each in plans.items() if each.activations != 8}


def test_the_first_the_last_and_depthwise_layers_keep_8_bits(stored):
    plans = planned(stored)

    assert weights(plans) == {"c2": 4, "c3": 4, "hidden": 4}
    assert {name: each.reason for name, each in plans.items() if each.reason} == {
        "c1": "the first layer",
        "depthwise": "it has few weights per channel",
        "class": "the last layer",
    }
    assert outputs(plans) == {}


def test_a_layer_comes_before_the_ends_the_ends_before_a_type_and_a_type_before_all(stored):
    plans = planned(
        stored,
        weights="ternary",
        first_and_last=6,
        per_type={"dense": 3, "depthwise": "binary", "activation": 4},
        layers={"class": 5, "c3": {"bits": 2, "range": "max"}, "r2": 3, "hidden": {"activations": 7}},
    )

    assert weights(plans) == {
        "c1": 6, "c2": "ternary", "depthwise": "binary", "c3": 2, "hidden": 3, "class": 5
    }  # fmt: skip
    assert [name for name, each in plans.items() if each.range == "max"] == ["c3"]
    assert outputs(plans) == {"c1": 4, "r2": 3, "r3": 4, "hidden": 7}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"weights": 9}, r'9 is not a bit width; write 2 to 8, "ternary" or "binary"'),
        ({"weights": 1}, "1 is not a bit width"),
        ({"per_type": {"dense": "half"}}, "'half' is not a bit width"),
        ({"kl": 3, "training": {"distillation": 0.9}}, "kl = 3 means training.distillation = 0.75"),
    ],
)
def test_wrong_settings_are_explained(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        LowBitConfig(**settings)


def test_an_unknown_layer_is_named(stored):
    with pytest.raises(StageError, match=r"no layer 'c4'; did you mean"):
        planned(stored, layers={"c4": 3})


def test_lambda_is_the_weight_of_the_kl_divergence_in_the_mixed_loss():
    """With the target (1 - s) y + s t: cross-entropy = (L + lambda KL + lambda H(t)) / (1 + lambda)."""
    rng = np.random.default_rng(0)
    teacher, student = rng.dirichlet(np.ones(5), 2)
    label, weight = np.eye(5)[2], 3.0

    share = LowBitConfig(kl=weight).fine_tuning.distillation
    mixed = -((1 - share) * label + share * teacher) @ np.log(student)
    loss, entropy = -label @ np.log(student), -teacher @ np.log(teacher)
    divergence = teacher @ np.log(teacher / student)

    assert share == 0.75
    assert mixed == pytest.approx((loss + weight * divergence + weight * entropy) / (1 + weight))


def test_every_layer_has_its_levels_and_says_so(found):
    network = open_model(found.model)
    records = {layer.name: layer for layer in found.layers if layer.operations}

    assert {name: each.operations for name, each in records.items()} == {
        "c1": ("4-bit output",),
        "c2": ("4-bit",),
        "r2": ("4-bit output",),
        "depthwise": ("5-bit",),
        "c3": ("pruned", "ternary"),
        "r3": ("2-bit output",),
        "hidden": ("3-bit", "4-bit output"),
        "class": ("pruned",),
    }
    assert {name: each.levels for name, each in records.items() if each.levels} == {
        "c2": 15, "depthwise": 31, "c3": 3, "hidden": 7
    }  # fmt: skip
    for name, each in records.items():
        if each.levels:
            [kernel] = kernels_of(network.get_layer(name))
            columns = kernel.columns()
            assert all(len(np.unique(column)) <= each.levels for column in columns.T)
            assert each.distinct == distinct_values(columns)
            assert each.sparsity == np.mean(columns == 0)


def operator_of(flat, name):
    return next(each for each in flat.operators if is_of_layer(flat.tensors[each.outputs[0]].name, name))


def assert_levels_are_stored(flat, found):
    require_levels(flat, found.layers, "int8")
    for name, levels, axis in (("c2", 15, 0), ("depthwise", 31, 3), ("c3", 3, 0), ("hidden", 7, 0)):
        kernel = flat.constant(flat.tensors[operator_of(flat, name).inputs[1]])
        assert kernel.dtype == np.int8
        channels = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
        most = max(len(np.unique(channel)) for channel in channels)
        assert most == levels or (name == "depthwise" and most <= channels.shape[1])  # of 9 weights each
    for name, bits in (("r2", 4), ("r3", 2), ("hidden", 4)):
        tensor = flat.tensors[operator_of(flat, name).outputs[0]]
        [record] = [layer for layer in found.layers if layer.name == name]
        assert tensor.zero_points == (128 - 2**bits,)
        assert tensor.scales[0] == pytest.approx(record.output_high / (2**bits - 1))


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_file_of_post_training_quantization_has_the_same_levels(found, file_of):
    assert_levels_are_stored(flat := file_of(found), found)

    wrong = [replace(layer, distinct=layer.distinct + 1) for layer in found.layers if layer.levels]
    with pytest.raises(StageError, match=r"the weights of layer 'c2' had .* distinct values"):
        require_levels(flat, wrong, "int8")
    wrong = [replace(layer, output_bits=3) for layer in found.layers if layer.output_bits]
    with pytest.raises(StageError, match="the output of layer 'c1' does not have its 8 levels"):
        require_levels(flat, wrong, "int8")


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_quantization_aware_training_keeps_the_levels(found, data, file_of, tmp_path):
    trained = train_qat(found, found, data, config=QatConfig(training=TRAINING), seed=0, out=tmp_path)

    before, after = open_model(found.model), open_qat_model(trained)
    assert not np.array_equal(
        before.get_layer("norm").beta.numpy(), after.get_layer("quant_norm").layer.beta.numpy()
    )
    assert_levels_are_stored(file_of(trained), found)


def test_pruning_afterwards_is_refused(found, data, tmp_path):
    config = WeightsConfig(training=TRAINING)
    with pytest.raises(StageError, match="layer 'c2' has weights of 15 levels, which pruning would undo"):
        prune_weights(found, found, data, config=config, seed=0, out=tmp_path)


def test_pruned_weights_stay_zero_whatever_their_bits(found, stored):
    before, after = open_model(stored.model), open_model(found.model)

    for name in PRUNED:
        old, new = (each.get_layer(name).kernel.numpy() for each in (before, after))
        assert not new[mask_of(new) == 0].any()
        assert not np.array_equal(old, new)


def test_pruned_weights_cannot_be_binary(stored):
    with pytest.raises(StageError, match="layer 'c3' has pruned weights, and binary weights are never zero"):
        planned(stored, weights="binary")


def test_the_optimizers_update_is_that_of_the_latent_weights():
    start_tensorflow(0)
    import tf_keras

    layer = tf_keras.layers.Dense(2)
    layer.build((None, 3))
    start = np.array([[1.0, 0.1], [-1.0, 0.2], [0.1, -0.9]], np.float32)
    layer.kernel.assign(start)
    [kernel] = kernels_of(layer)
    latent = LatentKernel(kernel, "ternary", False, False)
    np.testing.assert_array_equal(layer.kernel.numpy(), ternary(start).weights)

    step = np.array([[0.0, 0.7], [0.9, 0.0], [0.0, 0.0]], np.float32)
    layer.kernel.assign_add(step)
    latent.update()

    np.testing.assert_allclose(layer.kernel.numpy(), ternary(start + step).weights, rtol=1e-6)


def test_rounded_outputs_are_those_of_the_quantizer(stored, data):
    start_tensorflow(0)
    network = open_model(stored.model)
    samples = Samples.of(data, "train", stored.preprocessing)
    import tf_keras

    rounded = with_rounded_outputs(network, {"r2": 3}, samples, 0)
    probe = [
        predict(tf_keras.Model(each.input, each.get_layer("r2").output), samples.model_inputs())[0]
        for each in (network, rounded)
    ]

    expected = rounded_activations(probe[0], float(rounded.get_layer("r2").high), 3)
    assert len(np.unique(probe[1])) == 8
    np.testing.assert_allclose(probe[1], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_recurrent_kernels_keep_their_levels_in_the_file(store_dataset, prepared_model, tmp_path):
    start_tensorflow(0)
    import tf_keras

    inputs = tf_keras.Input((3, 4), name="series")
    x = tf_keras.layers.LSTM(5, unroll=True, implementation=1, name="lstm")(inputs)
    network = tf_keras.Model(inputs, tf_keras.layers.Dense(2, activation="softmax", name="label")(x))
    model = store(network, tmp_path, prepared_model, (3, 4))
    rng = np.random.default_rng(0)
    data = store_dataset(tmp_path / "data", rng.normal(size=(32, 3, 4)), np.arange(32) % 2)
    (tmp_path / "out").mkdir()

    config = LowBitConfig(per_type={"recurrent": 2}, training=TRAINING)
    found = train_low_bit(model, model, data, config=config, seed=0, out=tmp_path / "out")

    assert [layer.operations for layer in found.layers] == [(), ("2-bit",), ()]
    samples = Samples.of(data, "train", model.preprocessing).take(slice(0, 8))
    written = tmp_path / "model.tflite"
    write_model(
        found, samples, "int8", True, "tflite-converter", None,
        tmp_path / "original.tflite", samples, tmp_path / "answers.npz", tmp_path / "expected.npz", written,
    )  # fmt: skip
    require_levels(read_tflite(written), found.layers, "int8")
