"""Steps without their trainings leave the shapes and the form of weights that the steps leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import FloatModel
from pipeline.compress.distill import DistillConfig
from pipeline.compress.layers import LayersConfig
from pipeline.costing.predict import cost_table, predict
from pipeline.errors import InputError
from pipeline.flatbuffer import kernels, read_tflite, weight_sparsity
from pipeline.layer_records import LayerRecord
from pipeline.planning.candidates import prepare_shapes, try_recipe
from pipeline.planning.plan import steps_of
from pipeline.planning.step_gains import measure_step
from pipeline.planning.untrained import UNTRAINED
from pipeline.training.keras_io import open_model, save_model, start_tensorflow

pytestmark = pytest.mark.xdist_group("planning")


@pytest.fixture(scope="module")
def model(tmp_path_factory, prepared_model):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="c1")(inputs)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="c2")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    network = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    folder = tmp_path_factory.mktemp("model")
    save_model(network, folder / "keras/model")
    return prepared_model(
        folder,
        inputs=(Port("image", (8, 8, 2)),),
        outputs=(Port("class", (2,), activation="softmax"),),
        layers=tuple(LayerRecord(name=each.name, kind=type(each).__name__) for each in network.layers),
    ).keras


@pytest.fixture(scope="module")
def tried(model, tmp_path_factory):
    """Return what a recipe leaves; each is applied once."""
    found = {}

    def try_once(recipe):
        if recipe not in found:
            out = tmp_path_factory.mktemp("candidate")
            settings = {"compress": [{"method": "weights", "min_weights": 0}]}
            found[recipe] = replace(try_recipe(model, steps=steps_of(recipe, settings), out=out), folder=out)
        return found[recipe]

    return try_once


def instructions(candidate, device="rpi4"):
    return predict(read_tflite(candidate.int8), cost_table(device)).instructions


@pytest.mark.parametrize("offset", [0.0, -1.0])
def test_a_rescaling_of_the_input_costs_no_instruction(offset, model, tried, tmp_path):
    import tf_keras

    network, inputs = open_model(model.model), tf_keras.Input((8, 8, 2), name="pixels")
    scaled = tf_keras.Model(inputs, network(tf_keras.layers.Rescaling(1 / 127.5, offset)(inputs)))
    save_model(scaled, tmp_path / "loaded/model")
    loaded = FloatModel(
        folder=tmp_path / "loaded",
        inputs=(Port("pixels", (8, 8, 2)),),
        outputs=model.outputs,
        from_logits=(False,),
    )

    prepared = replace(prepare_shapes(loaded, out=tmp_path), folder=tmp_path)
    found = replace(try_recipe(prepared, steps=(), out=tmp_path), folder=tmp_path)

    for device in ("rpi4", "rpi5"):
        assert instructions(found, device) <= 1.005 * instructions(tried("qat8"), device)


def test_zeros_shorten_the_download_and_nothing_else(tried):
    plain, pruned = tried("qat8"), tried("weights75-qat8")

    assert pruned.download_bytes < 0.7 * plain.download_bytes
    assert (pruned.size_bytes, pruned.macs) == (plain.size_bytes, plain.macs)
    assert instructions(pruned) == instructions(plain)
    zeros = max(count.fraction for count in weight_sparsity(read_tflite(pruned.int8)).values())
    assert zeros == pytest.approx(0.75, abs=0.01)


def test_fewer_channels_make_every_figure_smaller(tried):
    plain, narrow = tried("qat8"), tried("channels50-qat8")

    assert narrow.macs <= 0.5 * plain.macs
    assert narrow.size_bytes < plain.size_bytes
    assert narrow.download_bytes < plain.download_bytes
    assert instructions(narrow) < 0.7 * instructions(plain)


def test_factors_need_fewer_multiply_accumulates(tried):
    assert tried("rank50-qat8").macs < tried("qat8").macs


@pytest.mark.parametrize(("recipe", "most"), [("cluster4-qat8", 4), ("ternary-qat8", 3)])
def test_weights_share_few_values(tried, recipe, most):
    flat = read_tflite(tried(recipe).float32)
    kernel = max(kernels(flat.subgraphs[0]).values(), key=lambda tensor: tensor.elements)
    channels = flat.constant(kernel).reshape(kernel.shape[0], -1)

    assert max(len(np.unique(channel)) for channel in channels) <= most


def test_without_a_block_fewer_layers_are_left(model):
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="c1")(inputs)
    x = layers.Conv2D(4, 3, activation="relu", name="c2")(x)
    network = tf_keras.Model(inputs, layers.GlobalAveragePooling2D(name="mean")(x))

    short = UNTRAINED["layers"](network, model, LayersConfig(blocks=1))

    assert [layer.name for layer in short.layers] == ["image", "c2", "mean"]


def test_a_narrower_student_needs_fewer_instructions(tried):
    assert instructions(tried("distill50-qat8")) < 0.7 * instructions(tried("qat8"))


def test_a_student_of_another_architecture_is_planned_by_its_own_layers(model, tmp_path):
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="x")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    file = tmp_path / "small.keras"
    tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="y")(x)).save(file)

    found = try_recipe(model, steps=(DistillConfig(into=str(file)),), out=tmp_path)

    assert found.parameters == 4 * (9 * 2 + 1) + 2 * (4 + 1)


def test_an_open_length_is_refused(tmp_path):
    series = Port("series", (None, 3))
    given = FloatModel(folder=tmp_path, inputs=(series,), outputs=(), from_logits=())

    with pytest.raises(InputError, match="'series' has an open length"):
        prepare_shapes(given, out=tmp_path)


def test_what_a_step_bought_is_measured_on_both_models(model, store_dataset, tmp_path):
    labels = np.arange(40) % 2
    data = store_dataset(tmp_path / "data", np.random.default_rng(0).normal(size=(40, 8, 8, 2)), labels)

    gain = measure_step(
        model, model, model, data, step="weights0", devices=("rpi4", "rpi3"), out=tmp_path
    ).gain

    assert list(gain.instructions) == ["rpi4"]  # of the other one no costs are known
    for before, after in (gain.parameters, gain.size_bytes, gain.download_bytes, gain.instructions["rpi4"]):
        assert before == after > 0
    assert gain.score is None or gain.score[0] == gain.score[1]
