"""The rows of targets.toml."""

from __future__ import annotations

import platform

import pytest

from pipeline.errors import ConfigError
from pipeline.targets import (
    chosen_devices,
    get_device,
    get_target,
    load_devices,
    load_targets,
    read_cpuinfo,
)

EMULATED = [device.name for device in load_devices().values() if not device.is_host]


def test_arm64_is_a_core_without_and_a_core_with_dot_product() -> None:
    devices = get_target("arm64").devices
    assert [(device.name, device.cpu, device.has_dot_product) for device in devices] == [
        ("rpi4", "cortex-a72", False),
        ("rpi5", "cortex-a76", True),
    ]


@pytest.mark.parametrize("name", EMULATED)
def test_every_device_names_a_real_core_that_its_cpuinfo_describes(name: str) -> None:
    device = get_device(name)
    # Arm's MIDR part numbers
    parts = {"cortex-a7": 0xC07, "cortex-a53": 0xD03, "cortex-a72": 0xD08, "cortex-a76": 0xD0B}
    assert device.cpuinfo.part == parts[device.cpu]
    simd = {"aarch64": {"fp", "asimd"}, "armv7l": {"vfpv4", "neon"}}
    assert simd[device.arch] <= set(device.cpuinfo.features)


@pytest.mark.parametrize("name", load_devices())
def test_every_device_says_what_it_has(name: str) -> None:
    device = get_device(name)
    assert device.memory_mib >= 256
    assert device.cores >= 1
    assert device.runtime in ("litert", "tflite-runtime")


def test_the_host_is_this_machine() -> None:
    host = get_device("host")
    assert host.is_host
    assert host.arch == platform.machine()
    assert get_target("host").devices == (host,)


@pytest.mark.parametrize("name", load_targets())
def test_every_target_has_devices_of_one_architecture_and_runtime(name: str) -> None:
    target = get_target(name)
    assert len({device.arch for device in target.devices}) == 1
    assert {device.runtime for device in target.devices} == {target.runtime}


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


def test_a_32_bit_kernel_writes_another_cpuinfo() -> None:
    *cores, board = get_device("armv7").cpuinfo_text().split("\n\n")
    assert len(cores) == 4
    assert cores[3].splitlines() == [
        "processor\t: 3",
        "model name\t: ARMv7 Processor rev 5 (v7l)",
        "BogoMIPS\t: 38.40",
        "Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm",
        "CPU implementer\t: 0x41",
        "CPU architecture: 7",
        "CPU variant\t: 0x0",
        "CPU part\t: 0xc07",
        "CPU revision\t: 5",
    ]
    assert board.startswith("Hardware\t: ")


@pytest.mark.parametrize("name", EMULATED)
def test_a_cores_identity_is_read_back_from_its_cpuinfo(name: str) -> None:
    device = get_device(name)
    assert read_cpuinfo(device.cpuinfo_text())[1] == device.cpuinfo


def test_another_makers_cpuinfo_gives_the_cores_name_alone() -> None:
    name, identity = read_cpuinfo("processor\t: 0\nmodel name\t: A Core\nflags\t\t: avx2\n")
    assert name == "A Core"
    assert (identity.part, identity.features) == (0, ())


def test_devices_are_chosen_by_name_each_once() -> None:
    target = get_target("arm64")
    chosen = chosen_devices(target, ["rpi5", "armv7", "rpi5"])
    assert [device.name for device in chosen] == ["rpi5", "armv7"]
    assert chosen_devices(target, []) == target.devices
    with pytest.raises(ConfigError, match=r"unknown device 'rpi-zero'; did you mean 'rpi-zero2'\?"):
        chosen_devices(target, ["rpi4", "rpi-zero"])


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown device 'rp4'; did you mean 'rpi4'\?"):
        get_device("rp4")
    with pytest.raises(ConfigError, match="unknown target 'riscv'; choose one of arm64"):
        get_target("riscv")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rpi5", "'rpi5' is a device; its target is arm64"),
        ("rpi3", "'rpi3' is a device; no target includes it"),
        ("arm64,armv7", "names several targets; build once for each"),
    ],
)
def test_a_device_or_a_list_in_place_of_a_target_is_explained(name, said):
    with pytest.raises(ConfigError, match=said):
        get_target(name)
