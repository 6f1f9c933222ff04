"""Weight sharing: which kernels share values, how these are trained, and that the int8 file has no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.compress.clusters import ClustersConfig, cluster_weights
from pipeline.compress.codebooks import share_values
from pipeline.compress.low_bit import LowBitConfig, train_low_bit
from pipeline.compress.shared_weights import Sharing, with_shared_weights
from pipeline.errors import StageError
from pipeline.layer_records import LayerRecord
from pipeline.quantize.layers import is_of_layer
from pipeline.quantize.levels import require_levels
from pipeline.quantize.qat import QatConfig, open_qat_model, train_qat
from pipeline.samples import Samples
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training.kernels import kernels_of
from pipeline.training_config import TrainingConfig

pytestmark = pytest.mark.xdist_group("clusters")  # one process trains what the tests share

RNG = np.random.default_rng(0)
TRAINING = TrainingConfig(epochs=1, min_steps=6, batch_size=16, learning_rate=1e-2)
CONFIG = ClustersConfig(clusters=8, min_weights=100, training=TRAINING, max_drop_points=100)
PRUNED = ("c2", "class")  # the second is too small to be clustered
CLUSTERED = ("c1", "c2", "back", "hidden")


@pytest.fixture(scope="module")
def stored(store_network):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="c1")(inputs)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="c2")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(4, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, name="back")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(layers.Flatten(name="flat")(x))
    network = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    norm = network.get_layer("norm")
    norm.set_weights([RNG.uniform(0.5, 2, 8), *norm.get_weights()[1:]])
    for name in PRUNED:
        kernel = network.get_layer(name).kernel
        kernel.assign(kernel * mask_of(kernel))
    return store_network(network, record_of)


def mask_of(kernel):
    """Every second weight."""
    return np.arange(np.prod(kernel.shape)).reshape(kernel.shape) % 2


def record_of(layer):
    record = LayerRecord(name=layer.name, kind=type(layer).__name__)
    if layer.name not in PRUNED:
        return record
    return replace(record, operations=("pruned",), weights=int(np.prod(layer.kernel.shape)), sparsity=0.5)


def clustered(stored, data, folder, **changes):
    config = CONFIG.model_copy(update=changes)
    return cluster_weights(stored, stored, data, config=config, seed=0, out=folder)


@pytest.fixture(scope="module")
def per_kernel(stored, data, tmp_path_factory):
    return clustered(stored, data, tmp_path_factory.mktemp("kernel"))


@pytest.fixture(scope="module")
def per_channel(stored, data, tmp_path_factory):
    return clustered(stored, data, tmp_path_factory.mktemp("channel"), per_channel=True)


@pytest.fixture(params=["per_kernel", "per_channel"])
def found(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def untrained(monkeypatch):
    """Leave out the training, for tests of what is chosen before and after it."""
    monkeypatch.setattr("pipeline.compress.clusters.fine_tune", lambda *_: None)


def columns_of(model, name):
    [kernel] = kernels_of(open_model(model.model).get_layer(name))
    return kernel.columns()


def values_of(model, name):
    """The number of values that each group of weights has: the kernel, or each of its channels."""
    columns = columns_of(model, name)
    is_per_channel = "output channel" in model.findings[0]
    return [len(np.unique(group)) for group in (columns.T if is_per_channel else [columns])]


def test_every_large_kernel_has_few_values_and_others_say_why_not(found, stored):
    records = {layer.name: layer for layer in found.layers}

    assert [name for name, each in records.items() if each.clusters] == list(CLUSTERED)
    assert {name: each.reason for name, each in records.items() if each.reason} == {
        "depthwise": "not clustered: it has few weights per channel",
        "class": "not clustered: its kernel has 12 weights, at least 100 are needed",
    }
    for name in CLUSTERED:
        assert max(values_of(found, name)) == 8
        each, columns = records[name], columns_of(found, name)
        assert (each.clusters, each.levels, each.weights) == (8, 8, columns.size)
        assert each.distinct == sum(len(np.unique(channel)) for channel in columns.T)
        assert each.operations[-1] == "8 clusters"
    for name in ("depthwise", "class"):
        assert np.count_nonzero(columns_of(found, name) != columns_of(stored, name)) > 0, name


def test_the_finding_counts_kernels_and_weights(found):
    weights = 108 + 432 + 288 + 2400
    where = " in each output channel" if "channel" in found.findings[0] else ""

    values = f"with at most 8 values each{where}: c1, c2, back, hidden"
    assert found.findings == (f"clusters: 4 kernels, {weights:,} weights in all, {values}",)


def test_pruned_kernels_keep_exactly_their_zeros(found, stored):
    for name in PRUNED:
        np.testing.assert_array_equal(columns_of(found, name) == 0, columns_of(stored, name) == 0)
    assert found.zero_weights == stored.zero_weights == 216 + 6


def test_the_gradient_of_a_value_is_the_sum_of_those_of_its_weights():
    start_tensorflow(0)
    import tensorflow as tf
    import tf_keras

    plain = tf_keras.Sequential([tf_keras.Input((5,)), tf_keras.layers.Dense(4, name="dense")])
    [kernel] = kernels_of(plain.get_layer("dense"))
    kernel.assign(np.where(RNG.random((5, 4)) < 0.4, 0, kernel.columns()).astype(np.float32))
    books = share_values(kernel.columns().reshape(-1, 1), 4, "linear", keeps_zeros=True, rng=RNG)
    kernel.assign(books.weights.reshape(5, 4))
    model = with_shared_weights(plain, {"dense": Sharing.of(books, kernel)})
    inputs, wanted = RNG.normal(size=(6, 5)).astype("f"), RNG.normal(size=(6, 4)).astype("f")

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(inputs) - wanted))
    variable = next(each for each in model.trainable_weights if each.shape == (5, 4))
    found = tape.gradient(loss, variable).numpy()

    weights, bias = (each.numpy() for each in plain.trainable_weights)
    of_weights = 2 * inputs.T @ (inputs @ weights + bias - wanted)
    for value in np.unique(weights):
        own = weights == value
        expected = 0 if value == 0 else of_weights[own].sum()
        np.testing.assert_allclose(found[own], expected, rtol=1e-4)


def test_weights_that_share_a_value_are_still_equal_after_training(stored, data, tmp_path):
    """The optimizer treats equal weights with equal gradients alike, up to the last bits."""
    start_tensorflow(0)
    import tf_keras

    model = open_model(stored.model)
    [kernel] = kernels_of(model.get_layer("hidden"))
    books = share_values(kernel.columns().reshape(-1, 1), 8, "k-means++", keeps_zeros=False, rng=RNG)
    kernel.assign(books.weights.reshape(kernel.columns().shape))
    sharing = Sharing.of(books, kernel)
    student = with_shared_weights(model, {"hidden": sharing})
    student.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    samples = Samples.of(data, "train", stored.preprocessing)
    for _ in range(10):
        student.train_on_batch(samples.model_inputs()[0], samples.target(0))

    trained = student.get_layer("hidden").layer.kernel.numpy()
    for code in range(8):
        assert np.ptp(trained[sharing.codes == code]) < 1e-6
        assert abs(trained[sharing.codes == code][0] - books.values[code]) > 1e-3


def assert_values_are_stored(flat, found):
    require_levels(flat, found.layers, "int8")
    for name in CLUSTERED:
        operator = next(
            each for each in flat.operators if is_of_layer(flat.tensors[each.outputs[0]].name, name)
        )
        kernel = next(
            flat.constant(flat.tensors[each])
            for each in operator.inputs
            if flat.tensors[each].is_readable and len(flat.tensors[each].shape) > 1
        )
        assert kernel.dtype == np.int8
        assert max(len(np.unique(channel)) for channel in kernel) <= 8


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_int8_file_has_no_more_values_in_a_channel_than_clusters(found, file_of):
    assert_values_are_stored(flat := file_of(found), found)

    wrong = [replace(layer, levels=6) for layer in found.layers if layer.name == "c2"]
    with pytest.raises(StageError, match=r"the weights of layer 'c2' had .* distinct values"):
        require_levels(flat, wrong, "int8")
    lost = [replace(layer, name="gone") for layer in found.layers if layer.name == "c2"]
    with pytest.raises(StageError, match=r"the weights of layer 'gone' had .* and have 0 after"):
        require_levels(flat, lost, "int8")


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_quantization_aware_training_keeps_the_values(per_kernel, data, file_of, tmp_path):
    trained = train_qat(
        per_kernel, per_kernel, data, config=QatConfig(training=TRAINING), seed=0, out=tmp_path
    )

    student = open_qat_model(trained)
    for name in CLUSTERED:
        [kernel] = kernels_of(open_model(per_kernel.model).get_layer(name))
        same = [
            each
            for each in student.weights
            if each.shape == kernel.variable.shape and np.array_equal(each, kernel.variable)
        ]
        assert len(same) == 1, name
    reasons = {layer.reason for layer in trained.layers if layer.name in CLUSTERED}
    assert "its weights keep their few values" in reasons
    assert_values_are_stored(file_of(trained), trained)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("losses", "clusters"), [((5.0, 1.0), 16), ((9.0, 8.0, 7.0), 0)])
def test_a_model_that_does_not_bear_it_gets_more_clusters_or_none_and_that_is_said(
    stored, data, tmp_path, monkeypatch, losses, clusters
):
    left = list(losses)
    monkeypatch.setattr("pipeline.compress.clusters.lost_points", lambda *_: left.pop(0))

    found = clustered(stored, data, tmp_path, max_drop_points=3)

    assert max(layer.clusters for layer in found.layers) == clusters
    assert found.notes[0] == "with 8 clusters the model lost 5.0 points on held-out samples".replace(
        "5.0", str(losses[0])
    )
    if not clusters:
        assert found.findings == ('no kernel is clustered: [[compress]] method = "clusters" did nothing',)
        assert len(found.notes) == 3
        reasons = {layer.reason for layer in found.layers if layer.name in CLUSTERED}
        assert reasons == {f"not clustered: {'; '.join(found.notes)}"}
        for name in CLUSTERED:
            np.testing.assert_array_equal(columns_of(found, name), columns_of(stored, name))


@pytest.mark.usefixtures("untrained")
def test_other_types_are_clustered_if_they_are_asked_for(stored, data, tmp_path):
    found = clustered(stored, data, tmp_path, types=("depthwise",), start="density")

    assert [layer.name for layer in found.layers if layer.clusters] == ["depthwise"]
    assert values_of(found, "depthwise") == [8]
    reasons = {layer.name: layer.reason for layer in found.layers}
    assert reasons["c1"] == "not clustered: conv is not among types"


@pytest.mark.usefixtures("untrained")
def test_groups_with_no_more_weights_than_clusters_are_left_as_they_are(stored, data, tmp_path):
    found = clustered(stored, data, tmp_path, clusters=32, per_channel=True)

    assert [layer.name for layer in found.layers if layer.clusters] == ["c2", "back", "hidden"]
    [record] = [layer for layer in found.layers if layer.name == "c1"]
    reason = "not clustered: each of its channels has 18 weights, not more than the 32 clusters"
    assert record.reason == reason


def test_clustering_is_refused_where_weights_have_few_values_and_refuses_such_steps(stored, data, tmp_path):
    levels = replace(stored, layers=tuple(replace(layer, levels=15) for layer in stored.layers))
    with pytest.raises(StageError, match=r"weights of 15 levels, which clustering would undo; use only one"):
        clustered(levels, data, tmp_path)

    shares = replace(stored, layers=tuple(replace(layer, clusters=16) for layer in stored.layers))
    with pytest.raises(StageError, match="clustered weights, which training would undo"):
        train_low_bit(shares, stored, data, config=LowBitConfig(), seed=0, out=tmp_path)
