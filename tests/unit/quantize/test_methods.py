"""Quantization methods and converters: what every entry of their tables keeps to."""

from __future__ import annotations

import inspect

import pytest

from pipeline.quantize.backends import BACKENDS
from pipeline.quantize.methods import MAX_STEPS, QUANTIZE

GIVEN = ["model", "samples", "data"]
TRAINING = ["model", "teacher", "data", "config", "seed", "out"]


@pytest.mark.parametrize("method", QUANTIZE)
def test_every_method_names_itself_in_its_settings_and_has_the_stages_that_a_build_calls(method):
    row = QUANTIZE[method]

    assert row.config().method == method
    ranges = [] if row.calibrate is None else ["ranges"]
    taken = inspect.signature(row.convert).parameters.values()
    assert [each.name for each in taken if each.default is each.empty] == [*GIVEN, "config", "out"]
    assert [each.name for each in taken][: len([*GIVEN, *ranges])] == [*GIVEN, *ranges]
    if row.calibrate is not None:
        assert list(inspect.signature(row.calibrate).parameters) == [*GIVEN, "config", "timeout_s", "out"]
    assert (row.repair is None) == (row.calibrate is None)
    if row.repair is not None:
        settings = ["repairs", "config", "backend", "timeout_s", "out"]
        assert list(inspect.signature(row.repair).parameters) == [*GIVEN, "ranges", *settings]
    if row.train is not None:
        assert list(inspect.signature(row.train).parameters) == TRAINING


def test_only_quantization_aware_training_trains():
    assert [name for name, row in QUANTIZE.items() if row.train is not None] == ["auto", "qat"]


def test_only_post_training_quantization_takes_ranges_of_samples():
    assert [name for name, row in QUANTIZE.items() if row.calibrate is not None] == ["ptq"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_converter_takes_a_function_or_a_float_file_with_ranges(backend):
    row = BACKENDS[backend]

    assert list(inspect.signature(row.convert).parameters) == ["function", "keeper", "requested", "samples"]
    assert list(inspect.signature(row.quantize).parameters) == ["content", "ranges", "requested"]


def test_auto_alone_leaves_out_the_training_of_long_unrolled_models(prepared_model, tmp_path):
    models = [
        prepared_model(tmp_path, unrolled=("lstm",) * bool(steps), unrolled_steps=steps)
        for steps in (0, MAX_STEPS, MAX_STEPS + 1)
    ]

    assert [bool(QUANTIZE["auto"].skips_training(model)) for model in models] == [False, False, True]
    assert not any(QUANTIZE[name].skips_training(models[-1]) for name in QUANTIZE if name != "auto")
    assert "lstm: 49 unrolled steps" in QUANTIZE["auto"].skips_training(models[-1])
    assert "--method qat insists" in QUANTIZE["auto"].skips_training(models[-1])
