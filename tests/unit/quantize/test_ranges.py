"""Post-training quantization in two steps: ranges on calibration samples, then a file with them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from calibration.ranges import METHODS
from models.ports import Port
from pipeline.artifacts import CalibrationSet, KerasModel, Transform
from pipeline.config import CalibrationConfig
from pipeline.errors import StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Range, ranges_of, with_ranges
from pipeline.isolation import sandbox
from pipeline.quantize import activations, ranges
from pipeline.quantize.activations import observe, run_float, statistics
from pipeline.quantize.backends.tflite_converter import calibrate, convert, inputs_of, quantize
from pipeline.quantize.convert import ConvertConfig, convert_quantized
from pipeline.quantize.ranges import SHARED_SCALE, find_ranges, ranges_from, read_ranges
from pipeline.training.tfmot import tensorflow

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Given:
    """Samples as conversions take them."""

    arrays: tuple[np.ndarray, ...]

    def __len__(self):
        return SAMPLES

    def chunks(self, size):
        return (Given(tuple(each[at : at + size] for each in self.arrays)) for at in range(0, SAMPLES, size))

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


def tiny(layers):
    image = layers.Input((4, 4, 1))
    return image, layers.Dense(3, activation="softmax")(layers.Flatten()(layers.Conv2D(2, 3)(image)))


def two_inputs(layers):
    image, profile = layers.Input((6, 6, 1)), layers.Input((4,))
    joined = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 3)(image)), layers.Dense(3)(profile)])
    return [image, profile], layers.Dense(1)(joined)


def pooled(layers):
    image = layers.Input((8, 8, 2))
    one = layers.MaxPooling2D()(layers.Conv2D(3, 3, padding="same")(image))
    other = layers.AveragePooling2D()(layers.Conv2D(2, 1, activation="relu")(image))
    joined = layers.Concatenate()([one, layers.ZeroPadding2D(((0, 0), (0, 0)))(other)])
    return image, layers.Dense(2)(layers.Flatten()(layers.UpSampling2D()(joined)))


def tokens(layers):
    words = layers.Input((6,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(words))
    return words, layers.Dense(2, activation="softmax")(pooled)


@cache
def float_file(function, keeper):
    return convert(function, keeper, "float32", None)


@cache
def calibrated(function, keeper, samples):
    return calibrate(float_file(function, keeper), function, samples)


@pytest.fixture(params=[residual, unrolled, two_inputs])
def model(request):
    """A model as a concrete function, what keeps it alive, and samples."""
    return concrete(request.param)


@cache
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
    content = calibrated(function, keeper, samples)

    found = quantize(content, ranges_of(content), "int8")

    expected = convert(function, keeper, "int8", samples)
    assert quantization(found) == quantization(expected)
    np.testing.assert_array_equal(answers(found, samples), answers(expected, samples))


def test_with_float_operators_the_input_and_the_output_stay_float_and_weights_are_int8(model):
    function, keeper, samples = model
    content = calibrated(function, keeper, samples)

    made = quantize(content, ranges_of(content), "int8 with float operators")

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
    content = calibrated(function, keeper, stored)
    assert quantization(quantize(content, ranges_of(content), "int8"))


def test_an_input_has_the_range_of_the_samples(model):
    function, keeper, samples = model
    found = ranges_of(calibrated(function, keeper, samples))

    by_name = {each.name: each for each in found}
    for index, values in enumerate(samples.arrays):
        known = by_name[f"serving_default_input_{index}:0"]
        assert (known.low, known.high) == pytest.approx((values.min(), values.max()))


def test_extremes_are_those_of_the_calibrator_which_sees_inputs_of_add_after_they_were_overwritten(model):
    function, keeper, samples = model
    content = float_file(function, keeper)
    flat = read_tflite(content)
    # The Calibrator numbers the tensors in another way.
    expected = sorted(each[2:] for each in ranges_of(calibrated(function, keeper, samples)))

    found = statistics(content, samples)

    seen = sorted((flat.tensors[at].name, each.low, each.high, at) for at, each in found.items())
    overwritten = {operator.inputs[0] for operator in flat.operators if operator.name == "ADD"}
    assert [name for name, *_ in seen] == [name for name, *_ in expected]
    for (_, low, high, tensor), (_, *known) in zip(seen, expected, strict=True):
        if tensor in overwritten:
            assert known[0] <= low + 1e-5
            assert high <= known[1] + 1e-5
        else:
            assert (low, high) == pytest.approx(known, rel=1e-4, abs=1e-5)
    assert {each.samples for each in found.values()} == {SAMPLES}


def test_what_a_relu_returns_is_not_negative_where_it_is_added_in_place():
    function, keeper, samples = concrete(residual)
    content = float_file(function, keeper)
    relu = next(each.index for each in read_tflite(content).tensors if "re_lu" in each.name)

    assert statistics(content, samples)[relu].low == 0.0


def test_activations_come_in_batches_where_they_are_the_same_as_one_by_one(model, monkeypatch):
    function, keeper, samples = model
    content = float_file(function, keeper)
    monkeypatch.setattr(activations, "BATCH", 1)
    alone = list(observe(content, samples))
    monkeypatch.setattr(activations, "BATCH", 6)
    batches = list(observe(content, samples))

    assert [len(next(iter(batch.values()))) for batch in batches] == [6, 6, 4]
    for tensor in alone[0]:
        one, other = (np.concatenate([each[tensor] for each in found]) for found in (alone, batches))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_batches_are_inferred_at_once_although_a_reshape_has_a_batch_of_one():
    function, keeper, samples = concrete(two_inputs)  # it has a Flatten
    runner = activations._Runner(float_file(function, keeper))
    runner.batch = 8

    runner.try_batches([values[:8] for values in samples.arrays])

    assert runner._batched is not None


def test_a_float_file_runs_to_the_outputs_of_the_model(model):
    function, keeper, samples = model

    (found,) = run_float(float_file(function, keeper), samples)

    expected = [np.asarray(function(*each.arrays)) for each in samples.chunks(1)]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_operators_that_share_a_scale_share_a_range(method):
    function, keeper, samples = concrete(pooled)
    content = float_file(function, keeper)
    flat = read_tflite(content)

    found = {each.tensor: each[3:] for each in ranges_from(content, statistics(content, samples), method, 99)}

    for operator in flat.operators:
        if operator.name in SHARED_SCALE:
            (shared,) = {found[at] for at in (*operator.inputs, *operator.outputs) if at in found}
            assert shared[0] <= 0.0 <= shared[1]
    quantized = read_tflite(
        quantize(content, [Range(0, at, "", *ends) for at, ends in found.items()], "int8")
    )
    for operator in quantized.operators:
        tensors = [quantized.tensors[at] for at in (*operator.inputs, *operator.outputs)]
        scales = {each.scales for each in tensors if each.dtype == "int8" and not each.is_constant}
        assert len(scales) == 1 or operator.name not in SHARED_SCALE


def test_an_unrolled_layer_has_one_range_for_the_same_activation_in_all_steps():
    function, keeper, samples = concrete(unrolled)
    content = float_file(function, keeper)
    flat = read_tflite(content)

    found = {
        each.tensor: each[3:] for each in ranges_from(content, statistics(content, samples), "min-max", 99)
    }

    steps = {}
    for operator in flat.operators:
        if operator.name == "FULLY_CONNECTED":
            of_kernel = steps.setdefault(operator.inputs[1], [])
            of_kernel.append((found[operator.inputs[0]], found[operator.outputs[0]]))
    assert sorted(map(len, steps.values())) == [1, 4, 5]  # the last layer, the state, the input
    assert all(len(set(of_kernel)) == 1 for of_kernel in steps.values())


def test_ranges_that_are_set_decide_the_scales(model):
    function, keeper, samples = model
    content = calibrated(function, keeper, samples)
    wide = [each._replace(low=2 * each.low, high=2 * each.high) for each in ranges_of(content)]

    assert ranges_of(with_ranges(content, wide)) == wide
    one, other = (
        schema.ModelT.InitFromPackedBuf(quantize(content, found, "int8"), 0).subgraphs[0]
        for found in (ranges_of(content), wide)
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

    def test_ranges_are_found_on_the_calibration_samples_and_kept_as_a_table(
        self, given, tmp_path, monkeypatch
    ):
        function, keeper, _ = concrete(tiny)
        content, inside = float_file(function, keeper), Range(1, 0, "inside", -1.0, 2.5)

        def run(stage, function, *arguments, timeout_s):
            assert (stage, len(arguments[1]), timeout_s) == ("find_ranges", 4, 7.0)
            function(*arguments)

        monkeypatch.setattr(sandbox, "run", run)
        monkeypatch.setattr(ranges, "float_file", lambda model, samples: (content, [inside]))

        made = find_ranges(*given, config=CalibrationConfig(), timeout_s=7.0, out=tmp_path)

        *found, last = read_ranges(made)
        assert not made.problem
        assert last == inside
        assert made.tflite.read_bytes() == content
        image = np.load(given[2].input(0))[:4]
        assert found[0][3:] == (0.0, image.max())

    @pytest.mark.parametrize("error", [StageTimeoutError, StageKilledError])
    def test_a_process_that_ended_for_another_reason_says_nothing_of_the_model(
        self, given, tmp_path, monkeypatch, error
    ):
        def run(*arguments, timeout_s):
            raise error("find_ranges", "it ended", "try again")

        monkeypatch.setattr(sandbox, "run", run)

        with pytest.raises(error):
            find_ranges(*given, config=CalibrationConfig(), timeout_s=7.0, out=tmp_path)

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
        made = replace(
            find_ranges(*given, config=CalibrationConfig(), timeout_s=7.0, out=tmp_path), folder=tmp_path
        )

        with pytest.raises(StageError, match="int8: op FOO is not supported; int8 with float operators: op"):
            convert_quantized(*given, made, config=ConvertConfig(), out=tmp_path)
        assert asked == ["float16", "float32"]
