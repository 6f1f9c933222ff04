"""The release folder: its name, its files, and checksums that the standard tool agrees with."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from deploy.bundle import checksums, release_name, write_bundle
from deploy.errors import DeployError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "int8.tflite").write_bytes(b"model")
    folder = tmp_path / "tiny-1.0-arm64"
    folder.mkdir()
    write_bundle(
        folder,
        folder.name,
        tmp_path / "int8.tflite",
        {"name": "tiny", "labels": ["cat", "dög"]},
        {"golden_inputs": np.arange(6, dtype=np.int8).reshape(2, 3)},
        {"report.txt": "passed\n"},
    )
    return folder


def sha256sum(folder):
    return subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )


def test_every_file_is_there_under_its_name(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "golden_inputs.npy",
        "labels.txt",
        "model.json",
        "report.txt",
        "tiny-1.0-arm64.tflite",
    ]
    assert (folder / "tiny-1.0-arm64.tflite").read_bytes() == b"model"
    assert (folder / "labels.txt").read_text(encoding="utf-8") == "cat\ndög\n"
    assert json.loads((folder / "model.json").read_text())["name"] == "tiny"
    assert np.load(folder / "golden_inputs.npy").shape == (2, 3)


def test_sha256sum_agrees_with_the_checksums_of_every_file(folder):
    assert sha256sum(folder).returncode == 0
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(list(folder.iterdir())) - 1


@pytest.mark.parametrize("name", ["tiny-1.0-arm64.tflite", "model.json", "golden_inputs.npy"])
def test_sha256sum_sees_a_changed_file(name, folder):
    with (folder / name).open("ab") as file:
        file.write(b"x")

    result = sha256sum(folder)

    assert result.returncode == 1
    assert f"{name}: FAILED" in result.stdout
    assert checksums(folder)[name] not in (folder / "SHA256SUMS").read_text()


def test_a_release_is_called_by_name_version_and_target():
    assert release_name("tiny", "1.0", "arm64") == "tiny-1.0-arm64"


@pytest.mark.parametrize("name", ["a;reboot", "$(x)", "-rf", "../x", "a b", "a\n", "", "x" * 190])
def test_a_name_that_is_no_plain_word_is_refused(name):
    with pytest.raises(DeployError, match=r"is not usable: letters, digits"):
        release_name(name, "1.0", "arm64")


def test_a_newline_at_the_very_end_is_refused():
    with pytest.raises(DeployError):
        release_name("tiny", "1.0", "arm64\n")
