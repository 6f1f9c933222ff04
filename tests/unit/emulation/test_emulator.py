"""An emulator: where it is looked for, and what belongs to a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.emulation.bundle import Bundle, write_manifest
from pipeline.emulation.emulator import Emulator, find_emulator
from pipeline.emulation.provisioning import tools_bundle
from pipeline.emulation.sysroots import get_sysroot
from pipeline.errors import ToolchainError
from pipeline.targets import get_device

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.targets import Device


def emulator_of(device: Device, folder: Path) -> Emulator:
    """Return an emulator with one file, and tools that are none."""
    tools, root = Bundle("tools", folder / "tools"), Bundle("root", folder / "guest")
    tools.folder.mkdir(exist_ok=True)
    (root.folder / "root/usr").mkdir(parents=True, exist_ok=True)
    (root.folder / "site").mkdir(exist_ok=True)
    (root.folder / "site/module.py").write_text("pass\n")
    for bundle in (tools, root):
        write_manifest(bundle.folder, {})
    return Emulator(get_sysroot(device.arch), tools, root)


@pytest.mark.parametrize(
    ("arch", "remedy"),
    [("aarch64", "pipeline device provision"), ("armv7l", "pipeline device provision armv7")],
)
def test_a_missing_emulator_is_answered_with_the_command(
    arch: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    emulator = Emulator(get_sysroot(arch), tools_bundle(), get_sysroot(arch).bundle)
    emulator.tools.make_with(lambda folder: write_manifest(folder, {}))
    with pytest.raises(ToolchainError, match=rf"not provisioned .*; run: {remedy}$"):
        find_emulator(arch)
    emulator.root.make_with(lambda folder: write_manifest(folder, {}))
    assert find_emulator(arch) == emulator


@pytest.mark.parametrize("name", ["rpi5", "armv7"])
def test_a_device_sees_its_own_cores_and_the_shared_files(name: str, tmp_path: Path) -> None:
    device = get_device(name)
    emulator = emulator_of(device, tmp_path)
    root = emulator.device_root(device)
    assert (root / "proc/cpuinfo").read_text() == device.cpuinfo_text()
    assert (root / "sys/devices/system/cpu/present").read_text() == "0-3\n"
    assert (root / "usr").is_dir()
    assert (root / "site/module.py").is_file()
    assert emulator.device_root(device) == root


@pytest.mark.parametrize(
    ("name", "qemu", "core"), [("rpi4", "qemu-aarch64", "cortex-a72"), ("armv7", "qemu-arm", "cortex-a7")]
)
def test_the_command_names_the_devices_core_and_root(name: str, qemu: str, core: str, tmp_path: Path) -> None:
    device = get_device(name)
    emulator = emulator_of(device, tmp_path)
    command = emulator.command(device, "marks")
    assert any(word.endswith(f"/usr/bin/{qemu}") for word in command)
    assert command[command.index("-cpu") + 1] == core
    assert command[command.index("-L") + 1] == str(emulator.device_root(device))
    plugins = [command[at + 1] for at, word in enumerate(command) if word == "-plugin"]
    assert plugins[0] == f"{emulator.tools.folder}/icount.so,out=marks"


def test_a_damaged_file_is_named_with_its_part(tmp_path: Path) -> None:
    emulator = emulator_of(get_device("rpi4"), tmp_path)
    assert list(emulator.damaged_files(hashes=True)) == []
    (emulator.root.folder / "site/module.py").write_text("")
    assert list(emulator.damaged_files(hashes=False)) == ["root/site/module.py"]
