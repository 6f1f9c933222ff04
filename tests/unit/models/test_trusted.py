"""A trusted model is loaded by Keras itself and becomes one function that the converter takes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from models.errors import ModelError
from models.ports import Port
from models.trusted import export_trusted

X = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)


def convert_and_run(folder, *inputs):
    """Convert to .tflite with post-training quantization and run the float .tflite."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def save_quietly(save, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save(*arguments, **keywords)


@pytest.mark.parametrize(
    ("library_name", "file"),
    [("keras", "m.keras"), ("keras", "m.h5"), ("tf_keras", "m.h5"), ("tf_keras", "dir")],
)
def test_a_lambda_runs_and_is_converted(library_name, file, tmp_path, legacy_keras):
    from importlib import import_module

    library = import_module(library_name)
    double = library.layers.Lambda(lambda x: x * 2.0, output_shape=(4,), name="double")
    dense = library.layers.Dense(2, activation="softmax")
    model = library.Sequential([library.Input((4,), name="given"), double, dense])
    save_quietly(model.save, tmp_path / file, **({"save_format": "tf"} if file == "dir" else {}))

    exported = export_trusted(tmp_path / file, None, {}, tmp_path)

    assert [port.shape for port in exported.inputs] == [(4,)]
    assert [port.shape for port in exported.outputs] == [(2,)]
    assert exported.outputs[0].activation == "softmax"
    assert ("double", "Lambda") in exported.layers
    np.testing.assert_allclose(convert_and_run(tmp_path, X), np.asarray(model(X)), atol=1e-5)


def test_a_subclassed_model_needs_its_class(tmp_path, legacy_keras):
    import keras

    class Net(keras.Model):
        def __init__(self, **keywords):
            super().__init__(**keywords)
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return keras.ops.relu(self.dense(x))

    net = Net()
    net(X)
    net.save(tmp_path / "net.keras")

    with pytest.raises(ModelError, match=r"--set model\.custom_objects"):
        export_trusted(tmp_path / "net.keras", None, {}, tmp_path)
    exported = export_trusted(tmp_path / "net.keras", None, {"Net": Net}, tmp_path)

    assert exported.inputs == (Port("input", (4,)),)
    np.testing.assert_allclose(convert_and_run(tmp_path, X), np.asarray(net(X)), atol=1e-5)


def test_a_plain_saved_model_is_called_by_its_signature(tmp_path, legacy_keras):
    import tensorflow as tf

    module = tf.Module()
    module.scale = tf.Variable(3.0)
    module.f = tf.function(
        lambda a: {"scaled": a * module.scale},
        input_signature=[tf.TensorSpec((None, 4), tf.float32, name="a")],
    )
    tf.saved_model.save(module, tmp_path / "plain", signatures=module.f)

    exported = export_trusted(tmp_path / "plain", None, {}, tmp_path)

    assert exported.inputs == (Port("a", (4,)),)
    assert exported.outputs == (Port("scaled", (4,)),)
    assert exported.layers == ()
    np.testing.assert_allclose(convert_and_run(tmp_path, X), X * 3.0, atol=1e-5)


def test_an_open_length_is_refused(tmp_path, legacy_keras):
    import keras

    model = keras.Sequential([keras.Input((None, 4), name="steps"), keras.layers.GlobalMaxPooling1D()])
    model.save(tmp_path / "open.keras")

    with pytest.raises(ModelError, match=r"'steps'.*is open"):
        export_trusted(tmp_path / "open.keras", None, {}, tmp_path)
    assert not (tmp_path / "saved").exists()
