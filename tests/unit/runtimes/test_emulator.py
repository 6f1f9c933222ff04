"""The emulator's folder: where it is, what belongs to a device, and how damage shows."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ToolchainError
from pipeline.runtimes.emulator import Emulator, cache_folder, find_emulator
from pipeline.targets import get_device

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def emulator(tmp_path: Path) -> Emulator:
    """Return the folder of an emulator with one file."""
    (tmp_path / "roots/arm64/usr").mkdir(parents=True)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/module.py").write_text("pass\n")
    recorded = {"site/module.py": (5, hashlib.sha256(b"pass\n").hexdigest())}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": recorded}))
    return Emulator(tmp_path, "amd64")


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_missing_emulator_is_answered_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    with pytest.raises(ToolchainError, match="not provisioned; run: pipeline device provision"):
        find_emulator()


def test_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ToolchainError, match="not on riscv64"):
        find_emulator()


def test_a_device_sees_its_own_cores_and_the_shared_files(emulator: Emulator) -> None:
    device = get_device("rpi5")
    root = emulator.device_root(device)
    assert (root / "proc/cpuinfo").read_text() == device.cpuinfo_text()
    assert (root / "sys/devices/system/cpu/present").read_text() == "0-3\n"
    assert (root / "usr").is_dir()
    assert (root / "site/module.py").is_file()
    assert emulator.device_root(device) == root


def test_the_command_names_the_devices_core_and_root(emulator: Emulator) -> None:
    device = get_device("rpi4")
    command = emulator.command(device, "marks")
    assert command[command.index("-cpu") + 1] == "cortex-a72"
    assert command[command.index("-L") + 1] == str(emulator.device_root(device))


def test_a_whole_emulator_has_no_damage(emulator: Emulator) -> None:
    assert list(emulator.damaged_files(hashes=True)) == []


def test_a_lost_or_truncated_file_shows_by_its_size(emulator: Emulator) -> None:
    (emulator.folder / "site/module.py").write_text("")
    assert list(emulator.damaged_files(hashes=False)) == ["site/module.py"]
    (emulator.folder / "site/module.py").unlink()
    assert list(emulator.damaged_files(hashes=False)) == ["site/module.py"]


def test_an_altered_file_shows_by_its_hash(emulator: Emulator) -> None:
    (emulator.folder / "site/module.py").write_text("PASS\n")
    assert list(emulator.damaged_files(hashes=False)) == []
    assert list(emulator.damaged_files(hashes=True)) == ["site/module.py"]
