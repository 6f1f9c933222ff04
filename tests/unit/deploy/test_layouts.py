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
from deploy.layouts import (
    android_files,
    debian_name,
    debian_version,
    device_files,
    write_debian_package,
)
from deploy.manifest import (
    Input,
    Manifest,
    Output,
    Preprocessing,
    Resize,
    RuntimeNeed,
    digest_of,
    write_manifest,
)

STEPS = Preprocessing(
    resize=Resize(size=(4, 4), interpolation="bilinear"),
    indices=False,
    reverse_channels=False,
    scale=(1 / 255,),
    offset=(0.0,),
)
IMAGE = {"name": "image", "shape": (1, 4, 4, 1), "dtype": "int8", "scale": 1 / 255, "zero_point": -128}
ANSWER = {"name": "class", "shape": (1, 2), "dtype": "int8", "scale": 1 / 256, "zero_point": -128}
RELEASE = Manifest(
    name="tiny",
    version="1.0",
    target="arm64",
    counter=1,
    created=None,
    expires=None,
    devices=("rpi4",),
    machine="aarch64",
    android_abi="arm64-v8a",
    runtimes=(RuntimeNeed(package="ai-edge-litert", least="2.3.0"),),
    format="int8",
    inputs=(Input(**IMAGE, preprocessing=STEPS),),
    outputs=(Output(**ANSWER, task="classification", logits=False),),
    labels=("cat", "dog"),
    tolerance_steps=1,
    golden=2,
    model="tiny-1.0-arm64.tflite",
    files={},
)
UNIT = "[Unit]\nDescription=tiny\n\n[Service]\nExecStart=/usr/bin/python3 run\nUser=edge-models\n"
GOLDEN = [np.array([[1, 2], [4, 3]], np.int8)]
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb")


def release_folder(folder, health=0, **changes):
    """A release whose health check exits with ``health``, and its manifest."""
    folder.mkdir(parents=True)
    manifest = RELEASE.model_copy(update=changes)
    texts = {
        manifest.model: f"model of {manifest.version}",
        "labels.txt": "cat\ndog\n",
        "golden_input_0.npy": "in",
        "golden_output_0.npy": "out",
        "predict.py": "",
        "runner.py": f"import sys\nassert sys.argv[1] == 'health'\nsys.exit({health})\n",
        f"{manifest.name}.service": UNIT,
        "MODEL_CARD.md": "# tiny",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    manifest = manifest.model_copy(update={"files": dict.fromkeys(texts, "0" * 64)})
    write_manifest(manifest, folder)
    return manifest


def package(folder, **changes):
    """The .deb of a release, and its digest."""
    manifest = release_folder(folder, **changes)
    assert write_debian_package(folder, manifest) == ""
    return next((folder / "raspberrypi").iterdir()), digest_of(folder)


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_device_gets_the_model_and_what_runs_it_and_nothing_else(tmp_path):
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


def test_android_studio_finds_the_model_and_the_code_where_it_looks():
    files = android_files(RELEASE, b"model", GOLDEN)

    assert files["android/src/main/assets/tiny.tflite"] == b"model"
    assert sorted(path for path in files if path.endswith(".kt")) == [
        "android/src/main/java/edge/models/tiny/TinyModel.kt",
        "android/src/test/java/edge/models/tiny/TinyModelTest.kt",
    ]
    assert 'MODEL_FILE = "tiny.tflite"' in files["android/src/main/java/edge/models/tiny/TinyModel.kt"]
    gradle = files["android/build.gradle.kts"]
    assert 'abiFilters += "arm64-v8a"' in gradle
    assert 'noCompress += "tflite"' in gradle


def test_gradle_gets_no_abi_that_is_none():
    files = android_files(RELEASE.model_copy(update={"android_abi": '"); evil("'}), b"", GOLDEN)
    assert "abiFilters" not in files["android/build.gradle.kts"]


def test_what_gradle_and_the_readme_say_parses_as_kotlin():
    import tree_sitter_kotlin
    from tree_sitter import Language, Parser

    files = android_files(RELEASE, b"", GOLDEN)
    example = re.search(r"```kotlin\n(.*?)```", files["android/README.md"], re.S)
    parser = Parser(Language(tree_sitter_kotlin.language()))
    for text in (files["android/build.gradle.kts"], example[1]):
        assert not parser.parse(text.encode()).root_node.has_error, text


@pytest.mark.parametrize(
    ("version", "debian"),
    [("1.0", "1.0-7"), ("1.0-rc1", "1.0~rc1-7"), ("v2_b", "0.v2.b-7"), ("A", "0.A-7"), ("1.-_", "1.~.-7")],
)
def test_any_version_becomes_one_that_dpkg_takes(version, debian):
    assert debian_version(RELEASE.model_copy(update={"version": version, "counter": 7})) == debian
    if shutil.which("dpkg"):
        run("dpkg", "--validate-version", debian)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="there is no dpkg")
