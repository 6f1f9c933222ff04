"""The README of a release: what it states, and commands that run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from deploy.bundle import seal
from deploy.facts import Builder, MetricFacts, ReleaseFacts
from deploy.keys import generate_key
from deploy.manifest import read_manifest
from deploy.readme import readme
from deploy.signing import sign
from deploy.software import software

METRIC = MetricFacts(
    task="classification",
    output="",
    samples=2000,
    name="top-1",
    unit="points",
    primary=True,
    baseline=92.15,
    quantized=92.05,
    difference=-0.10,
    low=-0.45,
    high=0.25,
)


def facts(**changes):
    known = {
        "name": "tiny",
        "version": "1.0",
        "target": "arm64",
        "devices": ("rpi4",),
        "file": "tiny.tflite",
        "sha256": "1a" * 32,
        "size_bytes": 95_712,
        "download_bytes": None,
        "baseline_bytes": 382_848,
        "format": "int8",
        "format_reason": "",
        "description": "Tells left | right.",
        "license": "",
        "authors": (),
        "family": "",
        "tasks": ("classification",),
        "supervised": True,
        "pipeline_tag": "",
        "inputs": (),
        "outputs": (),
        "labels": (),
        "metrics": (METRIC,),
        "lowest_classes": (),
        "shift_samples": None,
        "shifts": (),
        "sparsity": 0.0,
        "treatments": {},
        "kept_float": (),
        "runtimes": {},
        "tools": {},
        "project": "1",
        "samples": (1, 1, 1),
        "calibration_sha256": "",
        "sources": (),
        "warnings": (),
        "config": {},
        "commit": None,
        "builder": Builder(),
        "created": None,
    }
    return ReleaseFacts(**(known | changes))


@pytest.fixture
def finished(picture_release, tmp_path):
    """A release of a model of pictures with everything that the README names, signed."""
    folder = tmp_path / "tiny-1.0-arm64"
    shutil.copytree(picture_release, folder)
    manifest = read_manifest(folder)
    (folder / "manifest.json").unlink()
    golden = [np.load(folder / "golden_output_0.npy")]
    files, _ = software(manifest, (folder / manifest.model).read_bytes(), golden)
    files |= {"README.md": readme(facts(), manifest, has_code=True)}
    files |= {"MODEL_CARD.md": "# tiny\n", "report.html": "<!doctype html>\n"}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    seal(folder, manifest)
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    sign(folder, tmp_path / "release.key")
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "photo.jpg")
    return folder


def test_its_commands_run_and_its_links_lead_somewhere(finished):
    text = (finished / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    commands = [line for block in blocks for line in block.splitlines()]
    own = [line for line in commands if not line.startswith(("python3 -m pip ", "python3 runner.py run "))]
    assert [line.split()[0] for line in own] == ["sha256sum", "pipeline", "python3", "python3", "cc"]

    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in own:
        command = line.replace("photo.jpg", "../photo.jpg").replace("python3", "python3 -B")
        done = subprocess.run(
            command, shell=True, cwd=finished, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert all((finished / name).exists() for name in re.findall(r"\]\(([^)]+)\)", text))
    assert "val answers = TinyClassifier(context).classify(bitmap)" in text


def test_its_figures_are_in_one_table(released):
    text = readme(facts(), read_manifest(released), has_code=False)
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)

    assert html.count("<table>") == 1
    assert "| top-1, points, 2,000 test samples | 92.15 | 92.05 | -0.10 [-0.45, +0.25] |" in text
    assert "| size, bytes | 382,848 | 95,712 | -75 % |" in text
    assert "Tells left \\| right." in text
    assert "cc -std" not in text
    assert "Android" not in text


def test_a_table_model_names_its_columns_and_a_board_gets_its_package(sum_release, with_columns, tmp_path):
    manifest = read_manifest(with_columns(sum_release, tmp_path)).model_copy(update={"machine": "aarch64"})
    text = readme(facts(), manifest, has_code=True)

    assert "python3 predict.py rows.csv" in text
    assert "The columns, in any order: a, b, c, d, e, f, g, h." in text
    assert "sudo apt install ./raspberrypi/*.deb" in text
