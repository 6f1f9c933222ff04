"""Commands on a disk that is really full: a small file system, or files that cannot grow. Full outputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_disk
from progress_lines import without_progress

from deploy.manifest import digest_of

COMMAND = str(Path(sys.executable).with_name("pipeline"))
KINDS = pytest.mark.parametrize("kind", ["file system", "file sizes"])
SPARE = 16 << 10


@pytest.fixture
def disk(tmp_path):
    (folder := tmp_path / "disk").mkdir()
    return folder


@pytest.fixture
def run(disk, tmp_path):
    """Run the command with little space on the disk; returns how it ended, and what was left there."""

    def run(kind, *arguments, spare=SPARE, **environment):
        size = spare
        if kind == "file system":
            size += sum(-(-path.stat().st_size // 4096) * 4096 for path in disk.rglob("*") if path.is_file())
        words = [
            sys.executable,
            small_disk.__file__,
            kind,
            disk,
            size,
            tmp_path / "result",
            COMMAND,
            *arguments,
        ]
        environment = os.environ | {"COLUMNS": "200"} | environment
        subprocess.run([str(word) for word in words], cwd=tmp_path, env=environment, check=True, timeout=600)
        return json.loads((tmp_path / "result").read_text())

    return run


def require_one_line(ended, code, *texts):
    errors = without_progress(ended["err"])
    assert (ended["code"], ended["out"], len(errors)) == (code, "", 1), ended
    assert errors[0].startswith("pipeline: ")
    assert any(text in errors[0] for text in (*small_disk.FULL, *texts)), ended["err"]


@KINDS
def test_a_release_that_does_not_fit_leaves_the_one_that_is_there(kind, run, disk, signed_release):
    shutil.copytree(signed_release(), disk / signed_release().name)
    before = small_disk.listing(disk)

    ended = run(kind, "release", signed_release(), "--out", disk, "--version", "1.1.0")

    require_one_line(ended, 1)
    assert "or choose another folder with --out" in ended["err"]
    assert ended["left"] == before


@KINDS
def test_a_report_that_does_not_fit_is_not_there_in_part(kind, run, disk, tiny_tflite, tmp_path):
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    (tmp_path / "pipeline.toml").write_text(
        "[validate]\nthreads = [1]\nlatency_inferences = 64\noperators = false\nstability.faults = false\n"
    )
    options = ("--target", "host", "--config", "pipeline.toml", "--out", disk / "report")

    ended = run(kind, "validate", "tiny.tflite", *options, spare=4096)

    require_one_line(ended, 1)
    assert "or choose another folder" in ended["err"]
    assert set(ended["left"]) <= {"report"}


@KINDS
def test_half_a_key_is_never_left(kind, run, disk):
    (disk / "full").write_bytes(bytes(4096))
    ended = run(kind, "keygen", "--out", disk / "release.key", spare=0 if kind == "file system" else 100)
    require_one_line(ended, 1)
    assert set(ended["left"]) == {"full"}


def test_a_release_on_a_full_disk_is_verified(run, disk, signed_release):
    shutil.copytree(signed_release(), disk / signed_release().name)
    key = signed_release().parents[1] / "release.pub"
    ended = run("file system", "verify", disk / signed_release().name, "--public-key", key, spare=4096)
    assert (ended["code"], ended["err"]) == (0, "")


def test_files_that_cannot_grow_at_all_are_one_line(run, signed_release):
    key = signed_release().parents[1] / "release.pub"
    ended = run("file sizes", "verify", signed_release(), "--public-key", key, spare=10)
    require_one_line(ended, 1)


@KINDS
@pytest.mark.parametrize("first", [True, False], ids=["first", "upgrade"])
def test_a_device_whose_disk_is_full_keeps_its_version(
    first, kind, run, tmp_path, adb_devices, signed_release
):
    shutil.rmtree(adb_devices / "one")
    disk = tmp_path / "disk"
    (adb_devices / "one").symlink_to(disk)
    key = signed_release().parents[1] / "release.pub"
    options = ("--public-key", key, "--root", "/this/device", "--python", sys.executable, "--to", "adb://one")
    if not first:
        done = subprocess.run([COMMAND, "deploy", signed_release(), *options], cwd=tmp_path, check=False)
        assert done.returncode == 0
    before = small_disk.listing(disk)

    ended = run(kind, "deploy", signed_release("1.1.0", counter=1_001_000), *options)

    require_one_line(ended, 5, "MiB are free")
    kept = {
        name: size for name, size in ended["left"].items() if "/current/" in name or name.endswith("current")
    }
    assert kept == {name: before[name] for name in kept}
    assert bool(kept) is not first
    if not first:
        assert (disk / "tiny" / "current").readlink().name == digest_of(signed_release())


@pytest.mark.parametrize("command", ["verify", "inspect", "release"])
def test_a_full_output_is_one_line_of_any_command(command, signed_release, tmp_path):
    options = {
        "verify": ("--public-key", signed_release().parents[1] / "release.pub"),
        "release": ("--out", tmp_path / "new"),
    }
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [COMMAND, command, signed_release(), *options.get(command, ())],
            stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "pipeline: output: the disk is full; free space, or choose another folder\n"
