"""``pipeline validate`` on a finished release: the same file gets the same figures as in its build."""

from __future__ import annotations

import json

import pytest

from pipeline.flatbuffer import read_tflite, weight_sparsity

pytestmark = pytest.mark.xdist_group("tiny build")


@pytest.fixture
def files(built):
    return next(built.release.glob("*.tflite")), next(built.out.glob("store/convert_float-*/float.tflite"))


def test_with_data_and_baseline_it_says_what_the_build_said(files, built, tiny, pipeline):
    quantized, baseline = files
    ended = pipeline(
        "validate",
        quantized,
        "--baseline",
        baseline,
        "--data",
        tiny / "data.npz",
        "--scale",
        1 / 255,
        "--json",
    )
    found, expected = json.loads(ended.out), built.result["report"]

    assert ended.code == 0
    assert ended.said == ["task: classification (4 softmax outputs, integer labels 0 to 3)"]
    assert found["quantized"] == expected["quantized"]
    assert found["accuracy"] == expected["accuracy"]
    assert [d["differing_samples"] for d in found["devices"]] == [
        d["differing_samples"] for d in expected["devices"]
    ]
    assert {v["gate"] for v in found["verdicts"]} == {v["gate"] for v in expected["verdicts"]}


def test_without_data_a_person_reads_a_table_of_everything_but_accuracy(files, pipeline, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    ended = pipeline("validate", files[0], "--full")

    assert ended.code == 0
    assert ended.said == []
    for words in ("Gates", "skipped", "Nodes and where they run", "CONV_2D", "xnnpack-int8", "cortex-a76"):
        assert words in ended.out


def test_the_released_model_is_as_sparse_as_asked(files):
    kernels = weight_sparsity(read_tflite(files[0])).values()
    pruned = [count for count in kernels if count.total >= 2000]
    zeros, total = (sum(getattr(count, of) for count in pruned) for of in ("zeros", "total"))

    assert len(pruned) == 2
    assert zeros / total == pytest.approx(0.5, abs=0.002)


MEASUREMENTS = ("run_golden_set", "infer_test_set", "evaluate", "run_on_device", "soak_model", "time_model")


def measured(built):
    """The measurements in the store of the build."""
    entries = (folder.name for folder in (built.out / "store").iterdir())
    return sorted(name for name in entries if name.partition("-")[0] in MEASUREMENTS)


def test_what_the_build_measured_is_not_measured_again(files, built, tiny, pipeline):
    before = measured(built)
    ended = pipeline(
        "validate",
        files[0],
        "--baseline",
        files[1],
        "--config",
        tiny / "pipeline.toml",
        "--data",
        tiny / "data.npz",
        "--store",
        built.out / "store",
        "--json",
    )

    assert ended.code == 0, ended.err
    assert {name.partition("-")[0] for name in before} == set(MEASUREMENTS)
    assert measured(built) == before
    assert json.loads(ended.out)["times"] == built.result["report"]["times"]


def test_the_layers_of_a_build_are_ranked_by_their_names_in_the_keras_model(built, start):
    process = start("debug", built.record, "--samples", 64, "--json", cwd=built.out)
    stdout, stderr = process.communicate(timeout=900)

    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    layers = {row["layer"]: row["merged"] for row in found["layers"]}
    assert set(layers) == {"input_layer", "conv2d", "conv2d_1", "flatten", "dense"}
    assert layers["conv2d_1"] == ["batch_normalization", "re_lu"]
    assert found["float_weights"] >= 3
    assert found["equal"] > 0.98
