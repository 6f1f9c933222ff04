"""The rows of targets.toml."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.targets import get_device, get_target, load_devices, load_targets


def test_arm64_is_a_core_without_and_a_core_with_dot_product() -> None:
    devices = get_target("arm64").devices
    assert [(device.name, device.cpu, device.has_dot_product) for device in devices] == [
        ("rpi4", "cortex-a72", False),
        ("rpi5", "cortex-a76", True),
    ]


@pytest.mark.parametrize("name", load_devices())
def test_every_device_names_a_real_core_that_its_cpuinfo_describes(name: str) -> None:
    device = get_device(name)
    parts = {"cortex-a53": 0xD03, "cortex-a72": 0xD08, "cortex-a76": 0xD0B}  # Arm's MIDR part numbers
    assert device.cpuinfo.part == parts[device.cpu]
    assert device.arch == "aarch64"
    assert {"fp", "asimd"} <= set(device.cpuinfo.features)


@pytest.mark.parametrize("name", load_targets())
def test_every_target_has_devices_of_one_architecture(name: str) -> None:
    assert len({device.arch for device in get_target(name).devices}) == 1


def test_cpuinfo_text_has_one_block_a_core() -> None:
    blocks = get_device("rpi4").cpuinfo_text().strip().split("\n\n")
    assert len(blocks) == 4
    assert blocks[3].splitlines() == [
        "processor\t: 3",
        "BogoMIPS\t: 108.00",
        "Features\t: fp asimd evtstrm crc32 cpuid",
        "CPU implementer\t: 0x41",
        "CPU architecture: 8",
        "CPU variant\t: 0x0",
        "CPU part\t: 0xd08",
        "CPU revision\t: 3",
    ]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown device 'rp4': did you mean 'rpi4'\?"):
        get_device("rp4")
    with pytest.raises(ConfigError, match="unknown target 'riscv': choose one of arm64"):
        get_target("riscv")
