"""``pipeline init`` on a model and its data: the file that it writes, and what it refuses to replace.

benchmarks/init.py builds ten pairs with the files that it writes.
"""

from __future__ import annotations

import json
import shutil
import tomllib

import numpy as np
import pytest

from pipeline.setting_help import schema_text

pytestmark = pytest.mark.xdist_group("tiny build")


@pytest.fixture
def folder(tiny, tmp_path, monkeypatch):
    """A folder with a model and data, and no settings."""
    for name in ("model.keras", "data.npz"):
        shutil.copy(tiny / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def init(folder, pipeline, tmp_path_factory):
    """Run the command in the folder, with a store that the tests share."""
    store = tmp_path_factory.getbasetemp() / "init-store"
    return lambda *arguments: pipeline("init", "--store", store, *arguments)


def test_a_model_and_data_become_settings_with_which_a_build_sees_the_same(init, folder, pipeline):
    ended = init()

    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "next: pipeline build --target arm64"
    assert "classification (4 softmax outputs, integer labels 0 to 3)" in ended.out
    written = tomllib.loads((folder / "pipeline.toml").read_text())
    assert written == {
        "project": {"name": "model", "version": "0.1.0"},
        "model": {"path": "model.keras"},
        "data": {"source": "data.npz", "task": "classification"},
        "preprocessing": {"scale": 1 / 255},
    }
    assert (folder / "pipeline.schema.json").read_text() == schema_text()
    assert (folder / "pipeline.toml").stat().st_mode & 0o044  # not as private as a temporary file

    shown = json.loads(pipeline("config", "show", "--json", "--changed").out)
    assert {each["from"] for each in shown.values()} == {"pipeline.toml"}

    again = init("--force", "--json", "--set", f"preprocessing.scale={1 / 255!r}", "--task", "classification")
    assert json.loads(again.out)["settings"] == written
    assert again.err.count("cached") == 8  # no stage ran again

    refused = init()
    assert refused.code == 2
    assert refused.said[-1] == (
        "pipeline: pipeline.toml exists already; keep it with --out FILE, or replace it with --force"
    )


def test_labels_in_another_order_are_put_in_the_models_order(init, folder):
    with np.load("data.npz") as arrays:
        parts = dict(arrays)
    names = np.array(["paper", "rock", "scissors", "well"])
    order = np.array([1, 0, 2, 3])  # the model's first class is "rock"
    parts |= {key: names[order[parts[key]]] for key in ("y_train", "y_test")}
    np.savez("data.npz", **parts)

    ended = init()

    assert ended.code == 0, ended.err
    data = tomllib.loads((folder / "pipeline.toml").read_text())["data"]
    assert data["labels"] == ["rock", "paper", "scissors", "well"]
    assert (
        "# the labels are in another order than the model's classes" in (folder / "pipeline.toml").read_text()
    )


def test_settings_that_a_build_would_stop_with_are_written_with_the_problem(init, folder):
    with np.load("data.npz") as arrays:
        parts = dict(arrays)
    rng = np.random.default_rng(0)
    np.savez("data.npz", **parts | {key: rng.permutation(parts[key]) for key in ("y_train", "y_test")})

    ended = init()

    assert ended.code == 3
    assert ended.said[-1].startswith("pipeline: pipeline.toml is written, but a build with it stops: ")
    assert "# PROBLEM: a build stops, because " in (folder / "pipeline.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("zoo:resnet8",), 2, "zoo:resnet8 comes with its settings; build it: pipeline build --target arm64"),
        (("--out", "missing/pipeline.toml"), 2, "missing: no such folder; create it"),
        (("--name", "my model"), 2, "--name: 'my model' contains a space"),
        (("--target", "arm65"), 2, "did you mean"),
        (("--set", "gates.size=1"), 2, "--set gates.size=1: unknown key 'gates.size'"),
        (("none.keras", "data.npz"), 3, "none.keras: no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(init, folder, arguments, code, said):
    ended = init(*arguments)

    assert (ended.code, said in ended.said[-1]) == (code, True), ended.err
    assert not (folder / "pipeline.toml").exists()


def test_settings_of_pyproject_are_not_hidden_by_new_ones(init, folder):
    (folder / "pyproject.toml").write_text('[tool.pipeline]\nmodel.path = "m"\ndata.source = "d"\n')

    ended = init()

    assert ended.code == 2
    assert "pyproject.toml has settings in [tool.pipeline]" in ended.said[-1]


def test_a_schema_of_another_program_is_not_replaced(init, folder):
    (folder / "pipeline.schema.json").write_text('{"title": "Mine"}')

    ended = init()

    assert ended.code == 2
    assert "pipeline.schema.json exists and is not the schema of these settings" in ended.said[-1]
    assert not (folder / "pipeline.toml").exists()