def test_a_candidate_is_older_than_what_it_leads_to():
    older, newer = (debian_version(RELEASE.model_copy(update={"version": v})) for v in ("1.0-rc1", "1.0"))
    run("dpkg", "--compare-versions", older, "lt", newer)


@pytest.mark.parametrize(
    ("name", "debian"), [("A_b.c", "edge-model-a-b.c"), ("bash", "edge-model-bash"), ("7--", "edge-model-7")]
)
def test_a_package_never_takes_the_place_of_another(name, debian):
    assert debian_name(RELEASE.model_copy(update={"name": name})) == debian
    if shutil.which("dpkg"):
        run("dpkg", "--validate-pkgname", debian)


@needs_dpkg
def test_the_package_says_what_it_is_and_needs(tmp_path):
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
def test_two_folders_give_the_same_bytes(tmp_path, monkeypatch):
    first, _ = package(tmp_path / "one")
    old = os.umask(0o077)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    try:
        second, _ = package(tmp_path / "elsewhere" / "two")
    finally:
        os.umask(old)
    assert first.read_bytes() == second.read_bytes()


@needs_dpkg
def test_the_scripts_are_shell_that_parses(tmp_path):
    deb, _ = package(tmp_path / "release", name="a.b-c")
    run("dpkg-deb", "-e", deb, tmp_path / "control")
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", tmp_path / "control" / script)
        assert "{" not in re.sub(
            r"\$\{[^}]*\}|\w*\(\) \{|\{ \[", "", (tmp_path / "control" / script).read_text()
        )


@pytest.mark.parametrize(
    ("machine", "path", "reason"),
    [("any", None, "no architecture for 'any'"), ("aarch64", "", "no dpkg-deb here")],
)
def test_where_there_can_be_no_package_the_reason_is_said(machine, path, reason, tmp_path, monkeypatch):
    manifest = release_folder(tmp_path / "release", machine=machine)
    if path is not None:
        monkeypatch.setenv("PATH", path)

    assert reason in write_debian_package(tmp_path / "release", manifest)
    assert not (tmp_path / "release" / "raspberrypi").exists()


@needs_dpkg
def test_a_release_that_lacks_a_file_is_refused(tmp_path):
    manifest = release_folder(tmp_path / "release")
    (tmp_path / "release" / "labels.txt").unlink()
    with pytest.raises(DeployError, match=r"labels\.txt: No such file or directory; build the release again"):
        write_debian_package(tmp_path / "release", manifest)


@needs_dpkg
def test_a_maintainer_adds_no_field_of_his_own(tmp_path):
    manifest = release_folder(tmp_path / "release")
    write_debian_package(tmp_path / "release", manifest, "Ann <a@example.org>\nEssential: yes\n")
    said = run("dpkg-deb", "-f", next((tmp_path / "release" / "raspberrypi").iterdir()))
    assert "Maintainer: Ann <a@example.org> Essential: yes\n" in said
    assert "\nEssential" not in said


