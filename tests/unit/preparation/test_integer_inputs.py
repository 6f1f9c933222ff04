"""Inputs of integers in the Keras model: pixels are numbers to be quantized, words are indices."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

from deploy.codegen.source import c_files, c_prefix
from deploy.device.predict import to_input
from deploy.manifest import Input, Manifest, Output, RuntimeNeed
from models.describe import input_ports, output_ports
from pipeline.artifacts import FloatModel
from pipeline.config import PreprocessingConfig
from pipeline.flatbuffer import read_tflite
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.activations import run_file, statistics
from pipeline.quantize.backends import tflite_converter
from pipeline.quantize.shared_scales import ranges_from
from pipeline.quantize.tflite import float_file
from pipeline.release import manifest
from pipeline.runtimes.session import Tensor
from pipeline.samples import Samples
from pipeline.training.keras_io import save_model, start_tensorflow

ANSWER = Output(
    name="out", shape=(1, 2), dtype="int8", scale=0.1, zero_point=0, task="classification", logits=True
)


@pytest.fixture
def prepare(tmp_path, store_dataset):
    """Prepare the model that ``make`` builds of an input of this dtype; returns it, samples and the model."""

    def run(shape, dtype, make, values):
        start_tensorflow(0)
        import tf_keras

        given = tf_keras.Input(shape, name="x", dtype=dtype)
        model = tf_keras.Model(given, make(tf_keras.layers, given))
        save_model(model, tmp_path / "loaded/model")
        loaded = FloatModel(
            folder=tmp_path / "loaded",
            inputs=input_ports(model),
            outputs=output_ports(model),
            from_logits=(True,),
        )
        data = store_dataset(tmp_path / "data", values, np.arange(len(values)) % 2)
        (out := tmp_path / "out").mkdir()
        found = prepare_model(loaded, data, config=PreprocessingConfig(), out=out)
        found = type(found)(**{**vars(found), "folder": out})
        return found, Samples.of(data, "train", found.preprocessing), model

    return run


def declared(found, tensor):
    """The input as the manifest of a release has it."""
    scale, zero_point = (tensor.scale, tensor.zero_point or 0) if tensor.scale else (None, 0)
    fields = {"name": "x", "shape": tensor.shape, "dtype": tensor.dtype}
    steps = manifest._steps(found.preprocessing[0], tensor, "bilinear")
    return Input(**fields, scale=scale, zero_point=zero_point, preprocessing=steps)


def in_c(given, raw, folder):
    """What the generated C makes of a raw sample."""
    release = Manifest(
        name="tiny", version="1.0", target="arm64", counter=1, created=None, expires=None, devices=(),
        machine="aarch64", android_abi="arm64-v8a", format="int8", inputs=(given,), outputs=(ANSWER,),
        runtimes=(RuntimeNeed(package="ai-edge-litert", least="2.3.0"),), labels=(), tolerance_steps=1,
        golden=1, model="tiny.tflite", files={},
    )  # fmt: skip
    for path, text in c_files(release, [np.zeros((1, 2), np.int8)]).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    prefix = c_prefix(release)
    call = f"void run(const float *raw, int8_t *tensor) {{ {prefix}_preprocess_x(raw, tensor); }}"
    (folder / "x.c").write_text(f'#include "c/{prefix}.h"\n{call}\n')
    command = ("gcc", "-shared", "-fPIC", "x.c", "-lm", "-o", "x.so")
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    values, tensor = raw.astype(np.float32), np.empty(raw.shape, np.int8)
    ctypes.CDLL(str(folder / "x.so")).run(*(x.ctypes.data_as(ctypes.c_void_p) for x in (values, tensor)))
    return tensor


def test_pixels_of_an_integer_input_are_scaled_and_quantized(prepare, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 4, 4, 1)).astype(np.uint8)

    def make(layers, given):
        scaled = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(given))
        return layers.Dense(2)(layers.Flatten()(scaled))

    found, samples, model = prepare((4, 4, 1), "uint8", make, pixels)
    content, _ = float_file(found.keras, samples)
    ranges = ranges_from(content, statistics(content, samples), "min-max", 99.9)
    int8 = tflite_converter.quantize(content, ranges, "int8")
    [flat] = read_tflite(int8).inputs
    tensor = Tensor("x", tuple(flat.shape), flat.dtype, flat.scales[0], flat.zero_points[0])
    given, raw = declared(found, tensor), np.full((4, 4, 1), 200, np.uint8)
    [transform] = found.preprocessing
    expected, [got] = model.predict_on_batch(pixels), run_file(int8, samples)

    assert (transform.indices, transform.offset) == (False, (0.0,))
    assert transform.scale == pytest.approx((1 / 255,))
    assert (tensor.dtype, tensor.scale, tensor.zero_point) == ("int8", pytest.approx(1 / 255), -128)
    assert (to_input(raw, given.model_dump(mode="json")) == 200 - 128).all()
    assert (in_c(given, raw, tmp_path) == 200 - 128).all()
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.999


def test_words_of_an_integer_input_go_in_as_they_are(prepare):
    words = np.random.default_rng(0).integers(0, 250, (80, 6)).astype(np.uint8)

    def make(layers, given):
        table = layers.Embedding(250, 3)(layers.Reshape((6,))(given))
        return layers.Dense(2)(layers.Flatten()(table))

    found, samples, _ = prepare((6,), "int32", make, words)
    given = declared(found, Tensor("x", (1, 6), "int32", None, None))
    raw = np.array([0, 1, 127, 128, 200, 249], np.uint8)

    assert found.inputs[0].dtype == "int32"
    assert found.preprocessing[0].indices
    np.testing.assert_array_equal(samples.model_inputs()[0], words)
    np.testing.assert_array_equal(to_input(raw, given.model_dump(mode="json")), raw)
