"""Post-training quantization in two steps: ranges on calibration samples, then a file with them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from models.ports import Port
from pipeline.artifacts import CalibrationSet, KerasModel, Transform
from pipeline.errors import StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer.edit import Range, ranges_of, with_ranges
from pipeline.isolation import sandbox
from pipeline.quantize.backends.tflite_converter import calibrate, convert, inputs_of, quantize
from pipeline.quantize.convert import ConvertConfig, convert_quantized
from pipeline.quantize.ranges import find_ranges, read_ranges
from pipeline.training.tfmot import tensorflow

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
SAMPLES = 16


@dataclass(frozen=True)
class Given:
    """Samples as conversions take them."""

    arrays: tuple[np.ndarray, ...]

    def chunks(self, size):
        return (Given(tuple(each[at : at + size] for each in self.arrays)) for at in range(SAMPLES))

    def model_inputs(self):
        return list(self.arrays)


def residual(layers):
    image = layers.Input((8, 8, 2))
    hidden = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(image)))
    added = layers.Add()([hidden, layers.Conv2D(4, 1)(image)])
    return image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(added))


def unrolled(layers):
    series = layers.Input((5, 3))
    # Of a GRU, the quantizer rescales the outputs of SPLIT in some runs and not in others.
    return series, layers.Dense(2, activation="sigmoid")(layers.SimpleRNN(4, unroll=True)(series))


def two_inputs(layers):
    image, profile = layers.Input((6, 6, 1)), layers.Input((4,))
    joined = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 3)(image)), layers.Dense(3)(profile)])
    return [image, profile], layers.Dense(1)(joined)


def tokens(layers):
    words = layers.Input((6,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(words))
    return words, layers.Dense(2, activation="softmax")(pooled)


@pytest.fixture(params=[residual, unrolled, two_inputs])
def model(request):
    """A model as a concrete function, what keeps it alive, and samples."""
    return concrete(request.param)


def concrete(build):
    tf = tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    keras_model = tf_keras.Model(*build(tf_keras.layers))
    specs = [
        tf.TensorSpec((1, *each.shape[1:]), each.dtype, f"input_{i}")
        for i, each in enumerate(keras_model.inputs)
    ]
    function = tf.function(lambda *x: keras_model(x[0] if len(x) == 1 else list(x), training=False))
    rng = np.random.default_rng(1)
    arrays = tuple(rng.normal(size=(SAMPLES, *spec.shape[1:])).astype(np.float32) for spec in specs)
    return function.get_concrete_function(*specs), keras_model, Given(arrays)


def quantization(content):
    """Type, scale and zero point of each tensor of integers by its name, whatever their order."""
    found = {}
    for tensor in schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors:
        known = tensor.quantization
        if known is not None and known.scale is not None:
            found.setdefault(tensor.name, []).append((tensor.type, [*known.scale], [*known.zeroPoint]))
    return {name: sorted(values) for name, values in found.items()}


def answers(content, samples):
    """The outputs (n, ...) for samples as they are, quantized to the file's inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = Interpreter(model_content=content)
    runner.allocate_tensors()
    inputs = sorted(runner.get_input_details(), key=lambda each: each["name"])
    found = []
    for sample in samples.chunks(1):
        for known, values in zip(inputs, sample.arrays, strict=True):
            scale, zero = known["quantization"]
            steps = np.clip(np.round(values / scale) + zero, -128, 127)
            runner.set_tensor(known["index"], steps.astype(np.int8))
        runner.invoke()
        found.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
    return np.concatenate(found)


def test_both_steps_make_what_the_converter_makes_in_one(model):
    function, keeper, samples = model
    calibrated = calibrate(convert(function, keeper, "float32", None), function, samples)

    found = quantize(calibrated, ranges_of(calibrated), "int8")

    expected = convert(function, keeper, "int8", samples)
    assert quantization(found) == quantization(expected)
    np.testing.assert_array_equal(answers(found, samples), answers(expected, samples))


def test_with_float_operators_the_input_and_the_output_stay_float_and_weights_are_int8(model):
    function, keeper, samples = model
    calibrated = calibrate(convert(function, keeper, "float32", None), function, samples)

    made = quantize(calibrated, ranges_of(calibrated), "int8 with float operators")

    flat = schema.ModelT.InitFromPackedBuf(made, 0)
    graph = flat.subgraphs[0]
    assert {graph.tensors[at].type for at in (*graph.inputs, *graph.outputs)} == {schema.TensorType.FLOAT32}
    weights = [
        each for each in graph.tensors if flat.buffers[each.buffer].data is not None and len(each.shape) > 1
    ]
    assert schema.TensorType.INT8 in {each.type for each in weights}
    assert schema.TensorType.FLOAT32 not in {each.type for each in weights}


