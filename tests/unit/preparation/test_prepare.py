"""How raw samples become a model's input: declared, lifted out of the model, or balanced."""

from __future__ import annotations

import numpy as np
import pytest
from wrong_rewrites import drop_rectifiers

from deploy.device.predict import to_input
from models.errors import ModelError
from models.ports import Port
from pipeline.artifacts import FloatModel
from pipeline.config import PreprocessingConfig
from pipeline.flatbuffer import read_tflite
from pipeline.preparation.input_styles import declared_transforms
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.activations import run_file, statistics
from pipeline.quantize.backends import tflite_converter
from pipeline.quantize.shared_scales import ranges_from
from pipeline.quantize.tflite import float_file
from pipeline.runtimes.quantization import quantize_inputs
from pipeline.samples import Samples
from pipeline.training.keras_io import open_model, predict, save_model, start_tensorflow

UNEVEN = np.array([1.0, 300.0, 0.01])
IMAGE = (Port("image", (4, 4, 3)),)


@pytest.fixture
def prepare(tmp_path, store_dataset):
    """Prepare a model of these layers for uneven features; returns it, its samples and the given model."""

    def run(*layers, task="classification", config=None, shape=(3,), dropped=(), values=None):
        start_tensorflow(0)
        import tf_keras

        model = tf_keras.Sequential([tf_keras.Input(shape, name="x"), *layers])
        save_model(model, tmp_path / "loaded/model")
        outputs = (Port("out", tuple(model.output_shape[1:]), activation="linear"),)
        loaded = FloatModel(
            folder=tmp_path / "loaded",
            inputs=(Port("x", shape),),
            outputs=outputs,
            from_logits=(True,),
            dropped=dropped,
        )
        if values is None:
            values = np.random.default_rng(0).normal(1, 1, (80, *(n or 6 for n in shape))) * UNEVEN
            values = values.astype(np.float32)
        target = None if task == "reconstruction" else np.arange(80) % 2
        data = store_dataset(tmp_path / "data", values, target, task=task)
        (out := tmp_path / "out").mkdir()
        found = prepare_model(loaded, data, config=config or PreprocessingConfig(), out=out)
        found = type(found)(**{**vars(found), "folder": out})
        return found, Samples.of(data, "train", found.preprocessing), model

    return run


def layers():
    start_tensorflow(0)
    import tf_keras

    return tf_keras.layers


def assert_same(found, samples, model):
    raw = samples.raw(0).astype(np.float32)
    expected = model.predict_on_batch(raw)
    for folder in (found.reference, found.keras.model):
        [got] = predict(open_model(folder), samples.model_inputs())
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_uneven_features_get_scales_of_their_own_and_the_model_stays_the_same(prepare):
    found, samples, model = prepare(*(cls := layers(), cls.Dense(8, "relu"), cls.Dense(2))[1:])

    [inputs] = samples.model_inputs()
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=0), 1, atol=1e-5)
    assert_same(found, samples, model)


def test_a_normalization_inside_becomes_preprocessing(prepare):
    norm = layers().Normalization(mean=[0.0, 100.0, 0.0], variance=[1.0, 90000.0, 1e-4])
    found, samples, model = prepare(norm, layers().Dense(2))

    assert found.preprocessing[0].scale[1] == pytest.approx(1 / 300, rel=0.1)
    assert any("became the preprocessing" in line for line in found.rewrites)
    assert_same(found, samples, model)


def test_raw_pixels_go_into_the_int8_file_of_a_model_that_scales_them_itself(prepare):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3)).astype(np.uint8)
    cls = layers()
    found, samples, model = prepare(
        *(cls.Rescaling(1 / 127.5, -1.0), cls.Conv2D(4, 3, padding="same"), cls.Flatten(), cls.Dense(2)),
        shape=(8, 8, 3),
        values=pixels,
        config=PreprocessingConfig(scale=1.0),
    )
    content, _ = float_file(found.keras, samples)
    flat = read_tflite(content)
    ranges = ranges_from(content, statistics(content, samples), "min-max", 99.9)
    int8 = tflite_converter.quantize(content, ranges, "int8")
    [tensor] = read_tflite(int8).inputs
    [transform] = found.preprocessing
    steps = {"indices": False, "reverse_channels": False, "resize": None}
    steps |= {"scale": transform.scale, "offset": transform.offset}
    contract = {"name": "x", "shape": [1, 8, 8, 3], "dtype": "int8", "scale": tensor.scales[0]}
    contract |= {"zero_point": tensor.zero_points[0], "preprocessing": steps}

    assert [operator.name for operator in flat.operators] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert (transform.scale, transform.offset) == (pytest.approx((1 / 127.5,)), (-1.0,))
    assert "scaled as by the model's own layers" in transform.reason
    assert_same(found, samples, model)
    given = quantize_inputs(*samples.model_inputs(), tensor.scales[0], tensor.zero_points[0], "int8")
    np.testing.assert_array_equal([to_input(raw, contract) for raw in samples.raw(0)], given)
    expected, [got] = model.predict_on_batch(samples.raw(0).astype(np.float32)), run_file(int8, samples)
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.999


