"""TFLiteConverter: the same file each time, whatever the addresses in memory are."""

from __future__ import annotations

import pytest
from float_models import calibrated, concrete, float_file, growing_lstm, gru

from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.flatbuffer.edit import ranges_of
from pipeline.quantize.backends.tflite_converter import convert, quantize

TIMES = {"with ranges": 10, "with samples": 2}


def ways(build):
    function, keeper, samples = concrete(build)
    content, ranges = float_file(function, keeper), ranges_of(calibrated(function, keeper, samples))
    return {
        "with ranges": lambda requested: quantize(content, ranges, requested),
        "with samples": lambda requested: convert(function, keeper, requested, samples),
    }


@pytest.mark.parametrize("build", [growing_lstm, gru])
@pytest.mark.parametrize("way", ["with ranges", "with samples"])
def test_an_unrolled_layer_whose_first_step_leaves_an_output_unread_is_integer_each_time(build, way):
    made = [ways(build)[way]("int8") for _ in range(TIMES[way])]

    assert set(made) == {made[0]}
    flat = read_tflite(made[0])
    assert float_operators(flat) == ()
    assert len(flat.outputs) == 1


@pytest.mark.parametrize("way", ["with ranges", "with samples"])
def test_with_float_operators_nothing_is_turned_into_floats_that_no_operator_reads(way):
    flat = read_tflite(ways(growing_lstm)[way]("int8 with float operators"))

    read = {index for operator in flat.operators for index in operator.inputs}
    read |= {output.index for output in flat.outputs}
    turned = [operator for operator in flat.operators if operator.name == "DEQUANTIZE"]
    assert turned
    assert all(set(operator.outputs) <= read for operator in turned)
    assert [output.dtype for output in flat.outputs] == ["float32"]


def test_a_conversion_does_not_trace_the_layers_of_the_model_again(monkeypatch):
    function, keeper, samples = concrete(growing_lstm)
    traced = []
    call = type(keeper.layers[-1]).call
    monkeypatch.setattr(
        type(keeper.layers[-1]), "call", lambda layer, inputs: traced.append(layer) or call(layer, inputs)
    )

    convert(function, keeper, "int8", samples)

    assert traced == []
