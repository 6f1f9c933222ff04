"""Compression steps: what all of them keep, and what it takes to add one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from halving import HalveConfig, halve

from models.ports import Port
from pipeline.artifacts import KerasModel
from pipeline.compiling import compress_model
from pipeline.compress.steps import COMPRESS, CompressionStep, Notation
from pipeline.errors import ConfigError, StageError
from pipeline.layer_records import LayerRecord
from pipeline.run import Run
from pipeline.settings import make_config, read_toml
from pipeline.store import Store
from pipeline.training.keras_io import open_model, save_model, start_tensorflow

NEEDED = '[model]\npath = "m.keras"\n[data]\nsource = "d.npz"\n'
COMES_FIRST = {"low_rank"}
"""Steps that refuse models with zeros."""
TRAINING = {"epochs": 1, "min_steps": 1, "batch_size": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory, store_dataset):
    labels = np.arange(64) % 2
    inputs = np.random.default_rng(0).normal(size=(64, 128)) + labels[:, None]
    return store_dataset(tmp_path_factory.mktemp("data"), inputs, labels)


@pytest.fixture(scope="module")
def model(tmp_path_factory, prepared_model):
    """Dense layers of 20,480 and 320 weights; half of the second's are zero, as an earlier step left it."""
    start_tensorflow(0)
    import tf_keras

    folder = tmp_path_factory.mktemp("model")
    network = tf_keras.Sequential(
        [
            tf_keras.Input((128,), name="x"),
            tf_keras.layers.Dense(160, "relu", name="large"),
            tf_keras.layers.Dense(2, "softmax", name="sparse"),
        ]
    )
    kernel = network.get_layer("sparse").kernel
    kernel.assign(kernel * (np.arange(320) % 2).reshape(kernel.shape))
    save_model(network, folder / "keras/model")
    return prepared_model(
        folder,
        digest="model",
        inputs=(Port("x", (128,)),),
        outputs=(Port("sparse", (2,), activation="softmax"),),
        layers=(
            LayerRecord(name="large", kind="Dense"),
            LayerRecord(name="sparse", kind="Dense", operations=("given",), weights=320, sparsity=0.5),
        ),
    ).keras


def settings_of(method, **keys):
    """The settings of one step; one that trains does so for two batches."""
    table = {"method": method} | keys
    if "training" in COMPRESS[method].config.model_fields:
        table["training"] = TRAINING
    raw = {"model": {"path": "m"}, "data": {"source": "d"}, "compress": [table]}
    return make_config(raw, "test").compress[0]


def assert_conforms(step, config, model, data, folder):
    """What every step promises: a model of the same form whose records are true and lose no promise."""
    results = []
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        results.append(step.stage(model, model, data, config=config, seed=0, out=folder / name))
    found, again = results

    assert type(found) is KerasModel
    for fact in ("inputs", "outputs", "tasks", "from_logits", "preprocessing"):
        assert getattr(found, fact) == getattr(model, fact)
    network = open_model(found.model)
    names = [layer.name for layer in network.layers if type(layer).__name__ != "InputLayer"]
    assert [layer.name for layer in found.layers if layer.kind != "InputLayer"] == names
    before = {layer.name: layer for layer in model.layers}
    for layer in found.layers:
        kept = before.get(layer.name, layer)
        assert layer.operations[: len(kept.operations)] == kept.operations
        assert layer.sparsity >= kept.sparsity
        assert not kept.clusters or 0 < layer.clusters <= kept.clusters
        if layer.weights:
            kernel = network.get_layer(layer.name).kernel.numpy()
            assert kernel.size == layer.weights
            assert np.mean(kernel == 0) == pytest.approx(layer.sparsity)
            assert not layer.clusters or len(np.unique(kernel)) <= layer.clusters
    for one, two in zip(network.get_weights(), open_model(again.model).get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", COMPRESS)
def test_every_step_keeps_what_earlier_ones_did_and_records_what_is_true(method, model, data, tmp_path):
    if method in COMES_FIRST:
        with pytest.raises(StageError, match="pruned weights"):
            assert_conforms(COMPRESS[method], settings_of(method), model, data, tmp_path / "refused")
        plain = (LayerRecord(name=each.name, kind=each.kind) for each in model.layers)
        model = replace(model, layers=tuple(plain))
    assert_conforms(COMPRESS[method], settings_of(method), model, data, tmp_path)


@pytest.mark.parametrize("method", COMPRESS)
def test_every_step_names_itself_in_its_settings(method):
    assert COMPRESS[method].config().method == method


@pytest.fixture
def halving(monkeypatch):
    monkeypatch.setitem(COMPRESS, "halve", CompressionStep(halve, HalveConfig, Notation("halve", "share")))


@pytest.mark.usefixtures("halving")
def test_a_step_is_added_by_one_function_and_one_entry(model, data, tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text(
        f'{NEEDED}[quantize]\nmethod = "ptq"\n[[compress]]\nmethod = "halve"\n'
        '[[compress]]\nmethod = "halve"\nshare = 0.75\n'
    )
    config = make_config(read_toml(path), str(path))

    assert config.compress == (HalveConfig(), HalveConfig(share=0.75))
    assert config.model_dump()["compress"][1] == {"method": "halve", "share": 0.75}
    run = Run(tmp_path / "build", Store(tmp_path / "store"))
    given, halved, found = compress_model(model, data, config, run)
    assert given == model
    assert halved.layers[0].operations == ("halved",)
    assert [layer.operations for layer in found.layers] == [("halved",) * 2, ("given", "halved", "halved")]
    assert found.zero_weights == 0.75 * 20480 + 0.875 * 320
    assert compress_model(model, data, config, run) == (given, halved, found)
    assert [step["cached"] for step in run.steps] == [False, False, True, True]
    assert_conforms(COMPRESS["halve"], settings_of("halve", share=0.6), model, data, tmp_path)


def test_no_step_leaves_the_model_as_it_was(model, data, tmp_path):
    raw = {"model": {"path": "m"}, "data": {"source": "d"}, "compress": [], "quantize": {"method": "ptq"}}

    run = Run(tmp_path / "build", Store(tmp_path / "store"))
    assert compress_model(model, data, make_config(raw, "test"), run) == (model,)


@pytest.mark.usefixtures("halving")
@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('method = "half"', r"compress\.0\.method: unknown method 'half'; did you mean 'halve'\?"),
        ('method = "weight"', r"unknown method 'weight'; did you mean 'weights'\?"),
        ("sparsity = 0.5", r"compress\.0: it names no method; write e.g. method = 'weights'"),
        ('method = "halve"\nshaer = 1', r"unknown key 'compress\.0\.shaer'; did you mean 'share'\?"),
        ('method = "halve"\nshare = "x"', r"compress\.0\.share: a number is expected"),
        (
            'method = "weights"\ntraining = { epoch = 1 }',
            r"'compress\.0\.training\.epoch'; did you mean 'epo",
        ),
    ],
)
def test_a_wrong_method_or_key_of_a_step_is_named(table, problem, tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text(f"{NEEDED}[[compress]]\n{table}\n")

    with pytest.raises(ConfigError, match=problem):
        make_config(read_toml(path), str(path))
