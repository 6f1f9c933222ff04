"""A bundle of the emulator: how it is published, and how damage shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.emulation.bundle import Bundle, bundle_for, cache_folder, host_architecture, write_manifest
from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path) -> None:
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site/module.py").write_text("pass\n")
    write_manifest(folder, {"source.deb": "1a" * 32})


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    """Return a bundle with one file."""
    found = Bundle("arm64", tmp_path / "arm64-key")
    found.make_with(make)
    return found


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_another_recipe_has_another_folder() -> None:
    folders = {bundle_for("tools", recipe).folder for recipe in (["a"], ["b"], ["a", "b"])}
    assert len(folders) == 3


def test_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ToolchainError, match="not on riscv64"):
        host_architecture()


def test_a_whole_bundle_has_no_damage_and_says_where_it_came_from(made: Bundle) -> None:
    made.require()
    assert made.damage(hashes=True) is None
    assert made.manifest()["sources"] == {"source.deb": "1a" * 32}


def test_a_missing_bundle_is_answered_with_its_command(tmp_path: Path) -> None:
    missing = Bundle("armhf", tmp_path / "absent", "pipeline device provision armv7")
    with pytest.raises(
        ToolchainError, match=r"not provisioned \(armhf\); run: pipeline device provision armv7"
    ):
        missing.require()


def test_a_lost_or_truncated_file_shows_by_its_size(made: Bundle) -> None:
    (made.folder / "site/module.py").write_text("")
    assert list(made.damaged_files(hashes=False)) == ["site/module.py"]
    (made.folder / "site/module.py").unlink()
    with pytest.raises(ToolchainError, match=r"file arm64/site/module.py is damaged; run: "):
        made.require()


def test_an_altered_file_shows_by_its_hash(made: Bundle) -> None:
    (made.folder / "site/module.py").write_text("PASS\n")
    assert made.damage(hashes=False) is None
    assert made.damage(hashes=True) == "site/module.py"


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"files": {"site": 3}})])
def test_a_damaged_manifest_shows(text: str, made: Bundle) -> None:
    (made.folder / "manifest.json").write_text(text)
    assert made.damage(hashes=False) == "manifest.json"


def test_only_what_is_damaged_is_made_again(made: Bundle) -> None:
    made.make_with(lambda folder: pytest.fail("it is whole"))
    (made.folder / "site/module.py").unlink()
    made.make_with(make)
    assert made.damage(hashes=True) is None


def test_an_interrupted_run_publishes_nothing_and_keeps_its_downloads(tmp_path: Path) -> None:
    found = Bundle("arm64", tmp_path / "arm64-key")

    def interrupted(folder: Path) -> None:
        (folder / "download").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found.make_with(interrupted)
    assert not found.folder.exists()

    def resumed(folder: Path) -> None:
        assert (folder / "download").exists()
        make(folder)

    found.make_with(resumed)
    found.require()