def test_balancing_can_be_turned_off(prepare):
    found, _, _ = prepare(layers().Dense(2), config=PreprocessingConfig(standardize=False))

    assert (found.preprocessing[0].scale, found.preprocessing[0].offset) == ((1.0,), (0.0,))


def test_an_output_that_is_held_to_the_input_leaves_the_input_as_it_is(prepare):
    found, _, _ = prepare(layers().Rescaling(2.0), layers().Dense(3), task="reconstruction")

    assert found.preprocessing[0].scale == (1.0,)


def test_an_open_length_becomes_that_of_the_data(prepare):
    found, samples, model = prepare(
        layers().Conv1D(4, 3), layers().GlobalMaxPooling1D(), layers().Dense(2), shape=(None, 3)
    )

    assert found.inputs[0].shape == (6, 3)
    assert open_model(found.keras.model).input_shape == (None, 6, 3)
    assert_same(found, samples, model)


def test_mean_and_deviation_are_taken_off_after_scaling():
    config = PreprocessingConfig(
        scale=1 / 255, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1], channel_order="reversed"
    )
    [transform] = declared_transforms(IMAGE, config)

    raw = np.full((1, 4, 4, 3), [10, 20, 30], np.uint8)
    expected = (raw[..., ::-1] / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    np.testing.assert_allclose(transform.apply(raw), expected, rtol=1e-5)
    assert transform.reason == "declared"


def test_an_integer_input_takes_indices_whatever_is_declared():
    [transform] = declared_transforms((Port("words", (9,), "int32"),), PreprocessingConfig(scale=2.0))

    assert transform.indices


def test_a_model_that_keras_loaded_itself_is_probed_too(tmp_path, store_dataset):
    start_tensorflow(0)
    import tf_keras

    from models.trusted import export_trusted

    model = tf_keras.Sequential(
        [tf_keras.Input((2, 2, 1), name="image"), layers().Flatten(), layers().Dense(1, "sigmoid")]
    )
    model.set_weights([np.full((4, 1), 10.0), np.array([-20.0])])  # bright, where 1 is white
    with pytest.warns(UserWarning, match="HDF5"):
        model.save(tmp_path / "bright.h5")
    (tmp_path / "loaded/model").mkdir(parents=True)
    exported = export_trusted(tmp_path / "bright.h5", None, {}, tmp_path / "loaded/model")
    loaded = FloatModel(
        folder=tmp_path / "loaded",
        inputs=exported.inputs,
        outputs=exported.outputs,
        from_logits=(False,),
        opaque=True,
    )
    images = np.random.default_rng(0).integers(0, 256, (80, 2, 2, 1)).astype(np.uint8)
    labels = (images.mean(axis=(1, 2, 3)) > 127.5).astype(np.int64)
    data = store_dataset(tmp_path / "data", images, labels, task="binary")
    (tmp_path / "out").mkdir()

    found = prepare_model(loaded, data, config=PreprocessingConfig(), out=tmp_path / "out")

    assert found.preprocessing[0].scale == pytest.approx((1 / 255,))
    assert found.findings[0].startswith("input 'image': scaled to 0..1 (accuracy ")


def test_what_is_chosen_for_an_input_is_a_finding_with_its_score(prepare):
    found, _, _ = prepare(layers().Dense(2))

    assert found.findings[0].startswith("input 'x': floats are not rescaled (accuracy ")


def test_a_rewrite_that_is_wrong_on_the_samples_alone_is_refused(prepare, monkeypatch):
    from models import prepare as rewriting

    monkeypatch.setattr(rewriting, "_PASSES", (drop_rectifiers,))
    monkeypatch.setattr("pipeline.preparation.prepare.in_child", lambda function, _: function)
    start_tensorflow(0)
    import tf_keras

    falling = tf_keras.initializers.Constant(-1.0)  # below 0 for values in the hundreds alone
    dense = layers().Dense(
        2, kernel_initializer=falling, bias_initializer=tf_keras.initializers.Constant(80.0)
    )

    with pytest.raises(ModelError, match="preparing it would change its outputs"):
        prepare(dense, layers().ReLU(), config=PreprocessingConfig(standardize=False))


def test_what_the_models_own_training_had_and_this_one_has_not_is_a_note(prepare):
    found, _, _ = prepare(layers().Dense(2), dropped=("constraints are not kept",))

    assert found.notes[0] == "constraints are not kept"
