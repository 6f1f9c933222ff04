"""litert-quantizer as a converter: the same int8 files as TFLiteConverter's from the same ranges."""

from __future__ import annotations

import re

import numpy as np
import pytest
from float_graphs import Arrays
from float_models import concrete, depthwise, float_file, growing_lstm, leaky, residual, unrolled

from pipeline.errors import StageError
from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.flatbuffer.edit import pack, with_unique_names
from pipeline.flatbuffer.schema import schema
from pipeline.quantize.activations import run_file, statistics
from pipeline.quantize.backends import BACKENDS, litert_quantizer, tflite_converter
from pipeline.quantize.backends.litert_quantizer import quantize
from pipeline.quantize.shared_scales import ranges_from

STEPS = 1
"""How far int8 outputs of both converters may be apart."""


def given(build):
    """A float file, the min-max ranges of its activations, and samples."""
    function, keeper, samples = concrete(build)
    content = float_file(function, keeper)
    return content, ranges_from(content, statistics(content, samples), "min-max", 100.0), samples


def int8_tensors(flat, operator):
    """Activations and weights; a bias is int32, and missing where it is 0."""
    read = [flat.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return [each for each in read if each.dtype == "int8"]


def kernels(flat):
    return [each for each in flat.tensors if each.is_constant and each.dtype == "int8"]


@pytest.mark.parametrize("build", [residual, depthwise, unrolled, growing_lstm])
def test_with_the_same_ranges_both_converters_make_the_same_model(build):
    content, ranges, samples = given(build)

    ours, theirs = quantize(content, ranges, "int8"), tflite_converter.quantize(content, ranges, "int8")

    one, other = read_tflite(ours), read_tflite(theirs)
    assert [each.name for each in one.operators] == [each.name for each in other.operators]
    for operator, expected in zip(one.operators, other.operators, strict=True):
        found, wanted = int8_tensors(one, operator), int8_tensors(other, expected)
        assert len(found) == len(wanted) > 1, operator
        for mine, their in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine.scales, their.scales, rtol=1e-6, err_msg=mine.name)
            assert set(mine.zero_points) == set(their.zero_points), mine.name
    for answer, reference, output in zip(
        run_file(ours, samples), run_file(theirs, samples), one.outputs, strict=True
    ):
        assert len(np.unique(reference)) > 3
        assert np.abs(answer - reference).max() <= (STEPS + 0.01) * output.scales[0]


@pytest.mark.parametrize("build", [residual, depthwise])
def test_the_file_is_integer_throughout_with_a_scale_for_each_channel_of_weights(build):
    content, ranges, _ = given(build)

    flat = read_tflite(quantize(content, ranges, "int8"))

    assert float_operators(flat) == ()
    assert {each.dtype for each in (*flat.inputs, *flat.outputs)} == {"int8"}
    assert kernels(flat)
    for each in kernels(flat):
        assert len(each.scales) == max(each.shape[0], each.shape[-1] if each.shape[0] == 1 else 0), each.name


def test_the_ranges_decide_the_scales():
    content, ranges, _ = given(depthwise)
    wide = [each._replace(low=2 * each.low, high=2 * each.high) for each in ranges]

    one, other = (read_tflite(quantize(content, found, "int8")).inputs[0] for found in (ranges, wide))

    assert other.scales[0] == pytest.approx(2 * one.scales[0], rel=1e-5)


def test_an_operator_that_it_cannot_quantize_is_named_with_the_converter_to_use_instead():
    content, ranges, _ = given(leaky)

    with pytest.raises(StageError) as error:
        quantize(content, ranges, "int8")

    assert re.fullmatch(
        r"litert-quantizer leaves in float: LEAKY_RELU \(model\w*/leaky/LeakyRelu\); "
        r'set \[convert\] backend = "tflite-converter"',
        error.value.cause,
    )


def test_with_float_operators_that_operator_stays_float_between_float_ports():
    content, ranges, samples = given(leaky)

    made = quantize(content, ranges, "int8 with float operators")

    flat = read_tflite(made)
    assert {each.dtype for each in (*flat.inputs, *flat.outputs)} == {"float32"}
    assert {each.dtype for each in flat.tensors if each.is_constant and len(each.shape) > 1} == {"int8"}
    [found], [expected] = run_file(made, samples), run_file(content, samples)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_a_tensor_without_a_range_is_an_error_that_names_the_converter_to_use_instead():
    content, ranges, _ = given(residual)

    with pytest.raises(StageError, match=r"cannot quantize this model: .*backend = \"tflite-converter\""):
        quantize(content, ranges[1:], "int8")


def test_a_file_whose_tensors_share_a_name_is_quantized_like_any_other():
    content, ranges, samples = given(depthwise)
    flat = schema().ModelT.InitFromPackedBuf(content, 0)
    for tensor in flat.subgraphs[0].tensors:
        tensor.name = b"tensor"

    made = quantize(pack(flat), ranges, "int8")

    np.testing.assert_array_equal(
        run_file(made, samples)[0], run_file(quantize(content, ranges, "int8"), samples)[0]
    )
    named = read_tflite(with_unique_names(pack(flat)))
    assert [each.name for each in named.tensors[:3]] == ["tensor", "tensor#2", "tensor#3"]


def test_float_files_are_those_of_tflite_converter_and_fake_quantization_is_refused():
    function, keeper, samples = concrete(depthwise)
    convert = BACKENDS[litert_quantizer.NAME].convert

    assert convert(function, keeper, "float32", None) == float_file(function, keeper)
    with pytest.raises(StageError, match=r"does not convert fake quantization.* method = \"ptq\""):
        convert(function, keeper, "int8", Arrays(samples.arrays))
