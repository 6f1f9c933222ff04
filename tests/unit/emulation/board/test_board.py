"""A board's persistent disk: what is none is refused before anything boots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.emulation.board.board import _persistent_disk
from pipeline.emulation.board.image import BoardImage
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("content", [b"", b"text", bytes(4096)])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    disk = tmp_path / "notes"
    disk.write_bytes(content)
    with pytest.raises(ConfigError, match=r"notes is not a disk of the board's"):
        _persistent_disk(BoardImage("image", tmp_path), disk)
    assert disk.read_bytes() == content


def test_a_folder_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"there is no folder .*/absent"):
        _persistent_disk(BoardImage("image", tmp_path), tmp_path / "absent/disk")


def test_a_file_system_is_taken_as_it_is(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1080) + b"\x53\xef")
    assert _persistent_disk(BoardImage("image", tmp_path), disk) == disk
