"""The release folder: its name, its files, and checksums that the standard tool agrees with."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

from deploy.bundle import release_name
from deploy.contents import checksums
from deploy.errors import DeployError
from deploy.manifest import digest_of, read_manifest


@pytest.fixture
def folder(tmp_path, write_release):
    return write_release(tmp_path)


def sha256sum(folder):
    return subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )


def test_every_file_is_there_under_its_name(folder):
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "SHA256SUMS",
        "c",
        "c/model.h",
        "golden_input_0.npy",
        "golden_output_0.npy",
        "labels.txt",
        "manifest.json",
        "raspberrypi",
        "raspberrypi/edge-model-tiny_1.2.3-1002003500_arm64.deb",
        "report.json",
        "tiny-1.2.3-arm64.tflite",
    ]
    assert (folder / "tiny-1.2.3-arm64.tflite").read_bytes() == b"TFL3 no real model"
    assert (folder / "labels.txt").read_text(encoding="utf-8") == "cat\ndög\n"
    assert np.load(folder / "golden_input_0.npy").shape == (3, 2, 2, 1)


def test_the_manifest_lists_every_file_but_reports_and_itself(folder):
    files = read_manifest(folder).files

    assert list(files) == [
        "c/model.h",
        "golden_input_0.npy",
        "golden_output_0.npy",
        "labels.txt",
        "tiny-1.2.3-arm64.tflite",
    ]
    assert files.items() <= checksums(folder).items()
    assert json.loads((folder / "manifest.json").read_text())["outputs"][0]["task"] == "classification"


def test_sha256sum_agrees_with_the_checksums_of_every_file(folder):
    assert sha256sum(folder).returncode == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(files) - 1


@pytest.mark.parametrize("name", ["tiny-1.2.3-arm64.tflite", "manifest.json", "c/model.h", "report.json"])
def test_sha256sum_sees_a_changed_file(name, folder):
    with (folder / name).open("ab") as file:
        file.write(b"x")

    result = sha256sum(folder)

    assert result.returncode == 1
    assert f"{name}: FAILED" in result.stdout
    assert checksums(folder)[name] not in (folder / "SHA256SUMS").read_text()


def test_two_releases_of_the_same_parts_are_the_same_bytes_whatever_the_umask(tmp_path, write_release):
    first = write_release(tmp_path / "first")
    umask = os.umask(0o077)
    try:
        second = write_release(tmp_path / "second")
    finally:
        os.umask(umask)

    assert (first / "SHA256SUMS").read_bytes() == (second / "SHA256SUMS").read_bytes()
    assert digest_of(first) == digest_of(second)
    modes = [
        {path.relative_to(root): path.stat().st_mode for path in root.rglob("*")} for root in (first, second)
    ]
    assert modes[0] == modes[1]
    assert {mode & 0o777 for mode in modes[0].values()} == {0o644, 0o755}


def test_a_report_with_other_times_does_not_change_the_digest(tmp_path, write_release):
    fast = write_release(tmp_path / "fast")
    slow = write_release(tmp_path / "slow", {"report.json": '{"seconds": 2}\n'})

    assert digest_of(fast) == digest_of(slow)
    assert (fast / "SHA256SUMS").read_bytes() != (slow / "SHA256SUMS").read_bytes()


def test_bytes_and_text_are_written_as_they_are(tmp_path, write_release):
    folder = write_release(tmp_path, {"deb/a.deb": b"\x00\xff", "text.md": "é\n"})

    assert (folder / "deb/a.deb").read_bytes() == b"\x00\xff"
    assert (folder / "text.md").read_bytes() == b"\xc3\xa9\n"


def test_a_release_is_called_by_name_version_and_target():
    assert release_name("tiny", "1.0", "arm64") == "tiny-1.0-arm64"


@pytest.mark.parametrize("name", ["a;reboot", "$(x)", "-rf", "../x", "a b", "a\n", "", "x" * 190])
def test_a_name_that_is_no_plain_word_is_refused(name):
    with pytest.raises(DeployError, match=r"is not usable: letters, digits"):
        release_name(name, "1.0", "arm64")


def test_a_newline_at_the_very_end_is_refused():
    with pytest.raises(DeployError):
        release_name("tiny", "1.0", "arm64\n")
