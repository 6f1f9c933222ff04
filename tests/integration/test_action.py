"""What the GitHub action runs: a build whose inputs are environment variables, with outputs and a summary."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND

from deploy.keys import generate_key
from deploy.signing import verify
from pipeline.release.manifest import counter_of

pytestmark = pytest.mark.xdist_group("tiny build")

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "build-in-actions"
INPUTS = {
    "TARGET": "arm64",
    "CONFIG": "",
    "VERSION": "v2.1.0",
    "COUNTER": "17",
    "VALID_DAYS": "90",
    "ARGUMENTS": "",
    "EDGE_PIPELINE_SIGNING_KEY": "",
    "EDGE_PIPELINE_SIGNING_PASSWORD": "",
}


@pytest.fixture
def run(tiny, built, tmp_path):
    """Run the script in the tiny project, over a copy of a finished build; returns what it gave."""
    copy = shutil.copytree(built.out, tmp_path / "copy", symlinks=True)

    def run(**inputs):
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        environment = {
            **os.environ,
            **INPUTS,
            "OUT": copy,
            "EDGE_PIPELINE_STORE": copy / "store",
            "PIPELINE": COMMAND,
            **files,
            **inputs,
        }
        done = subprocess.run(
            [SCRIPT], cwd=tiny, env=environment, capture_output=True, text=True, timeout=600
        )
        texts = {name: path.read_text() if path.exists() else "" for name, path in files.items()}
        outputs = dict(line.split("=", 1) for line in texts["GITHUB_OUTPUT"].splitlines())
        return done, outputs, texts["GITHUB_STEP_SUMMARY"]

    return run


def test_a_tag_becomes_a_signed_release_and_its_report_a_summary(run, tiny, tmp_path):
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    done, outputs, summary = run(EDGE_PIPELINE_SIGNING_KEY=(tmp_path / "release.key").read_text())

    assert done.returncode == 0, done.stderr
    assert outputs["name"] == "tiny-2.1.0-arm64"
    manifest = verify(tiny / outputs["release"], tmp_path / "release.pub")
    assert (manifest.version, manifest.counter) == ("2.1.0", 17)
    assert manifest.expires is not None
    assert "accuracy" in summary
    assert "hint:" not in done.stderr


def test_inputs_that_are_left_empty_are_those_of_the_settings(run, tiny, built, tmp_path):
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    done, outputs, _ = run(
        VERSION="",
        COUNTER="",
        VALID_DAYS="",
        EDGE_PIPELINE_SIGNING_KEY=(tmp_path / "release.key").read_text(),
    )

    assert done.returncode == 0, done.stderr
    assert (outputs["name"], outputs["digest"]) == ("tiny-1.0-arm64", built.result["reproducible_digest"])
    manifest = verify(tiny / outputs["release"], tmp_path / "release.pub")
    assert (manifest.counter, manifest.expires) == (counter_of("1.0"), None)
    assert "hint: the release was signed without an expiry date" in done.stderr


def test_what_is_in_an_input_is_never_a_command(run, tiny):
    done, outputs, _ = run(VERSION="1.0; touch stolen", ARGUMENTS="--seed\n$(touch stolen)")

    assert done.returncode == 2
    assert outputs == {}
    assert not (tiny / "stolen").exists()
