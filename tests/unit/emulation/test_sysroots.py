"""The architectures of emulated devices."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from pipeline.emulation.sysroots import SYSROOTS, get_sysroot
from pipeline.errors import ToolchainError
from pipeline.targets import load_devices

DEVICES = [device for device in load_devices().values() if not device.is_host]


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_every_devices_architecture_can_be_emulated_with_its_runtime(device) -> None:
    distribution = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}[device.runtime]
    assert get_sysroot(device.arch).pinned()[distribution] == version(distribution)


@pytest.mark.parametrize("arch", SYSROOTS)
def test_every_architecture_has_a_device_and_a_part_of_its_own(arch: str) -> None:
    assert any(device.arch == arch for device in DEVICES)
    assert get_sysroot(arch).arch == arch
    others = [sysroot for sysroot in SYSROOTS.values() if sysroot.arch != arch]
    assert get_sysroot(arch).bundle.folder not in [sysroot.bundle.folder for sysroot in others]


@pytest.mark.parametrize("arch", SYSROOTS)
def test_a_sysroots_environment_is_fixed(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = get_sysroot(arch).environment()
    assert environment["PYTHONHASHSEED"] == "0"
    assert "/elsewhere" not in environment["PYTHONPATH"]


def test_another_architecture_is_refused() -> None:
    with pytest.raises(
        ToolchainError, match="devices of riscv64 are not emulated, only those of aarch64 and"
    ):
        get_sysroot("riscv64")
