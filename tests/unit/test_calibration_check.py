"""The stage that checks the ranges of tensors, on a small float model in the real runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from float_models import concrete, float_file, growing_lstm

from calibration.tensor_checks import tensor_checks
from pipeline import calibration_check
from pipeline.artifacts import CalibrationSet, Ranges, Transform
from pipeline.calibration_check import (
    _observed,
    check_ranges,
    other_ranges,
    tensor_names,
    write_extremes,
)
from pipeline.errors import StageError, StageTimeoutError
from pipeline.flatbuffer import read_tflite
from pipeline.isolation import sandbox
from pipeline.quantize.activations import statistics
from pipeline.quantize.ranges import write_files
from pipeline.quantize.shared_scales import ranges_from

RNG = np.random.default_rng(0)
SAMPLES, CHOSEN = 40, 16


def with_float_values(model):
    """Let all activations and weights be float32."""
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        if tensor.name == "shape":
            continue
        if tensor.buffer:
            count = int(np.prod(tensor.shape))
            values = np.linspace(-1, 1, count, dtype=np.float32)
            model.buffers[tensor.buffer].data = values.view(np.uint8)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    for code in model.operatorCodes:
        code.version = 1


@pytest.fixture(scope="module")
def float_tflite(tiny_tflite_with):
    return tiny_tflite_with(with_float_values)


@pytest.fixture
def check(tmp_path, store_dataset, prepared_model, float_tflite, monkeypatch):
    """Run the stage on images, in this process, with min-max ranges of all tensors."""

    def run(images, problem=""):
        data = store_dataset(tmp_path / "data", images, np.arange(len(images)) % 3)
        prepared = prepared_model(tmp_path / "prepared", preprocessing=(Transform(reason="given"),))
        samples = CalibrationSet(folder=tmp_path, samples=CHOSEN)
        np.save(samples.indices, np.arange(CHOSEN)[::-1])
        ranges = Ranges(folder=tmp_path, problem=problem)
        ranges.tflite.write_bytes(float_tflite)
        computed = [tensor for tensor in read_tflite(float_tflite).tensors if not tensor.is_constant]
        table = [
            {"subgraph": 0, "tensor": each.index, "name": each.name, "low": -9.0, "high": 9.0}
            for each in computed
        ]
        ranges.table.write_text(json.dumps({"method": "min-max", "ranges": table}))
        return check_ranges(ranges, samples, data, prepared, seed=0, timeout_s=60.0, out=tmp_path)

    monkeypatch.setattr(sandbox, "run", lambda stage, function, *given, timeout_s: function(*given))
    return run


def images():
    return RNG.random((SAMPLES, 4, 4, 1)).astype(np.float32)


def test_every_tensor_is_checked_by_the_name_of_its_layer(check):
    found = check(images()).found

    # The convolution's output is only reshaped, so both have one range.
    assert [tensor.name for tensor in found.tensors] == ["input", "conv (+1)", "dense", "probabilities"]
    assert {(tensor.low, tensor.high) for tensor in found.tensors} == {(-9, 9)}
    assert [point.samples for point in found.curve] == [8, 16, 32, 40]


def test_an_outlier_is_found_by_its_row_in_every_tensor_that_it_reaches(check):
    samples = images()
    samples[3] *= 1000
    found = check(samples).found

    image = next(tensor for tensor in found.tensors if tensor.name == "input")
    assert image.row == 3
    # The range is the table's, -9 to 9, which clips this outlier.
    assert image.influence == pytest.approx(1 - np.delete(samples[:CHOSEN], 3, axis=0).max() / 18, abs=1e-4)


def test_values_that_are_not_finite_are_reported_by_tensor(check):
    samples = images()
    samples[2, 1, 1] = np.inf
    found = check(samples).found

    assert "input" in found.not_finite
    assert all(np.isfinite([tensor.error_db, tensor.used]).all() for tensor in found.tensors)


@pytest.fixture(scope="module")
def lstm():
    """An unrolled LSTM that adds up its inputs, so that each step has larger states than the one before."""
    function, keeper, samples = concrete(growing_lstm)
    content = float_file(function, keeper)
    return content, samples


def test_the_steps_of_an_unrolled_lstm_are_judged_as_one_and_raise_no_alarm(lstm, tmp_path, monkeypatch):
    content, samples = lstm
    ranges = Ranges(folder=tmp_path)
    ranges.tflite.write_bytes(content)
    found = ranges_from(content, statistics(content, samples), "min-max", 100.0)
    write_files(ranges, content, found, {"method": "min-max"})
    write_extremes(ranges.tflite, samples, tmp_path / "extremes.npz")

    def judged():
        flat = read_tflite(content)
        observed = _observed(tmp_path / "extremes.npz", tensor_names(flat, ["series"]), ranges, flat)
        checks = tensor_checks(observed, np.arange(len(samples)), len(samples), 0)
        found = checks.findings(len(samples), len(samples), "")
        return checks.tensors, {(each.check, each.outcome) for each in found}

    together, outcomes = judged()
    assert ("resolution", "warning") not in outcomes
    assert ("outliers", "failed") not in outcomes
    assert any(each.name.endswith("(+6)") for each in together)

    monkeypatch.setattr(calibration_check, "scale_groups", lambda flat, tensors: {at: at for at in tensors})
    apart, outcomes = judged()
    assert len(apart) > 2 * len(together)
    assert {("resolution", "warning"), ("outliers", "failed")} <= outcomes


@pytest.mark.parametrize(
    ("method", "described", "fix"),
    [
        ("min-max", {"method": "min-max"}, 'set [calibration] ranges to "auto"'),
        ("auto", {"method": "mse", "errors": {"mse": 0.1}}, ""),
        ("auto", {"method": "min-max"}, 'set [calibration] ranges to "percentile" or "mse"'),
    ],
)
def test_the_way_to_choose_ranges_that_is_advised_is_never_the_one_that_is_set(
    method, described, fix, tmp_path
):
    ranges = Ranges(folder=tmp_path)
    write_files(ranges, b"", [], described)

    assert other_ranges(method, ranges) == fix


def test_a_model_without_ranges_or_that_does_not_run_says_why(check, monkeypatch):
    assert check(images(), problem="op FOO").problem == "there are no ranges: op FOO"

    def fail(stage, *_, timeout_s):
        raise StageError(stage, "no kernel", "")

    monkeypatch.setattr(sandbox, "run", fail)
    found = check(images())
    assert (found.found, found.problem) == (None, "the float model does not run: no kernel")


def test_a_time_out_says_nothing_of_the_model(check, monkeypatch):
    def fail(stage, *_, timeout_s):
        raise StageTimeoutError(stage, "60 s", "")

    monkeypatch.setattr(sandbox, "run", fail)
    with pytest.raises(StageTimeoutError):
        check(images())


def test_tensors_have_the_names_of_layers_and_operators_that_share_one_a_number(float_tflite):
    names = tensor_names(read_tflite(float_tflite), ["photo"])
    assert names[0] == "photo"
    assert len(set(names.values())) == len(names) == 5
