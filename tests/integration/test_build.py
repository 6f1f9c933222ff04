"""The embedded default, trained for half as many steps as --fast has, and what its release promises.

benchmarks/build.py builds it whole.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from calibration.sampling import sample_hashes
from pipeline.content import file_sha256
from pipeline.flatbuffer import float_operators, integer_io, read_tflite
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.settings import zoo_settings
from pipeline.validation.report import read_report

pytestmark = pytest.mark.xdist_group("default build")

NAME = "fashion-resnet8-1.0.0-arm64"


SHORT = (
    "--fast",
    *("--set", "compress.0.training.min_steps=1"),
    *("--set", "quantize.training.min_steps=1"),
    *("--set", "validate.operators=false"),
)


@pytest.fixture(scope="module")
def default(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    return build(folder / "out", *SHORT, cwd=folder)


@pytest.fixture(scope="module")
def metadata(default):
    return json.loads((default.release / "manifest.json").read_text())


def test_the_release_holds_all_that_a_board_an_app_or_an_auditor_needs(default):
    assert default.release == default.out / "release" / NAME
    assert sorted(path.name for path in default.release.iterdir()) == [
        "MODEL_CARD.md",
        "README.md",
        "SHA256SUMS",
        "android",
        "asking.py",
        "baseline.json",
        "bom.cdx.json",
        "c",
        "calibration.json",
        "decoding.py",
        f"{NAME}.tflite",
        f"{NAME}.tflite.zst",
        "fashion-resnet8.service",
        "golden_input_0.npy",
        "golden_output_0.npy",
        "labels.txt",
        "manifest.json",
        "observe.py",
        "predict.py",
        "provenance.json",
        "raspberrypi",
        "raw.py",
        "report.html",
        "report.json",
        "report.txt",
        "resizing.py",
        "rows.py",
        "runner.py",
        "samples.py",
        "serving.py",
        "summary.py",
        "totals.py",
    ]


def test_sha256sum_agrees(default):
    result = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=default.release,
        capture_output=True,
    )
    assert result.returncode == 0


def test_stdout_is_the_result_as_json_and_a_pipe_gets_no_progress_or_warning(default):
    assert set(default.result) == {"release", "reproducible_digest", "report"}
    assert default.stdout.count("\n") == 1
    assert not [line for line in default.stderr.splitlines() if line.startswith(("✓", "=", "warning"))]


def test_report_json_is_the_report_that_was_printed(default):
    written = json.loads((default.release / "report.json").read_text())

    assert written == default.result["report"]
    assert written["passed"]
    assert read_report(default.release / "report.json").to_dict() == written
    assert written["name"] == NAME
    assert {device["device"] for device in written["devices"]} == {"rpi4", "rpi5"}
    assert all(device["kind"] in ("emulated", "native") for device in written["devices"])
    [found] = written["accuracy"]
    assert (found["samples"], found["metrics"][0]["name"]) == (10_000, "top-1")
    assert found["metrics"][0]["baseline"] > 91


def test_the_model_is_integer_throughout(default):
    model = read_tflite(default.release / f"{NAME}.tflite")

    assert float_operators(model) == ()
    assert integer_io(model)


def test_the_smallest_download_of_what_is_not_shown_to_be_worse_is_released(default):
    candidates = default.result["report"]["candidates"]
    as_good = [each for each in candidates if not each["reason"]]

    assert [each["name"] for each in candidates] == ["qat", "ptq", "ptq, not compressed"]
    assert {each["samples"] for each in candidates} == {1100}
    assert all(min(each["difference"][2], each["corrupted"][2]) >= 0 for each in as_good)
    [taken] = [each for each in candidates if each["chosen"]]
    assert taken == min(as_good, key=lambda each: each["download_bytes"])


def test_the_float_model_is_reported_as_given_and_fine_tuned_alike(default):
    baselines = default.result["report"]["baselines"]

    assert baselines["given"] == pytest.approx(93.13, abs=0.01)
    assert 85 < baselines["fine_tuned"] < 95


def test_the_metadata_describe_the_model(default, metadata):
    model = read_tflite(default.release / f"{NAME}.tflite")
    download = default.release / f"{NAME}.tflite.zst"

    assert metadata["files"][f"{NAME}.tflite"] == model.sha256
    assert default.result["report"]["quantized"]["compressed_bytes"] == download.stat().st_size
    assert default.result["reproducible_digest"] == file_sha256(default.release / "manifest.json")
    assert metadata["devices"] == ["rpi4", "rpi5"]
    [taken], [given] = metadata["inputs"], metadata["outputs"]
    assert taken["shape"] == [1, 28, 28, 1]
    assert taken["dtype"] == given["dtype"] == "int8"
    assert (given["scale"], given["zero_point"]) == (1 / 256, -128)
    assert taken["preprocessing"]["scale"] == pytest.approx([1 / 255])
    labels = (default.release / "labels.txt").read_text().splitlines()
    assert labels == metadata["labels"]
    assert labels[:2] == ["T-shirt/top", "Trouser"]


def test_the_golden_samples_reproduce_on_litert(default):
    inputs = np.load(default.release / "golden_input_0.npy")
    with Session(host_runtime("litert"), default.release / f"{NAME}.tflite") as session:
        [outputs] = session.run([inputs])

    assert len(inputs) >= 64
    np.testing.assert_array_equal(outputs, np.load(default.release / "golden_output_0.npy"))


def test_the_releases_own_program_gets_the_reported_accuracy_from_raw_samples(default, metadata, tmp_path):
    with np.load(zoo_settings()["data"]["source"]) as data:
        raw, labels = data["x_test"][:500], data["y_test"][:500]
    np.save(tmp_path / "raw.npy", raw)
    program = [sys.executable, default.release / "predict.py", tmp_path / "raw.npy"]
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    said = [line.split(": ", 1)[1].partition(" (")[0] for line in printed]

    right = np.array([metadata["labels"].index(label) for label in said]) == labels
    assert right.mean() > 0.85


def test_the_calibration_manifest_has_no_test_sample(default):
    manifest = json.loads((default.release / "calibration.json").read_text())
    assert manifest["samples"] == len(set(manifest["sha256"])) == 256
    assert len(manifest["strata"]["class"]) == 10
    with np.load(zoo_settings()["data"]["source"]) as data:
        assert not set(manifest["sha256"]) & set(sample_hashes([data["x_test"]]))


def test_a_second_build_is_taken_from_the_store(default, build):
    again = build(default.out, *SHORT, cwd=default.out.parent)

    assert again.stdout == default.stdout
    assert all(step["cached"] for step in json.loads((default.out / "run.json").read_text())["steps"])
