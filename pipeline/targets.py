"""The targets and devices a model can be built for: the rows of ``targets.toml``, as frozen values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = TypeVar("Row")


@dataclass(frozen=True)
class CpuInfo:
    """What a board's ``/proc/cpuinfo`` says of each of its cores."""

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
        arch: the machine as ``uname -m`` says it, e.g. ``"aarch64"``.
        cpu: the core, by qemu's name for it.
        cores: how many of them there are.
        cpuinfo: the core's identity, which decides the kernels that a runtime picks.
    """

    name: str
    title: str
    arch: str
    cpu: str
    cores: int
    cpuinfo: CpuInfo

    @property
    def has_dot_product(self) -> bool:
        """Whether the core has SDOT/UDOT, on which fast int8 kernels stand."""
        return "asimddp" in self.cpuinfo.features

    def cpuinfo_text(self) -> str:
        """Return the text of the board's ``/proc/cpuinfo``."""
        core = (
            f"BogoMIPS\t: {self.cpuinfo.bogomips:.2f}\n"
            f"Features\t: {' '.join(self.cpuinfo.features)}\n"
            f"CPU implementer\t: {self.cpuinfo.implementer:#04x}\n"
            "CPU architecture: 8\n"
            f"CPU variant\t: {self.cpuinfo.variant:#x}\n"
            f"CPU part\t: {self.cpuinfo.part:#05x}\n"
            f"CPU revision\t: {self.cpuinfo.revision}\n"
        )
        return "".join(f"processor\t: {index}\n{core}\n" for index in range(self.cores))


@dataclass(frozen=True)
class Target:
    """What a release is made for: one or more devices and the runtime they carry."""

    name: str
    title: str
    devices: tuple[Device, ...]
    runtime: str


@cache
def load_devices() -> dict[str, Device]:
    """Return every device by name, in the order of ``targets.toml``."""
    return {
        name: Device(name=name, cpuinfo=_cpuinfo(row.pop("cpuinfo")), **row)
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
    return _row(load_devices(), name, "device")


def get_target(name: str) -> Target:
    """Return the target called ``name``.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    return _row(load_targets(), name, "target")


def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(files("pipeline").joinpath("targets.toml").read_text(encoding="utf-8"))


def _cpuinfo(row: dict[str, Any]) -> CpuInfo:
    return CpuInfo(features=tuple(row.pop("features")), **row)


def _row(rows: Mapping[str, Row], name: str, kind: str) -> Row:
    if name in rows:
        return rows[name]
    nearest = get_close_matches(name, rows, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose one of {', '.join(rows)}"
    message = f"unknown {kind} {name!r}: {hint}"
    raise ConfigError(message)
