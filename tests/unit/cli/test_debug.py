"""``pipeline debug``: tables, JSON and a page of the layers, and how it refuses what has none."""

from __future__ import annotations

import json

import pytest

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.simulation import simulate


@pytest.fixture
def tiny(tiny_tflite, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return path


def test_the_layers_of_a_release_are_measured_on_its_golden_samples(pipeline, signed_release, tmp_path):
    release, out = signed_release(), tmp_path / "out"

    ended = pipeline("debug", release, "--out", out)

    assert ended.code == 0, ended.err
    assert "on 4 samples" in ended.out
    assert "float weights are unknown" in ended.out
    written = json.loads((out / "sensitivity.json").read_text())
    assert {row["layer"] for row in written["layers"]} == {"image", "conv", "flat", "dense", "probabilities"}
    assert "<svg" in (out / "sensitivity.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "m.keras"], 2, "--model does not apply to"),
        (["--trust-model"], 2, "--trust-model does not apply to"),
        ([], 3, "there are no samples to run it on; give --data"),
        (["--baseline", "missing.tflite"], 3, "missing.tflite: no such file"),
    ],
)
def test_what_does_not_fit_a_file_is_refused(pipeline, tiny, arguments, code, message):
    ended = pipeline("debug", tiny, *arguments)

    assert (ended.code, message in ended.message) == (code, True), ended.err


def test_a_float_file_is_refused(pipeline, tiny):
    tiny.write_bytes(simulate(read_tflite(tiny), {}, ()))

    ended = pipeline("debug", tiny, "--json")

    assert ended.code == 3
    assert "it has no quantized activations" in ended.message


def test_a_folder_without_a_build_or_a_release_is_refused(pipeline, tmp_path):
    ended = pipeline("debug", tmp_path)

    assert ended.code == 3
    assert "is not a release" in ended.message


def test_a_baseline_is_not_for_builds(pipeline, tiny):
    ended = pipeline("debug", "--baseline", tiny)

    assert ended.code == 2
    assert "--baseline is for .tflite files and releases" in ended.message


def test_a_damaged_record_of_a_build_is_refused(pipeline, tmp_path):
    (tmp_path / "run.json").write_text("{}")

    ended = pipeline("debug", tmp_path)

    assert ended.code == 3
    assert "no readable run.json" in ended.message
