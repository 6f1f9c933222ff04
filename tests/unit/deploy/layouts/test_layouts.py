"""The release laid out: what goes to a device, an Android module, and a .deb that dpkg really installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.errors import DeployError
from deploy.layouts import android_files, debian_name, debian_version, device_files, write_debian_package
from deploy.manifest import digest_of

GOLDEN = [np.array([[1, 2], [4, 3]], np.int8)]
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb")


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_device_gets_the_model_and_what_runs_it_and_nothing_else(tmp_path, release_folder):
    manifest = release_folder(tmp_path / "release")
    manifest = manifest.model_copy(
        update={"files": manifest.files | dict.fromkeys(("c/tiny.h", "c/x.py", "bom.cdx.json"), "0" * 64)}
    )
    assert device_files(manifest) == (
        "golden_input_0.npy",
        "golden_output_0.npy",
        "labels.txt",
        "manifest.json",
        "predict.py",
        "runner.py",
        "tiny-1.0-arm64.tflite",
        "tiny.service",
    )


def test_android_studio_finds_the_model_and_the_code_where_it_looks(release):
    files = android_files(release, b"model", GOLDEN)

    assert files["android/src/main/assets/tiny.tflite"] == b"model"
    assert sorted(path for path in files if path.endswith(".kt")) == [
        "android/src/main/java/edge/models/tiny/TinyClassifier.kt",
        "android/src/main/java/edge/models/tiny/TinyCompiledClassifier.kt",
        "android/src/main/java/edge/models/tiny/TinyModel.kt",
        "android/src/test/java/edge/models/tiny/TinyModelTest.kt",
    ]
    assert 'MODEL_FILE = "tiny.tflite"' in files["android/src/main/java/edge/models/tiny/TinyModel.kt"]
    gradle = files["android/build.gradle.kts"]
    assert 'abiFilters += "arm64-v8a"' in gradle
    assert 'noCompress += "tflite"' in gradle


def test_gradle_gets_no_abi_that_is_none(release):
    files = android_files(release.model_copy(update={"android_abi": '"); evil("'}), b"", GOLDEN)
    assert "abiFilters" not in files["android/build.gradle.kts"]


def test_what_gradle_and_the_readme_say_parses_as_kotlin(release):
    import tree_sitter_kotlin
    from tree_sitter import Language, Parser

    files = android_files(release, b"", GOLDEN)
    examples = re.findall(r"```kotlin\n(.*?)```", files["android/README.md"], re.S)
    assert len(examples) == 2
    parser = Parser(Language(tree_sitter_kotlin.language()))
    for text in (files["android/build.gradle.kts"], *examples):
        assert not parser.parse(text.encode()).root_node.has_error, text


@pytest.mark.parametrize(
    ("version", "debian"),
    [
        ("1.0", "1.0-7"),
        ("1.0-rc1", "1.0~rc1-7"),
        ("1.0rc1", "1.0~rc1-7"),
        ("v2_x", "0.v2.x-7"),
        ("A", "0.A-7"),
        ("1.-_", "1.~.-7"),
    ],
)
def test_any_version_becomes_one_that_dpkg_takes(version, debian, release):
    assert debian_version(release.model_copy(update={"version": version, "counter": 7})) == debian
    if shutil.which("dpkg"):
        run("dpkg", "--validate-version", debian)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="there is no dpkg")
@pytest.mark.parametrize("early", ["1.0-rc1", "1.0rc1", "1.0.b2"])
def test_a_candidate_is_older_than_what_it_leads_to(release, early):
    older, newer = (debian_version(release.model_copy(update={"version": v})) for v in (early, "1.0"))
    run("dpkg", "--compare-versions", older, "lt", newer)


@pytest.mark.parametrize(
    ("name", "debian"), [("A_b.c", "edge-model-a-b.c"), ("bash", "edge-model-bash"), ("7--", "edge-model-7")]
)
def test_a_package_never_takes_the_place_of_another(name, debian, release):
    assert debian_name(release.model_copy(update={"name": name})) == debian
    if shutil.which("dpkg"):
        run("dpkg", "--validate-pkgname", debian)


@needs_dpkg
def test_the_package_says_what_it_is_and_needs(tmp_path, package):
    deb, digest = package(tmp_path / "release", machine="armv7l")

    assert deb.name == "edge-model-tiny_1.0-1_armhf.deb"
    said = run("dpkg-deb", "-I", deb)
    assert "Depends: python3 (>= 3.9), python3-numpy" in said
    assert "ai-edge-litert 2.3.0" in said
    listed = [line.split() for line in run("dpkg-deb", "-c", deb).splitlines()]
    assert {words[1] for words in listed} == {"root/root"}
    assert {words[0] for words in listed} == {"drwxr-xr-x", "-rw-r--r--"}
    assert f"./opt/tiny/releases/{digest}/manifest.json" in {words[5] for words in listed}
    assert "./lib/systemd/system/tiny.service" in {words[5] for words in listed}


@needs_dpkg
def test_two_folders_give_the_same_bytes(tmp_path, monkeypatch, package):
    first, _ = package(tmp_path / "one")
    old = os.umask(0o077)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    try:
        second, _ = package(tmp_path / "elsewhere" / "two")
    finally:
        os.umask(old)
    assert first.read_bytes() == second.read_bytes()


@needs_dpkg
def test_the_scripts_are_shell_that_parses(tmp_path, package):
    deb, _ = package(tmp_path / "release", name="a.b-c")
    run("dpkg-deb", "-e", deb, tmp_path / "control")
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", tmp_path / "control" / script)
        assert "{" not in re.sub(
            r"\$\{[^}]*\}|\w*\(\) \{|\{ \[", "", (tmp_path / "control" / script).read_text()
        )


def test_a_failure_of_dpkg_deb_is_one_line_with_a_fix_and_leaves_no_package(
    tmp_path, monkeypatch, release_folder
):
    manifest = release_folder(tmp_path / "release")
    (program := tmp_path / "dpkg-deb").write_text("#!/bin/sh\necho 'error: No space\tleft' >&2; exit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeployError, match=r"no edge-model-.*\.deb: error: No space left; free space in "):
        write_debian_package(tmp_path / "release", manifest)
    assert not list((tmp_path / "release").rglob("*.deb"))


@pytest.mark.parametrize(
    ("machine", "path", "reason"),
    [("any", None, "no architecture for 'any'"), ("aarch64", "", "dpkg-deb is not installed")],
)
def test_where_there_can_be_no_package_the_reason_is_said(
    machine, path, reason, tmp_path, monkeypatch, release_folder
):
    manifest = release_folder(tmp_path / "release", machine=machine)
    if path is not None:
        monkeypatch.setenv("PATH", path)

    assert reason in write_debian_package(tmp_path / "release", manifest)
    assert not (tmp_path / "release" / "raspberrypi").exists()


@needs_dpkg
def test_a_release_that_lacks_a_file_is_refused(tmp_path, release_folder):
    manifest = release_folder(tmp_path / "release")
    (tmp_path / "release" / "labels.txt").unlink()
    with pytest.raises(DeployError, match=r"labels\.txt: No such file or directory; build the release again"):
        write_debian_package(tmp_path / "release", manifest)


@needs_dpkg
def test_a_maintainer_adds_no_field_of_his_own(tmp_path, release_folder):
    manifest = release_folder(tmp_path / "release")
    write_debian_package(tmp_path / "release", manifest, "Ann <a@example.org>\nEssential: yes\n")
    said = run("dpkg-deb", "-f", next((tmp_path / "release" / "raspberrypi").iterdir()))
    assert "Maintainer: Ann <a@example.org> Essential: yes\n" in said
    assert "\nEssential" not in said


def test_the_unpacked_package_is_the_release_on_the_device(tmp_path, package, unit):
    deb, digest = package(tmp_path / "release")
    run("dpkg-deb", "-x", deb, tmp_path / "root")

    folder = tmp_path / "root/opt/tiny/releases" / digest
    assert digest_of(folder) == digest
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name
        for path in (tmp_path / "release").iterdir()
        if path.name not in {"MODEL_CARD.md", "raspberrypi"}
    )
    run(sys.executable, "-B", folder / "runner.py", "health")
    assert Path(folder / "tiny.service").read_text() == unit
