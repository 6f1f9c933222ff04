"""Quantization methods and converters: what every entry of their tables keeps to."""

from __future__ import annotations

import inspect

import pytest

from pipeline.quantize.backends import BACKENDS
from pipeline.quantize.methods import QUANTIZE

CONVERSION = ["model", "samples", "data", "config", "out"]
TRAINING = ["model", "teacher", "data", "config", "seed", "out"]


@pytest.mark.parametrize("method", QUANTIZE)
def test_every_method_names_itself_in_its_settings_and_has_the_stages_that_a_build_calls(method):
    row = QUANTIZE[method]

    assert row.config().method == method
    assert list(inspect.signature(row.convert).parameters) == CONVERSION
    if row.train is not None:
        assert list(inspect.signature(row.train).parameters) == TRAINING


def test_only_quantization_aware_training_trains():
    assert [name for name, row in QUANTIZE.items() if row.train is not None] == ["qat"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_converter_takes_a_function_a_format_and_samples(backend):
    taken = list(inspect.signature(BACKENDS[backend]).parameters)

    assert taken == ["function", "keeper", "wanted", "samples"]
