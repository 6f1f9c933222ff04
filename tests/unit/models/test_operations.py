"""Every operation outside a layer that is read, as Keras 3 and tf_keras write it, computes the same."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model, notes_on_dropped
from models.operation_layers import READERS
from models.operations import operation_kind
from models.prepare import graph_of, prepare

SHAPE = (6, 4, 3)
PLACES = np.linspace(0.5, 2.0, 72, dtype=np.float32).reshape(6, 4, 3)
COLUMN = np.array([0.5, 2.0, -1.0], np.float32)

KERAS3 = {
    "arithmetic": lambda ops, x: (2.0 - x) * 0.5 + x / 4.0 - 1.0 / (x + 9.0),
    "two tensors": lambda ops, x: ops.maximum(x * x, x + 1.0) - ops.minimum(x, ops.abs(x)) / (x + 9.0),
    "a number for each channel": lambda ops, x: x * COLUMN + COLUMN,
    "limits": lambda ops, x: ops.maximum(x, 0.0) + ops.maximum(x, 0.3) * ops.minimum(x, 0.7),
    "clip": lambda ops, x: ops.clip(x, 0.0, 1.0) + ops.clip(x, -1.0, 0.5),
    "powers": lambda ops, x: -(x**2) + ops.abs(x) ** 1.5 + ops.sqrt(ops.square(x)),
    "exponents": lambda ops, x: ops.log(ops.exp(x) + 1.0) + ops.sin(x) + ops.cos(x) + ops.floor(x),
    "roots": lambda ops, x: ops.rsqrt(ops.abs(x) + 1.0) + ops.reciprocal(x + 9.0),
    "rectifiers": lambda ops, x: ops.relu(x) + ops.relu6(x) + ops.leaky_relu(x) + ops.elu(x) + ops.selu(x),
    "sigmoids": lambda ops, x: ops.sigmoid(x) + ops.tanh(x) + ops.silu(x) + ops.softplus(x),
    "gelu": lambda ops, x: ops.gelu(x) + ops.gelu(x, approximate=False),
    "hard": lambda ops, x: ops.hard_sigmoid(x) + ops.hard_silu(x) + ops.softsign(x),
    "softmax": lambda ops, x: ops.softmax(x) + ops.softmax(x, axis=1) + ops.log_softmax(x),
    "pooling": lambda ops, x: ops.mean(x, axis=(1, 2)) + ops.max(x, axis=[1, 2]),
    "reductions": lambda ops, x: ops.sum(x, axis=1) + ops.min(x, axis=1) + ops.mean(x, -1, True)[:, 0],
    "kept": lambda ops, x: x * ops.mean(x, axis=(1, 2), keepdims=True),
    "concatenate": lambda ops, x: ops.concatenate([x, x + 1.0], axis=-1),
    "stack": lambda ops, x: ops.stack([x, x + 1.0], axis=2),
    "split": lambda ops, x: ops.concatenate([*ops.split(x, 2, axis=1), *ops.split(x, [1, 3], axis=1)], 1),
    "reshape": lambda ops, x: ops.reshape(ops.reshape(x, (-1, 12, 6)), (-1, 72)),
    "dimensions": lambda ops, x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "transpose": lambda ops, x: ops.swapaxes(ops.transpose(x, (0, 2, 3, 1)), 1, 3),
    "pad": lambda ops, x: ops.pad(ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]), [[0, 0]] * 3 + [[1, 0]]),
    "pad with a value": lambda ops, x: ops.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]], constant_values=2.0),
    "tile": lambda ops, x: ops.tile(x, [1, 2, 1, 3]),
    "matmul": lambda ops, x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))),
    "normalize": lambda ops, x: ops.normalize(x, axis=-1),
    "slices": lambda ops, x: x[:, 1:5:2, ::-1] + x[:, :2, :, -1:],
    "places": lambda ops, x: x[:, 0] + x[:, -1, ..., :2, None][:, :, :1, 0],
    "ellipsis": lambda ops, x: x[..., 0] + x[..., -1],
    "resize": lambda ops, x: ops.image.resize(x, (5, 7)),
    "identity": lambda ops, x: ops.cast(x, "float32") + ops.stop_gradient(x),
    "a number for each place": lambda ops, x: (x * PLACES + PLACES[0]) / (PLACES[None] + 2.0),
    "take": lambda ops, x: ops.take(x, [0, -1], axis=1) + ops.take(x, 1, axis=1)[:, None],
    "flip": lambda ops, x: ops.flip(x, axis=2) - ops.flip(ops.flip(x, axis=-1), axis=1),
    "repeat": lambda ops, x: ops.repeat(ops.repeat(x, 2, axis=1), 3, axis=-1),
    "where": lambda ops, x: (
        ops.where(x > 0.2, x, 0.5)
        + ops.where(x <= x[:, ::-1], x * x, x)
        + ops.where(ops.less(0.1, x), 1.0, 0.0)
        + ops.where(ops.equal(x, x), x, -1.0)
        + ops.where(x >= 0.0, x, x * 0.1)
    ),
}
LEGACY = {
    "arithmetic": lambda tf, x: (2.0 - x) * 0.5 + x / 4.0 - 1.0 / (x + 9.0),
    "two tensors": lambda tf, x: tf.maximum(x * x, x + 1.0) - tf.minimum(x, tf.abs(x)) / (x + 9.0),
    "a number for each channel": lambda tf, x: x * COLUMN + COLUMN,
    "limits": lambda tf, x: tf.maximum(x, 0.0) + tf.maximum(x, 0.3) * tf.minimum(x, 0.7),
    "clip": lambda tf, x: tf.clip_by_value(x, 0.0, 1.0) + tf.clip_by_value(x, -1.0, 0.5),
    "powers": lambda tf, x: -(x**2) + tf.abs(x) ** 1.5 + tf.sqrt(tf.square(x)) - tf.negative(x),
    "exponents": lambda tf, x: tf.math.log(tf.exp(x) + 1.0) + tf.sin(x) + tf.cos(x) + tf.floor(x),
    "roots": lambda tf, x: tf.math.rsqrt(tf.abs(x) + 1.0) + tf.math.reciprocal(x + 9.0),
    "rectifiers": lambda tf, x: tf.nn.relu(x) + tf.nn.relu6(x) + tf.nn.leaky_relu(x, 0.3) + tf.nn.elu(x),
    "sigmoids": lambda tf, x: tf.sigmoid(x) + tf.tanh(x) + tf.nn.silu(x) + tf.nn.selu(x),
    "gelu": lambda tf, x: tf.nn.gelu(x) + tf.nn.gelu(x, approximate=True),
    "softmax": lambda tf, x: tf.nn.softmax(x) + tf.nn.softmax(x, axis=1) + tf.nn.log_softmax(x),
    "pooling": lambda tf, x: tf.reduce_mean(x, axis=[1, 2]) + tf.reduce_max(x, axis=[1, 2]),
    "reductions": lambda tf, x: tf.reduce_sum(x, 1) + tf.reduce_min(x, axis=1),
    "concatenate": lambda tf, x: tf.concat([x, x + 1.0], axis=-1),
    "stack": lambda tf, x: tf.stack([x, x + 1.0], axis=2),
    "split": lambda tf, x: tf.concat([*tf.split(x, 2, axis=1), *tf.split(x, [1, 5], axis=1)], 1),
    "reshape": lambda tf, x: tf.reshape(tf.reshape(x, (-1, 12, 6)), (-1, 72)),
    "dimensions": lambda tf, x: tf.squeeze(tf.expand_dims(x, 2), 2),
    "transpose": lambda tf, x: tf.transpose(x, (0, 2, 3, 1)),
    "pad": lambda tf, x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]) * 2.0,
    "pad with a value": lambda tf, x: tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]], constant_values=2.0),
    "tile": lambda tf, x: tf.tile(x, [1, 2, 1, 3]),
    "matmul": lambda tf, x: tf.matmul(x, x + 1.0, transpose_b=True),
    "normalize": lambda tf, x: tf.math.l2_normalize(x, axis=-1),
    "slices": lambda tf, x: x[:, 1:5:2, ::-1] + x[:, :2, :, -1:],
    "places": lambda tf, x: x[:, 0] + x[:, -1, :, :2, None][:, :, :1, 0],
    "resize": lambda tf, x: tf.image.resize(x, (5, 7)),
    "identity": lambda tf, x: tf.cast(x, tf.float32) + tf.stop_gradient(x),
    "a number for each place": lambda tf, x: (x * PLACES + PLACES[0]) / (PLACES[None] + 2.0),
    "take": lambda tf, x: tf.gather(x, [0, 5], axis=1) + tf.gather(x, 1, axis=1)[:, None],
    "flip": lambda tf, x: tf.reverse(x, axis=[2]) - tf.reverse(x, axis=[1, -1]),
    "repeat": lambda tf, x: tf.repeat(x, 2, axis=1),
    "where": lambda tf, x: tf.where(x > 0.2, x, 0.5) + tf.where(tf.less(x, x[:, ::-1]), x * x, x),
}
CASES = [("keras", name) for name in KERAS3] + [("tf_keras", name) for name in LEGACY]


def build(library_name, name):
    if library_name == "keras":
        import keras

        inputs = keras.Input(SHAPE)
        return keras.Model(inputs, KERAS3[name](keras.ops, inputs))
    import tensorflow as tf
    import tf_keras

    inputs = tf_keras.Input(SHAPE)
    return tf_keras.Model(inputs, LEGACY[name](tf, inputs))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(("library_name", "name"), CASES)
def test_an_operation_computes_the_same_after_loading(library_name, name, suffix, save, outputs):
    model = build(library_name, name)
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)

    loaded = load_model(save(model, suffix))

    expected = outputs(model, x)[0]
    np.testing.assert_allclose(outputs(loaded, x)[0], expected, rtol=0, atol=1e-5 * max(1, expected.max()))
    assert graph_of(loaded).calls  # what was built can be read again, as the later stages do


@pytest.mark.parametrize("name", ["a number for each place", "take", "flip", "repeat", "where"])
def test_an_operation_that_picks_computes_the_same_after_preparation(name, save, outputs):
    model = build("keras", name)
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)

    prepared, *_ = prepare(load_model(save(model, ".keras")))

    np.testing.assert_allclose(outputs(prepared, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


def test_every_operation_that_is_read_is_tried(legacy_keras):
    import json

    tried = set()
    for case in CASES:
        for layer in json.loads(build(*case).to_json())["config"]["layers"]:
            tried.add(operation_kind(layer))
    assert set(READERS) - {"mish", "cast", "identity", "argmax"} <= tried


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_that_ends_in_an_argmax_is_read_up_to_the_scores(suffix, keepdims, save, outputs):
    import keras

    inputs = keras.Input(SHAPE)
    scores = keras.layers.Dense(5, activation="softmax")(inputs)
    model = keras.Model(inputs, keras.ops.argmax(scores, axis=-1, keepdims=keepdims))
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)

    loaded = load_model(path := save(model, suffix))

    [found] = outputs(loaded, x)
    assert found.shape == (3, 6, 4, 5)
    np.testing.assert_array_equal(found.argmax(-1).ravel(), np.ravel(outputs(model, x)[0]))
    assert "predict.py names the best class" in notes_on_dropped(path)[0]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_argmax_beside_its_scores_is_left_out(suffix, save, outputs):
    import tensorflow as tf
    import tf_keras

    inputs = tf_keras.Input(SHAPE)
    scores = tf_keras.layers.Dense(5)(inputs)
    model = tf_keras.Model(inputs, [tf.argmax(scores, axis=-1), scores])
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)

    [found] = outputs(load_model(save(model, suffix)), x)

    np.testing.assert_allclose(found, outputs(model, x)[1], atol=1e-5)


@pytest.mark.parametrize(
    ("apply", "kind"),
    [
        (lambda ops, x: ops.einsum("abcd,abcd->abc", x, x), "einsum"),
        (lambda ops, x: ops.mean(x, axis=0), "mean"),
        (lambda ops, x: x * np.ones((3, 6, 4, 3), np.float32), "multiply"),
        (lambda ops, x: ops.argmax(x, axis=1), "argmax"),
        (lambda ops, x: ops.flip(x, axis=0), "flip"),
        (lambda ops, x: ops.reshape(x, (2, -1)), "reshape"),
        (lambda ops, x: ops.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], mode="reflect"), "pad"),
        (lambda ops, x: ops.cast(x, "int32"), "cast"),
    ],
)
def test_an_operation_that_no_layer_stands_for_is_refused_by_name(apply, kind, save):
    import keras

    inputs = keras.Input(SHAPE)
    path = save(keras.Model(inputs, apply(keras.ops, inputs)), ".keras")

    with pytest.raises(ModelError, match=rf"operation '{kind}\w*' \({kind}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("apply", "advice"),
    [
        (lambda ops, x: x / ops.max(x), r"name those of one sample: axis=\(1, 2, 3\)"),
        (lambda ops, x: x * ops.mean(x, axis=(1, 2)), "ranks 2 and 4, .* or use the layer Multiply"),
        (lambda ops, x: ops.argmax(x[:, 0], axis=1), "end the model at the scores"),
        (lambda ops, x: ops.one_hot(ops.argmax(x, axis=-1), 3), "one_hot"),
        (
            lambda ops, x: x + ops.expand_dims(ops.argmax(x, axis=-1), -1),
            "argmax.*end the model at the scores",
        ),
    ],
)
def test_what_mixes_samples_or_hides_the_scores_is_refused_with_what_to_do(apply, advice, save):
    import keras

    inputs = keras.Input(SHAPE)
    path = save(keras.Model(inputs, apply(keras.ops, inputs)), ".keras")

    with pytest.raises(ModelError, match=advice):
        load_model(path)
