"""Judging and releasing: only of what passed, only of the model that was judged, and as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from deploy.errors import SignatureError
from deploy.facts import Builder
from deploy.keys import generate_key
from deploy.manifest import digest_of
from deploy.signing import verify
from models.ports import Port
from pipeline.artifacts import (
    CalibrationSet,
    Dataset,
    Measured,
    PassedReport,
    QuantizedModel,
    Source,
    Transform,
)
from pipeline.build_config import BuildConfig
from pipeline.config import GatesConfig
from pipeline.errors import GateFailed, IntegrityError, StageError
from pipeline.release.documents import Origin
from pipeline.release.drift_reference import DriftReference
from pipeline.release.release import judge, publish, release, require_passed
from pipeline.runtimes.session import Tensor
from pipeline.targets import get_target
from pipeline.validation.provenance import Provenance
from pipeline.validation.report import read_report, write_report

SETTINGS = {
    "project": {"name": "tiny", "version": "1.0"},
    "model": {"path": "in/model.keras"},
    "data": {"source": "in/data.npz"},
}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def measured(report, tmp_path):
    folder = tmp_path / "measured"
    folder.mkdir()
    measured = Measured(folder=folder, model_sha256="1a" * 32, inputs=1, outputs=1)
    write_report(replace(report, verdicts=()), measured.report)
    np.save(measured.golden_input(0), np.arange(128, dtype=np.int8).reshape(64, 2))
    np.save(measured.golden_output(0), np.zeros((64, 2), np.int8))
    return measured


@pytest.fixture
def judged(measured, tmp_path):
    (folder := tmp_path / "judged").mkdir()
    return judge(measured, name="tiny-1.0-arm64", gates=GatesConfig(), out=folder)


@pytest.fixture
def make(measured, tmp_path, prepared_model):
    """Release a model of these bytes with a report."""
    (folder := tmp_path / "parts").mkdir()
    samples = CalibrationSet(folder=folder, samples=2)
    samples.manifest.write_text("{}\n")

    def make(
        passed,
        sha256="1a" * 32,
        name="release",
        target="arm64",
        created=None,
        seen=None,
        columns=(),
        **settings,
    ):
        quantized = QuantizedModel(
            folder=folder, size_bytes=5, sha256=sha256, sparsity=0.8, format="int8", reason="", layers=()
        )
        quantized.tflite.write_bytes(b"model")
        data = Dataset(
            tasks=("classification",),
            classes=("left", "right"),
            shapes=((8, 8, 1),),
            train_samples=10,
            test_samples=5,
            columns=columns,
        )
        model = prepared_model(
            folder,
            inputs=(Port("image", (None, None, 1)),),
            preprocessing=(Transform(scale=(0.5,), offset=(-1.0,)),),
        )
        observed = DriftReference(
            folder=folder,
            samples=2,
            input_ranges=(seen and (-1.0, 2.0),),
            output_ranges=(seen and (0.0, 1.0),),
            raw=(("uint8", 0.0, 255.0),),
        )
        observed.baseline.write_text("{}\n")
        (out := tmp_path / name).mkdir()
        made = release(
            quantized,
            passed,
            measured,
            observed,
            samples,
            data,
            model,
            Source(location="in/model.keras", digest="2b" * 32),
            Source(location="in/data.npz", digest="3c" * 32),
            config=BuildConfig.model_validate(SETTINGS | settings),
            target=get_target(target),
            origin=Origin(root=str(tmp_path), created=created, builder=Builder(), commit=None),
            out=out,
        )
        return replace(made, folder=out)

    return make


def test_a_report_without_a_failed_gate_is_passed(judged):
    passed = require_passed(judged, judged.folder)

    assert isinstance(passed, PassedReport)
    assert passed.report == judged.report
    assert judged.failed == ()
    assert "tiny-1.0-arm64: passed" in (judged.folder / "report.txt").read_text()


def test_the_report_says_where_it_comes_from(measured, tmp_path):
    of = Provenance(version="1.0", model_sha256="c1" * 32)
    judged = judge(
        measured, name="x", gates=GatesConfig(), provenance=of, command="pipeline build", out=tmp_path
    )

    assert read_report(judged.report).provenance == replace(of, command="pipeline build")
    assert f"given model, SHA-256</td><td><code>{'c1' * 32}" in (tmp_path / "report.html").read_text()


def test_a_failed_gate_is_refused_with_what_it_got_and_what_it_allows(measured, tmp_path):
    judged = judge(measured, name="x", gates=GatesConfig(size_ratio=0.1, xnnpack_share=1), out=tmp_path)

    assert judged.failed == ("size", "xnnpack")
    with pytest.raises(GateFailed, match=r"size: got 0\.30 of float, allowed 0\.10 of float; xnnpack"):
        require_passed(judged, judged.folder)
    assert not read_report(judged.report).passed
    assert "x: FAILED" in (judged.folder / "report.txt").read_text()


def test_a_build_that_loses_too_much_accuracy_says_how_to_keep_layers_in_a_wider_format(measured, tmp_path):
    gates = GatesConfig(enabled=("accuracy",), accuracy_drop_points=0.01, inconclusive="fail")
    judged = judge(measured, name="x", gates=gates, out=tmp_path)

    with pytest.raises(GateFailed, match=r'\[precision\] layers = "auto" keeps the layers that lose most'):
        require_passed(judged, judged.folder)


def test_a_refused_build_says_that_the_earlier_release_of_the_name_stands(measured, judged, make, tmp_path):
    made = make(require_passed(judged, judged.folder))
    earlier = made.folder / made.name
    before = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
    refused = judge(measured, name=made.name, gates=GatesConfig(size_ratio=0.1), out=tmp_path)

    with pytest.raises(GateFailed) as error:
        require_passed(refused, refused.folder, standing=earlier)

    said = str(error.value)
    assert said.startswith("no release: size: got ")
    assert f"; {earlier} is unchanged: the release of " in said
    assert said.endswith(f", digest {digest_of(earlier)[:12]}, not this build's")
    assert {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()} == before


def test_a_refused_build_without_an_earlier_release_says_nothing_of_one(measured, tmp_path):
    refused = judge(measured, name="x", gates=GatesConfig(size_ratio=0.1), out=tmp_path)

    with pytest.raises(GateFailed) as error:
        require_passed(refused, refused.folder, standing=tmp_path / "missing")

    assert "unchanged" not in str(error.value)


def test_a_folder_that_is_no_release_is_left_and_not_called_one(measured, tmp_path):
    refused = judge(measured, name="x", gates=GatesConfig(size_ratio=0.1), out=tmp_path)
    (folder := tmp_path / "release").mkdir()

    with pytest.raises(GateFailed, match="release is unchanged: an earlier build's folder, not this build's"):
        require_passed(refused, refused.folder, standing=folder)


def test_the_type_checker_refuses_a_release_from_a_report_that_was_not_passed(tmp_path):
    (program := tmp_path / "program.py").write_text(
        "from typing import Any\n"
        "from pipeline.artifacts import JudgedReport\n"
        "from pipeline.release.release import release\n"
        "def attempt(judged: JudgedReport, any_: Any) -> None:\n"
        "    release(any_, judged, any_, any_, any_, any_, any_,"
        " config=any_, target=any_, origin=any_, out=any_)\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--no-error-summary", str(program)]
    said = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True).stdout

    assert said.count("\n") == 1
    assert said.partition(": error: ")[2].strip() == (
        'Argument 2 to "release" has incompatible type "JudgedReport"; expected "PassedReport"  [arg-type]'
    )


def test_a_report_about_another_model_is_refused(judged, make):
    with pytest.raises(IntegrityError, match="about another model"):
        make(require_passed(judged, judged.folder), sha256="ff" * 32)


def with_report(passed, folder, **changes):
    """The same report with other figures in it."""
    (folder := folder / "changed").mkdir()
    changed = replace(passed, folder=folder)
    write_report(replace(read_report(passed.report), **changes), changed.report)
    for view in ("report.txt", "report.html"):
        (changed.folder / view).write_text("other times\n")
    return changed


def manifest_of(made):
    return json.loads((made.folder / made.name / "manifest.json").read_text())


def test_the_manifest_says_how_to_feed_and_read_the_model(judged, make):
    made = make(require_passed(judged, judged.folder))
    manifest = manifest_of(made)

    assert made.name == "tiny-1.0-arm64"
    [taken], [given] = manifest["inputs"], manifest["outputs"]
    assert taken == {
        "name": "image",
        "shape": [1, 8, 8, 1],
        "dtype": "int8",
        "scale": pytest.approx(1 / 255),
        "zero_point": -128,
        "range": None,
        "preprocessing": {
            "resize": {"size": [8, 8], "interpolation": "bilinear"},
            "indices": False,
            "reverse_channels": False,
            "scale": [0.5],
            "offset": [-1.0],
        },
        "raw": {"dtype": "uint8", "low": 0.0, "high": 255.0},
        "columns": [],
    }
    assert (given["scale"], given["task"], given["logits"]) == (1 / 256, "classification", False)
    assert manifest["labels"] == ["left", "right"]


def test_the_manifest_has_the_names_of_the_columns_where_each_value_has_one(judged, make):
    passed = require_passed(judged, judged.folder)
    names = tuple(f"pixel {place}" for place in range(64))

    named = make(passed, columns=(names,))
    fewer = make(passed, name="fewer", columns=(names[:3],))

    assert manifest_of(named)["inputs"][0]["columns"] == list(names)
    assert manifest_of(fewer)["inputs"][0]["columns"] == []
    header = (named.folder / named.name / "c" / "tiny.h").read_text()
    assert "TINY_COLUMN_PIXEL_63 = 63" in header
    assert "pixel 0, pixel 1, " in (named.folder / named.name / "README.md").read_text()


def test_the_manifest_says_where_the_release_may_run(judged, make):
    created = "2026-01-02T03:04:05Z"
    made = make(
        require_passed(judged, judged.folder),
        created=created,
        release={"counter": 7, "expires": date(2031, 2, 3)},
        gates={"bit_difference_steps": 2},
    )
    manifest = manifest_of(made)

    assert manifest["devices"] == ["rpi4", "rpi5"]
    assert (manifest["machine"], manifest["android_abi"]) == ("aarch64", "arm64-v8a")
    assert manifest["runtimes"] == [
        {"package": "ai-edge-litert", "least": "1.0.1"},
        {"package": "tflite-runtime", "least": "2.14.0"},
    ]
    assert (manifest["counter"], manifest["expires"], manifest["created"]) == (7, "2031-02-03", created)
    assert (manifest["tolerance_steps"], manifest["golden"]) == (2, 64)


def test_a_tensor_that_is_not_quantized_has_the_range_that_was_observed(judged, make, tmp_path):
    taken, given = Tensor("image", (1, 8, 8, 1), "float32", None, 0), Tensor("x", (1, 2), "float32", None, 0)
    passed = require_passed(judged, judged.folder)
    made = make(with_report(passed, tmp_path, inputs=(taken,), outputs=(given,)), seen=True)

    [taken], [given] = manifest_of(made)["inputs"], manifest_of(made)["outputs"]
    assert (taken["scale"], taken["range"]) == (None, [-1, 2])
    assert (given["scale"], given["range"]) == (None, [0, 1])


def test_the_digest_of_a_release_is_its_manifests(judged, make):
    made = make(require_passed(judged, judged.folder))

    assert made.reproducible_digest == digest_of(made.folder / made.name)
    listed = {name.partition("/")[0] for name in manifest_of(made)["files"]}
    assert listed == {
        *("tiny-1.0-arm64.tflite", "tiny-1.0-arm64.tflite.zst", "labels.txt", "calibration.json"),
        *("golden_input_0.npy", "golden_output_0.npy", "baseline.json", "tiny.service"),
        *(
            "predict.py",
            "asking.py",
            "decoding.py",
            "raw.py",
            "rows.py",
            "samples.py",
            "resizing.py",
            "runner.py",
            "serving.py",
            "summary.py",
            "observe.py",
            "totals.py",
        ),
        *("c", "android"),
        *("MODEL_CARD.md", "README.md", "bom.cdx.json", "provenance.json"),
    }


def test_measured_times_are_no_part_of_the_reproducible_digest(judged, make, tmp_path):
    passed = require_passed(judged, judged.folder)
    report = read_report(passed.report)
    slower = replace(report.latency, speedup=1.0)

    first = make(passed, name="first")
    again = make(
        with_report(passed, tmp_path, latency=slower, stability=replace(report.stability, soaks=())),
        name="again",
    )

    assert again.reproducible_digest == first.reproducible_digest


def test_other_golden_outputs_have_another_digest(judged, make, measured):
    passed = require_passed(judged, judged.folder)

    first = make(passed, name="first")
    np.save(measured.golden_output(0), np.ones((64, 2), np.int8))
    other = make(passed, name="other")

    assert other.reproducible_digest != first.reproducible_digest


def test_a_report_reads_back_as_it_was_written(report, tmp_path):
    write_report(report, tmp_path / "report.json")

    assert read_report(tmp_path / "report.json") == report


def test_publishing_replaces_the_whole_folder_and_leaves_nothing_beside_it(tmp_path):
    for round_ in ("old", "new"):
        (source := tmp_path / round_).mkdir()
        (source / f"{round_}.txt").write_text(round_)
        publish(source, tmp_path / "out/release/tiny")

    assert [path.name for path in (tmp_path / "out/release").iterdir()] == ["tiny"]
    assert [path.name for path in (tmp_path / "out/release/tiny").iterdir()] == ["new.txt"]


def test_a_copy_that_fails_leaves_the_old_folder(tmp_path):
    (source := tmp_path / "new").mkdir()
    (source / "broken").symlink_to("nowhere")
    (old := tmp_path / "release/tiny").mkdir(parents=True)
    (old / "old.txt").write_text("old")

    with pytest.raises(StageError, match=r"publish: .*broken.*; free space or fix the permissions"):
        publish(source, old)

    assert [path.name for path in (tmp_path / "release").iterdir()] == ["tiny"]
    assert (old / "old.txt").exists()


@pytest.fixture
def keys(tmp_path):
    private, public = tmp_path / "release.key", tmp_path / "release.pub"
    generate_key(private, public)
    return private, public


def test_a_release_is_signed_before_it_is_published(tmp_path, write_release, keys):
    private, public = keys
    source = write_release(tmp_path / "step")
    destination = tmp_path / "out" / source.name

    publish(source, destination, private)

    assert verify(destination, public).full_name == source.name
    assert not (source / "release.sig").exists()
    assert [path.name for path in destination.parent.iterdir()] == [source.name]


def test_what_cannot_be_signed_is_not_published(tmp_path, write_release, keys):
    source = write_release(tmp_path / "step")
    destination = tmp_path / "out" / source.name
    publish(source, destination, keys[0])
    (source / "c/model.h").write_text("tampered")

    with pytest.raises(SignatureError, match=r"c/model\.h: its bytes are not those in SHA256SUMS"):
        publish(source, destination, keys[0])

    assert verify(destination, keys[1])
    assert [path.name for path in destination.parent.iterdir()] == [source.name]
