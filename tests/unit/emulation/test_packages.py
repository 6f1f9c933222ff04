"""Fetching packages: what is refused, and what a failure says."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pipeline.emulation.packages import PrivateApt, download_wheels, require_debian, unpack_wheel
from pipeline.errors import ToolchainError


@pytest.mark.parametrize("name", ["../outside.py", "/outside.py", "package/../../outside.py"])
def test_a_wheel_cannot_write_outside_its_folder(name: str, tmp_path: Path) -> None:
    wheel = tmp_path / "bad.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, "")
    with pytest.raises(ToolchainError, match=r"bad.whl holds the path"):
        unpack_wheel(wheel, tmp_path / "site")
    assert not (tmp_path / "outside.py").exists()


def test_another_system_is_sent_to_the_image(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text("ID=fedora\n")
    with pytest.raises(ToolchainError, match="use the Docker image"):
        require_debian(release)


def test_a_package_that_no_source_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without sources stands for one without network: apt finds nothing in either."""
    apt = PrivateApt(tmp_path, ["arm64"])
    with Path(apt.environment["APT_CONFIG"]).open("a") as file:
        file.write('Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "/dev/null";\n')
    with pytest.raises(
        ToolchainError, match=r"Unable to locate package qemu-user.*pipeline device provision"
    ):
        apt.download(["qemu-user"], lambda done, total: None)


def test_the_private_apt_leaves_the_systems_state_alone(tmp_path: Path) -> None:
    apt = PrivateApt(tmp_path, ["arm64", "amd64"])
    settings = Path(apt.environment["APT_CONFIG"]).read_text()
    for setting in ("Dir::State", "Dir::State::status", "Dir::Cache", "Dir::Log", "Dir::Etc::parts"):
        assert f'{setting} "{tmp_path}' in settings


def test_backports_come_from_the_mirrors_that_the_machine_has_already(tmp_path: Path) -> None:
    apt = PrivateApt(tmp_path, ["arm64"], ["adbd"])
    added = (tmp_path / "sources.d/backports-of-our-own.list").read_text().split("\n")
    known = apt._list_targets("$(REPO_URI) $(RELEASE)")
    for line in filter(None, added):
        _, mirror, suite, _ = line.split()
        assert suite == "bookworm-backports"
        assert f"{mirror} bookworm\n" in known
        assert f"{mirror} bookworm-backports\n" in known
    assert "Package: adbd\n" in (tmp_path / "preferences").read_text()


def test_without_a_source_of_the_release_there_are_no_backports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.emulation.packages.DEBIAN_RELEASE", "absent")
    with pytest.raises(ToolchainError, match=r"no source of absent, .* add one to /etc/apt/sources\.list"):
        PrivateApt(tmp_path, ["arm64"], ["adbd"])


def test_pip_says_what_is_wrong_with_a_requirement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"absent-package==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ToolchainError, match=r"pip download failed: .*absent-package"):
        download_wheels(Path(), requirements, tmp_path / "wheels", lambda done, total: None)
