"""The Python API on real builds: the same results as the commands, and no exit."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

import pipeline

pytestmark = pytest.mark.xdist_group("tiny build")
GATES = ["accuracy", "full integer", "size", "bit-exactness", "finite outputs"]


@pytest.fixture
def store(built):
    """The store of the build by the command, which has its stages."""
    return built.out / "store"


def test_a_build_has_the_digest_and_the_report_of_the_command(tiny, built, store, tmp_path, capsys):
    result = pipeline.build(target="arm64", config=tiny / "pipeline.toml", out=tmp_path, store=store)

    assert result.passed
    assert result.digest == built.result["reproducible_digest"]
    assert result.report.to_dict()["verdicts"] == built.result["report"]["verdicts"]
    assert result.release == tmp_path / "release" / "tiny-1.0-arm64"
    assert (result.report_folder / "report.html").is_file()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].partition(" ")[2].startswith("build: released after")


def test_a_failed_gate_is_a_result_without_a_release(tiny, store, tmp_path):
    limits = {"gates.enabled": ["download"], "gates.download_bytes": 1000}
    result = pipeline.build(
        target="arm64", config=tiny / "pipeline.toml", method="ptq", settings=limits, out=tmp_path,
        store=store, progress=False,
    )  # fmt: skip

    assert (result.passed, result.release, result.digest) == (False, None, None)
    assert result.report.failed_gates == ("download",)
    assert not (tmp_path / "release").exists()
    assert "FAILED" in result._repr_html_()


def test_a_release_is_validated_with_arrays(tiny, built, store, tmp_path):
    with np.load(tiny / "data.npz") as data:
        arrays = dict(data)
    [baseline] = store.glob("convert_float-*/float.tflite")
    result = pipeline.validate(
        built.release, arrays, baseline=baseline, gates=["accuracy", "size"], out=tmp_path / "report",
        store=store, progress=False,
    )  # fmt: skip

    assert result.passed
    scores = result.report.to_dict()["accuracy"][0]["metrics"][0]
    assert scores["quantized"] == built.result["report"]["accuracy"][0]["metrics"][0]["quantized"]
    assert json.loads((tmp_path / "report" / "report.json").read_text())["passed"]


def test_a_model_and_arrays_in_memory_are_built_once(tiny, store, tmp_path):
    import keras

    model = keras.saving.load_model(tiny / "model.keras")
    with np.load(tiny / "data.npz") as data:
        arrays = ((data["x_train"], data["y_train"]), (data["x_test"], data["y_test"]))
    given = {"target": "arm64", "method": "ptq", "name": "memory", "settings": {"gates.enabled": GATES}}
    first, second = (
        pipeline.build(model, arrays, **given, out=tmp_path, store=store, progress=False) for _ in range(2)
    )

    assert first.passed
    assert first.digest == second.digest
    steps = json.loads((tmp_path / "run.json").read_text())["steps"]
    assert [step["stage"] for step in steps if not step["cached"]] == []
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == ["data.npz", "model.keras"]


def test_a_search_runs_inside_an_event_loop_as_in_a_notebook(tiny, store, tmp_path):
    async def cell():
        return pipeline.search(
            target="arm64", config=tiny / "pipeline.toml", trials=2, steps="weights", validate=1,
            settings={"gates.enabled": GATES}, out=tmp_path, store=store, progress=False,
        )  # fmt: skip

    result = asyncio.run(cell())

    assert result.passed
    assert (result.release / "manifest.json").is_file()
    assert result.settings.is_file()
    assert "<table" in result._repr_html_()
