"""From a device's own runner to a verdict: the program of a release counts, the command asks and judges."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from deploy.manifest import digest_of, read_manifest, write_manifest
from pipeline.cli import cli
from pipeline.errors import GateFailed
from pipeline.release.drift_reference import count
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

SAMPLES = 600


def draw(count, seed, brightness=90):
    """Raw images, uint8 (n, 4, 4, 1)."""
    rng = np.random.default_rng(seed)
    each = rng.normal(brightness, 30, (count, 1, 1, 1)) + rng.normal(0, 20, (count, 4, 4, 1))
    return np.clip(each, 0, 255).astype(np.uint8)


@pytest.fixture
def watched(released, tmp_path):
    """A release with the baseline of 3,000 test samples."""
    folder = tmp_path / released.name
    shutil.copytree(released, folder)
    manifest = read_manifest(folder)
    images = (draw(3000, 0).astype(np.int16) - 128).astype(np.int8)
    with Session(host_runtime("litert"), folder / manifest.model) as session:
        answers = session.run([images], batches=True)
    baseline = json.dumps(count(manifest.model_dump(mode="json"), [images], answers, [None], seed=0))
    (folder / "baseline.json").write_text(baseline)
    files = {**manifest.files, "baseline.json": hashlib.sha256(baseline.encode()).hexdigest()}
    write_manifest(manifest.model_copy(update={"files": files}), folder)
    return folder


@pytest.fixture
def answer(watched, tmp_path, monkeypatch):
    """Install the release below the user's home, and let its runner answer samples."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "home/.local/share/edge-models/tiny"
    shutil.copytree(watched, root / "releases" / digest_of(watched))
    (root / "current").symlink_to(f"releases/{digest_of(watched)}")

    def run(samples):
        np.save(tmp_path / "samples.npy", samples)
        words = [
            sys.executable,
            root / "current/runner.py",
            "run",
            "--observe",
            "all",
            tmp_path / "samples.npy",
        ]
        subprocess.run(words, check=True, capture_output=True)

    return run


def monitor(*words):
    return CliRunner().invoke(cli, ["monitor", *map(str, words), "--from", "local://", "--json"])


def test_a_device_that_saw_what_was_tested_is_the_same(watched, answer):
    answer(draw(SAMPLES, 1))
    result = monitor(watched)

    found = json.loads(result.stdout)
    assert (found["verdict"], found["samples"]) == ("same", SAMPLES), found["items"]
    assert found["devices"][0]["inferences"] == SAMPLES


def test_a_device_in_brighter_light_has_drifted_and_slower_is_seen_beside_before(watched, answer, tmp_path):
    answer(draw(SAMPLES, 1))
    monitor(watched, "--save", tmp_path / "before.json")
    answer(draw(2 * SAMPLES, 2, brightness=130))
    result = monitor(watched, "--before", tmp_path / "before.json")

    found = json.loads(result.stdout)
    assert isinstance(result.exception, GateFailed)
    assert "image means" in str(result.exception)
    assert found["samples"] == 2 * SAMPLES  # the two periods have no sample in common
    assert found["period"].startswith(f"after {tmp_path / 'before.json'}")
    assert {item["what"] for item in found["items"]} >= {"p50", "p95"}
