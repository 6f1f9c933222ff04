"""The layer that costs most comes first, with what its values lost and what it does to the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.flatbuffer import Tensor, read_tflite
from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.simulation import dequantized
from pipeline.validation.layer_errors import _Sums, grouped, to_db
from pipeline.validation.model_under_test import InputSpec, ModelUnderTest, OutputSpec
from pipeline.validation.sensitivity import Given, affordable, measure_sensitivity, sensitivity_of

VALUES = [np.random.default_rng(0).random((64, 4, 4, 1), np.float32)]
LAYERS = {"conv": "conv", "flat": "flat", "dense": "head", "probabilities": "head"}


def measure(content, folder, exact=None):
    model = read_tflite(content)
    groups = grouped(model, user_layers(model, LAYERS))
    return sensitivity_of(model, exact or {}, groups, Given(VALUES), LAYERS, folder)


def by_layer(found):
    return {row.layer: row for row in found.layers}


@pytest.fixture(scope="module")
def tiny_with(tiny_tflite_with):
    """The tiny model with three different classes, after an edit."""

    def build(edit=lambda model: None):
        def change(model):
            kernel = np.random.default_rng(1).integers(-100, 100, (3, 64)).astype(np.int8)
            model.buffers[4].data = kernel.view(np.uint8).ravel()
            edit(model)

        return tiny_tflite_with(change)

    return build


@pytest.fixture(scope="module")
def sound(tiny_with, tmp_path_factory):
    return measure(tiny_with(), tmp_path_factory.mktemp("sound"))


def test_layers_have_the_names_of_the_users_model_and_are_ranked(sound):
    assert set(by_layer(sound)) == {"image", "conv", "flat", "head"}
    assert by_layer(sound)["head"].operators == ("FULLY_CONNECTED", "SOFTMAX")
    assert sorted(row.place for row in sound.layers) == [0, 1, 2, 3]
    ranks = [row.only_rounded.sqnr_db for row in sound.layers if row.only_rounded.sqnr_db is not None]
    assert ranks == sorted(ranks)
    assert sound.equal > 0.9
    assert sound.largest_steps < 1.01


def test_the_error_of_an_input_is_that_of_the_layer_before(sound):
    layers = by_layer(sound)

    assert layers["flat"].error.input_sqnr_db == layers["conv"].error.output.sqnr_db
    assert layers["conv"].error.input_sqnr_db == layers["image"].error.output.sqnr_db
    assert layers["conv"].error.added_sqnr_db > layers["conv"].error.output.sqnr_db


@pytest.mark.parametrize(("factor", "tensors", "layer"), [(60, [3, 5], "conv"), (1 / 30, [8], "head")])
def test_a_layer_whose_range_is_broken_comes_first(tiny_with, sound, tmp_path, factor, tensors, layer):
    def breaks(model):
        for index in tensors:
            quantization = model.subgraphs[0].tensors[index].quantization
            quantization.scale = np.asarray(quantization.scale) * np.float32(factor)

    found = measure(tiny_with(breaks), tmp_path)

    broken = found.layers[0]
    assert broken.layer == layer
    assert broken.only_rounded.sqnr_db < by_layer(sound)[layer].only_rounded.sqnr_db - 10
    assert broken.only_float.sqnr_db > found.int8.sqnr_db + 10
    assert broken.error.added_sqnr_db < by_layer(sound)[layer].error.added_sqnr_db - 10


def test_a_layer_with_wrong_weights_comes_first_if_the_float_weights_are_known(tiny_with, tmp_path):
    content = tiny_with()
    model = read_tflite(content)
    exact = {index: dequantized(model, model.tensors[index]) for index in (1, 2, 6, 7)}
    exact[6] = exact[6][:, ::-1] * 3

    found = measure(content, tmp_path, exact)

    assert found.layers[0].layer == "head"
    assert found.float_weights == 4


def test_saturation_counts_both_ends_but_one_that_is_zero():
    tensor = Tensor(0, "relu", (1, 4), (1, 4), "int8", (0.1,), (-128,))
    sums = _Sums(tensor)

    sums.add(np.array([[0, 1, 25, 30]], np.float32), np.array([[-128, -118, 122, 127]], np.int8))

    assert sums.error().saturated == 0.25
    assert (sums.low, sums.high) == (0, 30)


def test_the_metric_is_that_of_the_task(tiny_tflite, tmp_path, store_dataset):
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    model = ModelUnderTest.open(tmp_path / "tiny.tflite")
    data = store_dataset(tmp_path, VALUES[0], np.arange(64) % 3, test=64)

    found = measure_sensitivity(
        model.source, data, inputs=InputSpec.of((Transform(),), 0, 0),
        outputs=OutputSpec(("classification",), ("",), (False,), ("a", "b", "c")),
        layers={}, samples=16, out=tmp_path,
    )  # fmt: skip

    assert found.samples == 16
    assert {metric.name for row in found.layers for metric in row.only_rounded.metrics} == {"top-1"}
    assert found.int8.metrics[0].baseline == found.layers[0].only_rounded.metrics[0].baseline


def test_fewer_samples_are_taken_of_a_large_model(tiny_tflite, monkeypatch):
    model = read_tflite(tiny_tflite)

    assert affordable(model, 4) == 512
    monkeypatch.setattr("pipeline.validation.sensitivity.MAX_MACS", 1_000_000)
    assert 32 < affordable(model, 4) < 512


@pytest.mark.parametrize(("signal", "noise", "db"), [(100, 1, 20), (1, 0, None), (0, 1, -100), (0, 0, None)])
def test_decibels(signal, noise, db):
    assert to_db(signal, noise) == db
