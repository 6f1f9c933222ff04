"""The targets and devices a model can be built for: the rows of ``targets.toml``, as frozen values."""

from __future__ import annotations

import os
import platform
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = TypeVar("Row")
Package = Literal["litert", "tflite-runtime"]

HOST = "host"
"""The name of the device that this machine is."""


@dataclass(frozen=True)
class CpuInfo:
    """Core identification from a board's ``/proc/cpuinfo``; all 0 if not given."""

    implementer: int
    variant: int
    part: int
    revision: int
    bogomips: float
    features: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    """A board, as far as a model can tell it from another.

    Attributes:
        name: the row's key, e.g. ``"rpi4"``.
        title: its name in full.
        arch: the machine as ``uname -m`` says it: ``"aarch64"`` or ``"armv7l"``; the host's may be another.
        cpu: the core, by qemu's name for it; the host's by its maker's.
        cores: how many of them there are.
        memory_mib: its memory, in MiB.
        runtime: the package that runs models on it.
        cpuinfo: the core's identity, which decides the kernels that a runtime picks.
    """

    name: str
    title: str
    arch: str
    cpu: str
    cores: int
    memory_mib: int
    runtime: Package
    cpuinfo: CpuInfo

    @property
    def has_dot_product(self) -> bool:
        """Whether the core has SDOT/UDOT, which fast int8 kernels need."""
        return "asimddp" in self.cpuinfo.features

    @property
    def is_host(self) -> bool:
        """Whether it is this machine itself."""
        return self.name == HOST

    def cpuinfo_text(self) -> str:
        """Return the text of the board's ``/proc/cpuinfo``, as its kernel writes it."""
        is_32_bit = self.arch == "armv7l"
        name = f"model name\t: ARMv7 Processor rev {self.cpuinfo.revision} (v7l)\n" if is_32_bit else ""
        core = (
            f"{name}"
            f"BogoMIPS\t: {self.cpuinfo.bogomips:.2f}\n"
            f"Features\t: {' '.join(self.cpuinfo.features)}\n"
            f"CPU implementer\t: {self.cpuinfo.implementer:#04x}\n"
            f"CPU architecture: {7 if is_32_bit else 8}\n"
            f"CPU variant\t: {self.cpuinfo.variant:#x}\n"
            f"CPU part\t: {self.cpuinfo.part:#05x}\n"
            f"CPU revision\t: {self.cpuinfo.revision}\n"
        )
        board = "Hardware\t: Generic DT based system\nRevision\t: 0000\n" if is_32_bit else ""
        return "".join(f"processor\t: {index}\n{core}\n" for index in range(self.cores)) + board


@dataclass(frozen=True)
class Target:
    """Target of a release: one or more devices with the same runtime.

    Attributes:
        compiler: the vendor compiler that the quantized model goes through; None if it runs as it is.
    """

    name: str
    title: str
    devices: tuple[Device, ...]
    compiler: str | None = None

    @property
    def runtime(self) -> Package:
        """The package that runs models on its devices."""
        return self.devices[0].runtime


@cache
def load_devices() -> dict[str, Device]:
    """Return every device by name, in the order of ``targets.toml``."""
    return {
        name: Device(name=name, **(_host_row(row) if name == HOST else _row_of(row)))
        for name, row in _tables()["devices"].items()
    }


@cache
def load_targets() -> dict[str, Target]:
    """Return every target by name, in the order of ``targets.toml``."""
    return {
        name: Target(name=name, devices=tuple(map(get_device, row.pop("devices"))), **row)
        for name, row in _tables()["targets"].items()
    }


def get_device(name: str) -> Device:
    """Return the device called ``name``.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    return _find(load_devices(), name, "device")


def get_target(name: str) -> Target:
    """Return the target called ``name``.

    Raises:
        ConfigError: there is none; names the nearest, or the targets of a device.
    """
    if "," in name:
        message = f"{name!r} names several targets; build once for each"
        raise ConfigError(message)
    if name not in load_targets() and name in load_devices():
        of_device = [
            target.name for target in load_targets().values() if load_devices()[name] in target.devices
        ]
        hint = f"its target is {of_device[0]}" if of_device else "no target includes it"
        message = f"{name!r} is a device; {hint}"
        raise ConfigError(message)
    return _find(load_targets(), name, "target")


def chosen_devices(target: Target, names: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices of these names, each once; all of the target's where none is named.

    What is not a row, such as the emulated board or the address of a real one, the caller takes out first.

    Raises:
        ConfigError: a name is unknown; names the nearest.
    """
    return tuple(dict.fromkeys(map(get_device, names))) or target.devices


def read_cpuinfo(text: str) -> tuple[str, CpuInfo]:
    """Return the core's name and identity, as the ``/proc/cpuinfo`` of an Arm or x86 machine tells them."""
    split = (line.partition(":") for line in text.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in split}
    identity = CpuInfo(
        implementer=int(fields.get("CPU implementer", "0"), 0),
        variant=int(fields.get("CPU variant", "0"), 0),
        part=int(fields.get("CPU part", "0"), 0),
        revision=int(fields.get("CPU revision", "0"), 0),
        bogomips=float(fields.get("BogoMIPS", "0")),
        features=tuple(fields.get("Features", "").split()),
    )
    return fields.get("model name", f"{identity.implementer:#04x}:{identity.part:#05x}"), identity


def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(files("pipeline").joinpath("targets.toml").read_text(encoding="utf-8"))


def _row_of(row: dict[str, Any]) -> dict[str, Any]:
    cpuinfo = row.pop("cpuinfo")
    return {**row, "cpuinfo": CpuInfo(features=tuple(cpuinfo.pop("features")), **cpuinfo)}


def _host_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return the host's row with what this machine says of itself."""
    source = Path("/proc/cpuinfo")
    cpu, cpuinfo = read_cpuinfo(source.read_text(encoding="utf-8") if source.exists() else "")
    return {
        "arch": platform.machine(),
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "cpuinfo": cpuinfo,
        **row,
    }


def _find(rows: Mapping[str, Row], name: str, kind: str) -> Row:
    if name in rows:
        return rows[name]
    nearest = get_close_matches(name, rows, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose one of {', '.join(rows)}"
    message = f"unknown {kind} {name!r}; {hint}"
    raise ConfigError(message)
