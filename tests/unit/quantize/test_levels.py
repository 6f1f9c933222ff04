"""Levels in a converted file: they are counted, and a file that lost some is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.flatbuffer import read_tflite
from pipeline.layer_records import LayerRecord
from pipeline.quantize.levels import int8_range, require_levels
from pipeline.training.kernels import distinct_values


def kernel_of(flat, name):
    [tensor] = [each for each in flat.tensors if each.name == f"{name}/kernel"]
    return flat.constant(tensor)


@pytest.fixture
def flat(tiny_tflite):
    return read_tflite(tiny_tflite)


def record(flat, name, levels, more=0):
    kernel = kernel_of(flat, name)
    found = distinct_values(kernel.reshape(len(kernel), -1).T)
    return LayerRecord(name=name, kind="Conv2D", levels=levels, distinct=found + more)


def test_distinct_values_are_counted_in_each_column():
    assert distinct_values(np.array([[1, 2, 0.0], [1, 3, -0.0], [1, 2, 5]])) == 1 + 2 + 2


def test_a_file_with_all_levels_is_accepted(flat):
    require_levels(flat, [record(flat, "conv", 8), record(flat, "dense", 2)], "int8")


@pytest.mark.parametrize("more", [-1, 1])
def test_a_lost_or_an_additional_level_is_an_error(flat, more):
    with pytest.raises(StageError, match="the weights of layer 'dense' had"):
        require_levels(flat, [record(flat, "conv", 8), record(flat, "dense", 2, more)], "int8")


def test_a_layer_that_is_not_in_the_file_is_an_error(flat):
    with pytest.raises(StageError, match=r"layer 'absent' had 5 distinct values, .* have 0 after"):
        require_levels(flat, [LayerRecord(name="absent", kind="Dense", levels=3, distinct=5)], "int8")


def test_a_channel_that_a_normalization_makes_zero_may_lose_its_levels(tiny_tflite_with):
    def silence(model):
        kernel = np.array(model.buffers[4].data).reshape(3, 64)
        kernel[1] = 0
        model.buffers[4].data = kernel.ravel()

    whole = record(read_tflite(tiny_tflite_with(lambda model: None)), "dense", 2)

    require_levels(read_tflite(tiny_tflite_with(silence)), [whole], "int8")


def test_the_range_of_an_output_gives_int8_as_many_codes_as_it_has_levels():
    low, high = int8_range(3.0, bits=2)

    assert (low, high) == (-252, 3)
    scale, zero = (high - low) / 255, round(-128 - 255 * low / (high - low))
    codes = np.clip(np.rint(np.array([0, 0.4, 0.6, 2.9, 9]) / scale) + zero, -128, 127)
    assert codes.tolist() == [124, 124, 125, 127, 127]


def test_an_output_is_accepted_with_the_scale_and_zero_point_of_its_levels_only(flat):
    rounded = LayerRecord(name="conv", kind="Conv2D", output_bits=8, output_high=255 * 0.02)
    require_levels(flat, [rounded], "int8")

    coarse = LayerRecord(name="conv", kind="Conv2D", output_bits=4, output_high=15 * 0.02)
    with pytest.raises(StageError, match="the output of layer 'conv' does not have its 16 levels"):
        require_levels(flat, [coarse], "int8")
    require_levels(flat, [coarse], "float32")
