"""The layers of a build are measured with the data and the float weights of that build."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Dataset, PreparedModel, QuantizedModel, Source, Transform
from pipeline.debugging import debug_build
from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.simulation import dequantized, simulate
from pipeline.layer_records import LayerRecord, known_layers
from pipeline.run import Run
from pipeline.store import Store

SAMPLES = np.random.default_rng(0).random((24, 4, 4, 1), np.float32)
RECORDS = (
    LayerRecord(name="conv", kind="Conv2D", made_of="bidirectional"),
    *(LayerRecord(name=name, kind="Dense") for name in ("flat", "dense", "probabilities")),
)
PORTS = {"inputs": (Port("image", (4, 4, 1)),), "outputs": (Port("class", (3,), activation="softmax"),)}
given: dict[str, object] = {}


def load_data(source: Source, *, out) -> Dataset:
    return given["dataset"](out, SAMPLES, np.arange(24) % 3, test=16)


def prepare_model(source: Source, *, out) -> PreparedModel:
    return PreparedModel(
        **PORTS, tasks=("classification",), from_logits=(False,), preprocessing=(Transform(),),
        rewrites=("conv: Conv1D became Conv2D",),
    )  # fmt: skip


def add_metadata(source: Source, *, out) -> QuantizedModel:
    made = QuantizedModel(
        folder=out, size_bytes=1, sha256="", sparsity=0, format="int8", reason="", layers=RECORDS
    )
    shutil.copyfile(source.location, made.tflite)
    model = read_tflite(made.tflite)
    made.original.write_bytes(simulate(model, {6: dequantized(model, model.tensors[6]) * 2}, ()))
    return made


@pytest.fixture
def build(tmp_path, tiny_tflite, store_dataset, analysed, monkeypatch):
    """A folder with the record of a build, and the open store."""
    monkeypatch.setitem(given, "dataset", store_dataset)
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    source = Source(location=str(tmp_path / "tiny.tflite"), digest="aa")
    with Store(tmp_path / "store") as store:
        shutil.copyfile(analysed, store.root / "sources.json")
        run = Run(tmp_path / "build", store)
        for stage in (load_data, prepare_model, add_metadata):
            run.step(stage, source)
        yield run.folder, store


def test_a_build_is_measured_with_its_data_its_float_weights_and_the_names_of_its_layers(build):
    found = debug_build(*build, seed=0, samples=None)

    assert found.name == "build"
    assert found.rewrites == ("conv: Conv1D became Conv2D",)
    assert (found.sensitivity.samples, found.sensitivity.float_weights) == (16, 4)
    assert {row.layer for row in found.sensitivity.layers} >= {"bidirectional", "dense"}
    assert [metric.name for metric in found.sensitivity.int8.metrics] == ["top-1"]


def test_a_build_whose_stages_are_gone_from_the_store_is_refused(build):
    folder, store = build
    with (
        Store(store.root.parent / "other") as empty,
        pytest.raises(InputError, match="no longer; build again"),
    ):
        debug_build(folder, empty, seed=0, samples=None)


def test_a_build_that_ended_early_is_refused(build):
    folder, store = build
    Run(folder, store).step(load_data, Source(location="", digest="bb"))

    with pytest.raises(InputError, match="did not get to add_metadata"):
        debug_build(folder, store, seed=0, samples=None)


def test_a_layer_that_preparation_made_has_the_name_of_the_users_layer():
    assert known_layers(RECORDS)["conv"] == "bidirectional"
    assert known_layers(RECORDS)["dense"] == "dense"