class Board:
    """A root folder in which dpkg installs, with this Python as its python3."""

    def __init__(self, root):
        self.root = root
        self.home = root / "opt" / "tiny"
        for folder in ("var/lib/dpkg/updates", "var/lib/dpkg/info", "bin"):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "bin" / "python3").symlink_to(sys.executable)

    def dpkg(self, *arguments):
        options = ("--force-script-chrootless", "--force-depends", "--force-architecture", "--force-not-root")
        return subprocess.run(
            ["dpkg", f"--root={self.root}", *options, "--log=/dev/null", *arguments],
            env=os.environ | {"PATH": f"{self.root}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
        )

    def install(self, deb):
        done = self.dpkg("-i", deb)
        assert done.returncode == 0, done.stdout + done.stderr

    def at(self, link):
        """Where a link of the model's folder leads; it must lead somewhere."""
        assert (self.home / link / "manifest.json").is_file()
        return str((self.home / link).readlink())


@pytest.fixture
def board(tmp_path):
    if shutil.which("dpkg") is None:
        pytest.skip("there is no dpkg")
    return Board(tmp_path / "root")


def test_an_installed_release_is_the_active_one(board, tmp_path):
    deb, digest = package(tmp_path / "one")

    board.install(deb)

    assert board.at("current") == f"releases/{digest}"
    assert not (board.home / "previous").is_symlink()
    assert (board.root / "lib/systemd/system/tiny.service").read_text() == UNIT
    assert not list(board.home.rglob("__pycache__"))


def test_an_upgrade_keeps_the_release_before(board, tmp_path):
    debs = [package(tmp_path / str(i), version=f"1.{i}", counter=i) for i in range(3)]
    digests = [digest for _, digest in debs]

    for deb, _ in debs:
        board.install(deb)

    assert board.at("current") == f"releases/{digests[2]}"
    assert board.at("previous") == f"releases/{digests[1]}"
    assert (board.home / "previous" / RELEASE.model).read_text() == "model of 1.1"
    assert sorted(path.name for path in (board.home / "releases").iterdir()) == sorted(digests[1:])


def test_an_unhealthy_release_leaves_the_old_one_active(board, tmp_path):
    good, digest = package(tmp_path / "good")
    bad, _ = package(tmp_path / "bad", version="2.0", health=1)
    board.install(good)

    done = board.dpkg("-i", bad)

    assert done.returncode != 0
    assert "the release is not healthy here (exit 1)" in done.stderr
    assert board.at("current") == f"releases/.kept-{digest}"
    assert (board.home / "current" / RELEASE.model).read_text() == "model of 1.0"

    board.install(good)

    assert board.at("current") == f"releases/{digest}"
    assert [path.name for path in (board.home / "releases").iterdir()] == [digest]


def test_a_first_release_waits_for_a_runtime_but_no_later_one(board, tmp_path):
    first, digest = package(tmp_path / "first", health=4)
    second, _ = package(tmp_path / "second", version="2.0", health=4)

    board.install(first)

    assert board.at("current") == f"releases/{digest}"
    assert board.dpkg("-i", second).returncode != 0
    assert board.at("current") == f"releases/.kept-{digest}"


def test_going_back_and_installing_again_change_nothing_else(board, tmp_path):
    (old, old_digest), (new, new_digest) = package(tmp_path / "1"), package(tmp_path / "2", version="2.0")
    for deb in (old, new, new, old, old):
        board.install(deb)

    assert board.at("current") == f"releases/{old_digest}"
    assert board.at("previous") == f"releases/{new_digest}"
    assert sorted(path.name for path in (board.home / "releases").iterdir()) == sorted(
        [old_digest, new_digest]
    )


def test_what_another_way_installed_stays_as_the_release_before(board, tmp_path):
    other = board.home / "releases" / ("f" * 64)
    other.mkdir(parents=True)
    (other / "manifest.json").write_text("{}")
    (board.home / "current").symlink_to(f"releases/{other.name}")
    deb, digest = package(tmp_path / "one")

    board.install(deb)

    assert board.at("current") == f"releases/{digest}"
    assert board.at("previous") == f"releases/{other.name}"


def test_a_truncated_package_leaves_the_old_release_active(board, tmp_path):
    old, digest = package(tmp_path / "old")
    new, _ = package(tmp_path / "new", version="2.0")
    board.install(old)
    new.write_bytes(new.read_bytes()[:-500])

    assert board.dpkg("-i", new).returncode != 0

    assert board.at("current") == f"releases/{digest}"
    assert (board.home / "current" / RELEASE.model).read_text() == "model of 1.0"


def test_whichever_rename_of_an_upgrade_fails_a_release_is_active_and_the_next_try_succeeds(board, tmp_path):
    (old, _), (new, new_digest) = package(tmp_path / "old"), package(tmp_path / "new", version="2.0")
    board.install(old)
    mv, count = board.root / "bin" / "mv", board.root / "count"
    real = shutil.which("mv")
    mv.write_text(
        f'#!/bin/sh\nn=$(($(cat {count}) - 1))\necho $n >{count}\n[ $n -ne 0 ] || exit 9\nexec {real} "$@"\n'
    )
    mv.chmod(0o755)
    cuts = 0
    for cut in range(1, 20):  # the cut-th mv fails
        count.write_text(str(cut))
        done = board.dpkg("-i", new)
        board.at("current")
        cuts += done.returncode != 0
        count.write_text("0")
        board.install(new)
        assert board.at("current") == f"releases/{new_digest}"
        if done.returncode == 0:
            break
        board.install(old)
    assert cuts >= 3


def test_removed_it_leaves_no_release_and_purged_nothing(board, tmp_path):
    for version in ("1.0", "2.0"):
        board.install(package(tmp_path / version, version=version)[0])
    (board.home / "state").mkdir()

    assert board.dpkg("-r", "edge-model-tiny").returncode == 0
    assert [path.name for path in board.home.iterdir()] == ["state"]

    assert board.dpkg("-P", "edge-model-tiny").returncode == 0
    assert not board.home.exists()


def test_the_unpacked_package_is_the_release_on_the_device(tmp_path):
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
    assert Path(folder / "tiny.service").read_text() == UNIT
