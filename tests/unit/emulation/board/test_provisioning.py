"""The board's image: what is missing or damaged is named, with the command that mends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.emulation.board.provisioning import _expected, find_image, is_board_provisioned
from pipeline.emulation.bundle import write_manifest
from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.emulation.board.image import BoardImage


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BoardImage:
    """Files that stand for an image: only their names and bytes matter here."""
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    image = _expected()
    image.folder.mkdir(parents=True)
    for path in (image.kernel, image.initrd, image.diskless, image.root):
        path.write_bytes(b"bytes")
    write_manifest(image.folder, {})
    return image


def test_a_whole_image_is_found(image: BoardImage):
    assert find_image() == image
    assert is_board_provisioned()


def test_a_truncated_file_is_named(image: BoardImage):
    image.root.write_bytes(b"")
    with pytest.raises(ToolchainError, match=r"root\.ext4 is damaged; run: pipeline device provision board"):
        find_image()


def test_a_changed_byte_shows_in_the_hashes(image: BoardImage):
    image.kernel.write_bytes(b"BYTES")
    assert not list(image.damaged_files(hashes=False))
    assert list(image.damaged_files(hashes=True)) == ["kernel"]


@pytest.mark.parametrize("text", ["", "no JSON", "{}", json.dumps({"files": 1})])
def test_a_damaged_manifest_is_named(image: BoardImage, text: str):
    (image.folder / "manifest.json").write_text(text)
    with pytest.raises(ToolchainError, match=r"manifest\.json is damaged"):
        find_image()


def test_without_an_image_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    assert not is_board_provisioned()
    with pytest.raises(ToolchainError, match="run: pipeline device provision board"):
        find_image()


def test_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ToolchainError, match="not on riscv64"):
        _expected()
