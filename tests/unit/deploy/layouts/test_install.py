"""The Debian package, installed for real by dpkg into a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest


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
        done = self.try_to_install(deb)
        assert done.returncode == 0, done.stdout + done.stderr

    def try_to_install(self, deb):
        return self.dpkg("-i", deb if os.geteuid() == 0 else self.own(deb))

    def own(self, deb):
        """Give the files in a package to this user: only root may unpack those of root."""
        folder = self.root.with_name("unpacked")
        shutil.rmtree(folder, ignore_errors=True)
        for step in (["-R", deb, folder], ["-b", folder, owned := self.root.with_name("owned.deb")]):
            done = subprocess.run(["dpkg-deb", *step], capture_output=True)
            if done.returncode != 0:  # what is damaged stays so
                return deb
        return owned

    def at(self, link):
        """Where a link of the model's folder leads; it must lead somewhere."""
        assert (self.home / link / "manifest.json").is_file()
        return str((self.home / link).readlink())


@pytest.fixture
def board(tmp_path):
    if shutil.which("dpkg") is None:
        pytest.skip("there is no dpkg, so this is not Debian")
    return Board(tmp_path / "root")


def test_an_installed_release_is_the_active_one(board, tmp_path, package, unit):
    deb, digest = package(tmp_path / "one")

    board.install(deb)

    assert board.at("current") == f"releases/{digest}"
    assert not (board.home / "previous").is_symlink()
    assert (board.root / "lib/systemd/system/tiny.service").read_text() == unit
    assert not list(board.home.rglob("__pycache__"))


def test_an_upgrade_keeps_the_release_before(board, tmp_path, package, release):
    debs = [package(tmp_path / str(i), version=f"1.{i}", counter=i) for i in range(3)]
    digests = [digest for _, digest in debs]

    for deb, _ in debs:
        board.install(deb)

    assert board.at("current") == f"releases/{digests[2]}"
    assert board.at("previous") == f"releases/{digests[1]}"
    assert (board.home / "previous" / release.model).read_text() == "model of 1.1"
    assert sorted(path.name for path in (board.home / "releases").iterdir()) == sorted(digests[1:])


def test_an_unhealthy_release_leaves_the_old_one_active(board, tmp_path, package, release):
    good, digest = package(tmp_path / "good")
    bad, _ = package(tmp_path / "bad", version="2.0", health=1)
    board.install(good)

    done = board.try_to_install(bad)

    assert done.returncode != 0
    assert "the release is not healthy here (exit 1)" in done.stderr
    assert board.at("current") == f"releases/.kept-{digest}"
    assert (board.home / "current" / release.model).read_text() == "model of 1.0"

    board.install(good)

    assert board.at("current") == f"releases/{digest}"
    assert [path.name for path in (board.home / "releases").iterdir()] == [digest]


def test_a_first_release_waits_for_a_runtime_but_no_later_one(board, tmp_path, package):
    first, digest = package(tmp_path / "first", health=4)
    second, _ = package(tmp_path / "second", version="2.0", health=4)

    board.install(first)

    assert board.at("current") == f"releases/{digest}"
    assert board.try_to_install(second).returncode != 0
    assert board.at("current") == f"releases/.kept-{digest}"


def test_going_back_and_installing_again_change_nothing_else(board, tmp_path, package):
    (old, old_digest), (new, new_digest) = package(tmp_path / "1"), package(tmp_path / "2", version="2.0")
    for deb in (old, new, new, old, old):
        board.install(deb)

    assert board.at("current") == f"releases/{old_digest}"
    assert board.at("previous") == f"releases/{new_digest}"
    assert sorted(path.name for path in (board.home / "releases").iterdir()) == sorted(
        [old_digest, new_digest]
    )


def test_what_another_way_installed_stays_as_the_release_before(board, tmp_path, package):
    other = board.home / "releases" / ("f" * 64)
    other.mkdir(parents=True)
    (other / "manifest.json").write_text("{}")
    (board.home / "current").symlink_to(f"releases/{other.name}")
    deb, digest = package(tmp_path / "one")

    board.install(deb)

    assert board.at("current") == f"releases/{digest}"
    assert board.at("previous") == f"releases/{other.name}"


def test_its_service_runs_the_python_that_the_package_has_checked(board, tmp_path, package):
    deb, digest = package(tmp_path / "one")
    for each in (digest, "f" * 64):
        (board.home / "python").mkdir(parents=True, exist_ok=True)
        (board.home / "python" / each).symlink_to("/opt/edge-python/bin/python3")

    board.install(deb)

    assert [path.name for path in (board.home / "python").iterdir()] == ["f" * 64]


def test_a_truncated_package_leaves_the_old_release_active(board, tmp_path, package, release):
    old, digest = package(tmp_path / "old")
    new, _ = package(tmp_path / "new", version="2.0")
    board.install(old)
    new.write_bytes(new.read_bytes()[:-500])

    assert board.try_to_install(new).returncode != 0

    assert board.at("current") == f"releases/{digest}"
    assert (board.home / "current" / release.model).read_text() == "model of 1.0"


def test_whichever_rename_of_an_upgrade_fails_a_release_is_active_and_the_next_try_succeeds(
    board, tmp_path, package
):
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
        done = board.try_to_install(new)
        board.at("current")
        cuts += done.returncode != 0
        count.write_text("0")
        board.install(new)
        assert board.at("current") == f"releases/{new_digest}"
        if done.returncode == 0:
            break
        board.install(old)
    assert cuts >= 3


def test_removed_it_leaves_no_release_and_purged_nothing(board, tmp_path, package):
    for version in ("1.0", "2.0"):
        board.install(package(tmp_path / version, version=version)[0])
    (board.home / "state").mkdir()
    (board.home / "python").mkdir()
    (board.home / "python" / ("f" * 64)).symlink_to("/opt/edge-python/bin/python3")

    assert board.dpkg("-r", "edge-model-tiny").returncode == 0
    assert [path.name for path in board.home.iterdir()] == ["state"]

    assert board.dpkg("-P", "edge-model-tiny").returncode == 0
    assert not board.home.exists()