def test_indices_are_given_in_the_models_own_dtype():
    function, keeper, _ = concrete(tokens)
    stored = Given((np.random.default_rng(1).integers(0, 20, (SAMPLES, 6)),))
    assert stored.arrays[0].dtype == np.int64

    assert [values.dtype for values in inputs_of(function, stored)] == [np.int32]
    calibrated = calibrate(convert(function, keeper, "float32", None), function, stored)
    assert quantization(quantize(calibrated, ranges_of(calibrated), "int8"))


def test_an_input_has_the_range_of_the_samples(model):
    function, keeper, samples = model
    found = ranges_of(calibrate(convert(function, keeper, "float32", None), function, samples))

    by_name = {each.name: each for each in found}
    for index, values in enumerate(samples.arrays):
        known = by_name[f"serving_default_input_{index}:0"]
        assert (known.low, known.high) == pytest.approx((values.min(), values.max()))


def test_ranges_that_are_set_decide_the_scales(model):
    function, keeper, samples = model
    calibrated = calibrate(convert(function, keeper, "float32", None), function, samples)
    wide = [each._replace(low=2 * each.low, high=2 * each.high) for each in ranges_of(calibrated)]

    assert ranges_of(with_ranges(calibrated, wide)) == wide
    one, other = (
        schema.ModelT.InitFromPackedBuf(quantize(calibrated, found, "int8"), 0).subgraphs[0]
        for found in (ranges_of(calibrated), wide)
    )
    first, second = (graph.tensors[graph.inputs[0]].quantization.scale[0] for graph in (one, other))
    assert second == pytest.approx(2 * first, rel=1e-5)


class TestStage:
    """``find_ranges``, and the conversion with what it found."""

    MODEL = KerasModel(
        inputs=(Port("image", (4, 4, 1)),),
        outputs=(Port("output", (3,), activation="softmax"),),
        tasks=("classification",),
        from_logits=(False,),
        preprocessing=(Transform(reason="declared"),),
    )

    @pytest.fixture
    def given(self, tmp_path, store_dataset):
        """A model, calibration samples and data."""
        data = store_dataset(
            tmp_path / "data", np.random.default_rng(0).random((8, 4, 4, 1), np.float32), np.arange(8) % 3
        )
        samples = CalibrationSet(folder=tmp_path, samples=4)
        np.save(samples.indices, np.arange(4))
        return self.MODEL, samples, data

    def test_the_ranges_of_a_calibrated_file_are_kept_as_a_table(
        self, given, tmp_path, monkeypatch, tiny_tflite
    ):
        expected = [Range(0, 0, "x", -1.0, 2.5), Range(0, 3, "y", 0.0, 6.0)]

        def run(stage, function, model, samples, written, *, timeout_s):
            assert (stage, len(samples), timeout_s) == ("find_ranges", 4, 7.0)
            written.write_bytes(with_ranges(tiny_tflite, expected))

        monkeypatch.setattr(sandbox, "run", run)

        made = find_ranges(*given, timeout_s=7.0, out=tmp_path)

        found = {(each.subgraph, each.tensor): each[3:] for each in read_ranges(made)}
        assert not made.problem
        assert (found[0, 0], found[0, 3]) == ((-1.0, 2.5), (0.0, 6.0))

    @pytest.mark.parametrize("error", [StageTimeoutError, StageKilledError])
    def test_a_process_that_ended_for_another_reason_says_nothing_of_the_model(
        self, given, tmp_path, monkeypatch, error
    ):
        def run(*arguments, timeout_s):
            raise error("find_ranges", "it ended", "try again")

        monkeypatch.setattr(sandbox, "run", run)

        with pytest.raises(error):
            find_ranges(*given, timeout_s=7.0, out=tmp_path)

    def test_a_model_without_ranges_becomes_a_format_that_needs_none(
        self, given, tmp_path, monkeypatch, tiny_tflite
    ):
        asked = []

        def run(stage, function, *arguments, timeout_s):
            if stage == "find_ranges":
                raise StageError(stage, "op FOO is not supported", "replace it")
            asked.append(arguments[2])
            raise StageError(stage, "stopped here", "")

        monkeypatch.setattr(sandbox, "run", run)
        made = replace(find_ranges(*given, timeout_s=7.0, out=tmp_path), folder=tmp_path)

        with pytest.raises(StageError, match="int8: op FOO is not supported; int8 with float operators: op"):
            convert_quantized(*given, made, config=ConvertConfig(), out=tmp_path)
        assert asked == ["float16", "float32"]
