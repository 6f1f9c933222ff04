"""Post-training quantization in two steps: ranges on calibration samples, then a file with them."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from float_graphs import Arrays, FloatGraph, quantized
from float_models import (
    SAMPLES,
    Given,
    calibrated,
    concrete,
    float_file,
    residual,
    tiny,
    tokens,
    two_inputs,
    unrolled,
)

from calibration.ranges import METHODS
from models.ports import Port
from pipeline.artifacts import CalibrationSet, KerasModel, Transform
from pipeline.config import CalibrationConfig
from pipeline.errors import StageCrashedError, StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Range, ranges_of, with_ranges
from pipeline.isolation import sandbox
from pipeline.quantize import ranges
from pipeline.quantize.activations import observed_tensors
from pipeline.quantize.backends.tflite_converter import convert, inputs_of, quantize
from pipeline.quantize.convert import ConvertConfig, convert_quantized
from pipeline.quantize.ranges import find_ranges, read_ranges

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")


@pytest.fixture(params=[residual, unrolled, two_inputs])
def model(request):
    """A model as a concrete function, what keeps it alive, and samples."""
    return concrete(request.param)


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

        made = find_ranges(*given, config=CalibrationConfig(ranges="min-max"), timeout_s=7.0, out=tmp_path)

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

    def test_the_methods_are_compared_by_default_and_the_errors_kept(self, given, tmp_path, monkeypatch):
        function, keeper, _ = concrete(tiny)
        content = float_file(function, keeper)
        monkeypatch.setattr(sandbox, "run", lambda stage, task, *given, timeout_s: task(*given))
        monkeypatch.setattr(ranges, "float_file", lambda model, samples: (content, []))

        made = find_ranges(*given, config=CalibrationConfig(), timeout_s=7.0, out=tmp_path)

        stored = json.loads(made.table.read_text())
        assert set(stored["errors"]) == set(METHODS)
        assert made.findings[0].startswith(f"ranges: {stored['method']}")
        assert len(read_ranges(made)) == len(stored["ranges"])

    @pytest.mark.parametrize(
        "error", [RuntimeError("no kernel"), StageCrashedError("find_ranges", "no kernel", "")]
    )
    def test_where_the_methods_cannot_be_compared_ranges_are_those_of_all_values(
        self, given, tmp_path, monkeypatch, error
    ):
        def fail(*given):
            raise error

        function, keeper, _ = concrete(tiny)
        monkeypatch.setattr(sandbox, "run", lambda stage, task, *given, timeout_s: task(*given))
        monkeypatch.setattr(ranges, "best_ranges", fail)
        monkeypatch.setattr(ranges, "float_file", lambda model, samples: (float_file(function, keeper), []))

        made = find_ranges(*given, config=CalibrationConfig(), timeout_s=7.0, out=tmp_path)

        assert "no kernel" in made.findings[0]
        assert json.loads(made.table.read_text())["method"] == "min-max"
        assert read_ranges(made)[0].high == np.load(given[2].input(0))[:4].max()

    def test_compared_ranges_are_of_the_tensors_of_a_file_with_equal_constants(self, monkeypatch):
        rng = np.random.default_rng(0)
        graph = FloatGraph()
        hidden = graph.dense(graph.input(4), rng.normal(size=(4, 4)), np.zeros(4))
        content = graph.file(graph.dense(hidden, rng.normal(size=(4, 4)), np.zeros(4)))
        monkeypatch.setattr(ranges.tflite_converter, "quantize", quantized)
        samples = Arrays((rng.normal(size=(40, 4)).astype(np.float32),))

        found, described = ranges.choose_ranges(content, [], samples, CalibrationConfig())

        flat = read_tflite(content)
        assert described["errors"].keys() == METHODS.keys()
        assert {each.tensor for each in found} == set(observed_tensors(flat))
        assert all(each.name == flat.tensors[each.tensor].name for each in found)

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
