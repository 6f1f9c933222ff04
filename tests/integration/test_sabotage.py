"""A model sabotaged in one way at a time is caught, by the gate whose job it is."""

from __future__ import annotations

import json
import struct
import warnings

import numpy as np
import pytest

from pipeline.flatbuffer import read_tflite

pytestmark = pytest.mark.xdist_group("tiny build")

SETTINGS = """
[validate]
threads = [1]
operators = false
[validate.shift]
samples = 0
[validate.stability]
faults = false
"""


RPI5 = ("--device", "rpi5")


@pytest.fixture
def files(built):
    return next(built.release.glob("*.tflite")), next(built.out.glob("store/convert_float-*/float.tflite"))


@pytest.fixture
def judged(pipeline, tiny, tmp_path):
    """Validate a file against a float one and return each gate's outcome, and the report.

    It runs on an emulated device where a test looks at one.
    """
    (tmp_path / "pipeline.toml").write_text(SETTINGS, encoding="utf-8")

    def run(file, baseline=None, *, data=tiny / "data.npz", also=()):
        given = ["--config", tmp_path / "pipeline.toml", "--json"]
        given += ["--data", data, "--scale", 1 / 255] if data else []
        given += ["--baseline", baseline] if baseline else []
        ended = pipeline("validate", file, *given, *also)
        report = json.loads(ended.out)
        assert (ended.code == 1) == any(verdict["outcome"] == "failed" for verdict in report["verdicts"])
        return {title(verdict): verdict["outcome"] for verdict in report["verdicts"]}, report

    return run


def title(verdict):
    return f"{verdict['gate']} ({verdict['subject']})" if verdict["subject"] else verdict["gate"]


def operator(flat, name, place=0):
    return [found for found in flat.operators if found.name == name][place]


def patched(path, out, tensor, values):
    """The file with a constant's values replaced."""
    content = bytearray(path.read_bytes())
    data = values.astype(tensor.dtype).tobytes()
    assert len(data) == tensor.data.length
    content[tensor.data.start : tensor.data.start + len(data)] = data
    out.write_bytes(content)
    return out


def converted(out, *, float_operator=False, layers=1, integer=True):
    """A small network in int8; ``float_operator`` puts one in that has no int8 kernel."""
    from pipeline.training.tfmot import tensorflow

    tf = tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    entry = tf_keras.Input((8, 8, 1))
    x = tf_keras.layers.Conv2D(64, 3, padding="same", activation="relu", name="first")(entry)
    for index in range(layers):
        x = tf_keras.layers.Conv2D(64, 3, padding="same", activation="relu", name=f"conv{index}")(x)
    if float_operator:
        x = tf.sin(x)
    x = tf_keras.layers.Dense(4)(tf_keras.layers.Flatten()(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(entry, x))
    if integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        rng = np.random.default_rng(0)
        converter.representative_dataset = lambda: ([rng.random((1, 8, 8, 1), np.float32)] for _ in range(8))
        ops = tf.lite.OpsSet
        converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8, ops.TFLITE_BUILTINS]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.write_bytes(converter.convert())
    return out


def test_the_unharmed_model_passes(files, judged):
    outcomes, _ = judged(*files, also=RPI5)

    assert set(outcomes.values()) <= {"passed", "warning", "inconclusive"}


def test_a_float_operator_left_in_is_named_by_the_full_integer_gate(judged, tmp_path):
    outcomes, report = judged(converted(tmp_path / "m.tflite", float_operator=True), data=None)

    assert outcomes["full integer"] == "failed"
    (verdict,) = [row for row in report["verdicts"] if row["gate"] == "full integer"]
    assert "SIN" in verdict["got"]


def test_a_wrong_scale_fails_the_accuracy_gate(files, judged, tmp_path):
    quantized, baseline = files
    flat = read_tflite(quantized)
    activation = flat.tensors[operator(flat, "CONV_2D", 1).outputs[0]]
    right, wrong = (struct.pack("<f", scale) for scale in (activation.scales[0], activation.scales[0] * 1000))
    content = quantized.read_bytes()
    assert content.count(right) >= 1
    (tmp_path / "m.tflite").write_bytes(content.replace(right, wrong))

    outcomes, _ = judged(tmp_path / "m.tflite", baseline)

    assert outcomes["accuracy"] == "failed"


def test_a_class_that_is_never_said_fails_the_class_recall_gate(files, judged, tmp_path):
    quantized, baseline = files
    flat = read_tflite(quantized)
    bias = flat.tensors[operator(flat, "FULLY_CONNECTED").inputs[2]]
    values = flat.constant(bias).copy()
    values[2] -= 1_000_000

    outcomes, report = judged(patched(quantized, tmp_path / "m.tflite", bias, values), baseline)

    assert outcomes["per-class recall"] == "failed"
    (verdict,) = [row for row in report["verdicts"] if row["gate"] == "per-class recall"]
    assert verdict["got"].startswith("worst: 2, F1 ")


def test_a_scale_that_is_no_number_is_refused_before_any_runtime_sees_it(files, pipeline, tmp_path):
    flat = read_tflite(files[0])
    scale = struct.pack("<f", flat.tensors[operator(flat, "CONV_2D").outputs[0]].scales[0])
    (tmp_path / "m.tflite").write_bytes(files[0].read_bytes().replace(scale, struct.pack("<f", np.nan)))

    ended = pipeline("validate", tmp_path / "m.tflite")

    assert ended.code == 3
    assert "scale" in ended.message


def test_a_weight_that_is_no_number_fails_the_stability_gate(files, judged, tmp_path):
    flat = read_tflite(files[1])
    kernel = flat.tensors[operator(flat, "CONV_2D").inputs[1]]
    values = flat.constant(kernel).copy()
    values.flat[3] = np.nan

    outcomes, _ = judged(patched(files[1], tmp_path / "m.tflite", kernel, values), data=None)

    assert outcomes["finite outputs"] == "failed"


def test_a_slower_layer_fails_the_regression_gate(judged, tmp_path):
    before = converted(tmp_path / "before.tflite")
    after = converted(tmp_path / "after.tflite", layers=2)

    outcomes, _ = judged(after, data=None, also=(*RPI5, "--against", before))

    assert outcomes["regression (instructions, rpi5)"] == "failed"
    assert (
        judged(before, data=None, also=(*RPI5, "--against", before))[0]["regression (instructions, rpi5)"]
        == "passed"
    )


def test_labels_shuffled_for_one_class_are_noticed(files, judged, tiny, tmp_path):
    data = dict(np.load(tiny / "data.npz"))
    rng = np.random.default_rng(0)
    for split in ("y_train", "y_test"):
        of_class = data[split] == 3
        data[split][of_class] = rng.permutation(np.arange(of_class.sum()) % 4)
    np.savez(tmp_path / "data.npz", **data)

    outcomes, report = judged(*files, data=tmp_path / "data.npz")

    assert outcomes["float baseline"] == "warning"
    (verdict,) = [row for row in report["verdicts"] if row["gate"] == "float baseline"]
    assert verdict["got"].startswith("no better than chance on 3 (precision ")
