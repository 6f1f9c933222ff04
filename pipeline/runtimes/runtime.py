"""Where a .tflite model can run: which runtime, which version of it, on which core."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.runtimes.emulator import find_emulator
from pipeline.targets import CpuInfo, Device

if TYPE_CHECKING:
    from pipeline.targets import Target

Kind = Literal["host", "emulated", "native"]
Package = Literal["litert", "tflite-runtime"]

DISTRIBUTIONS: dict[Package, str] = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
"""The runtimes and the distribution that each comes in. LiteRT alone runs int8 on XNNPACK."""


@dataclass(frozen=True)
class Runtime:
    """A place to run a model.

    Attributes:
        name: e.g. ``"litert"`` on the host, ``"litert-rpi4"`` on a device.
        kind: ``"host"``; ``"emulated"`` by qemu-user; or ``"native"``, an arm64 host's own core.
        device: None for ``"host"``.
    """

    name: str
    kind: Kind
    package: Package
    version: str
    device: Device | None = None

    @property
    def title(self) -> str:
        """The runtime in words, e.g. ``"litert 2.3.0, emulated cortex-a72"``."""
        where = f"{self.kind} {self.device.cpu}" if self.device else f"host {platform.machine()}"
        return f"{self.package} {self.version}, {where}"

    def command(self, script: str, marks: str) -> list[str]:
        """Return the command that runs the worker ``script`` here; emulated, it appends counts to ``marks``.

        Raises:
            ToolchainError: the emulator is needed and not provisioned.
        """
        python = [sys.executable, "-P"]
        if self.kind == "emulated" and self.device is not None:
            python = [*find_emulator().command(self.device, marks)]
        return [*python, script, self.package]

    def environment(self) -> dict[str, str]:
        """Return the worker's environment."""
        return find_emulator().environment() if self.kind == "emulated" else dict(os.environ)


def host_runtime(package: Package) -> Runtime:
    """Return a runtime of this Python environment, on this machine."""
    return Runtime(package, "host", package, version(DISTRIBUTIONS[package]))


def emulated_runtime(device: Device) -> Runtime:
    """Return LiteRT on an emulated device, in the version that its Python has."""
    pins = files("pipeline.runtimes").joinpath("wheels-aarch64.txt").read_text(encoding="utf-8")
    pinned = dict(line.split()[0].split("==") for line in pins.splitlines() if "==" in line)
    return Runtime(f"litert-{device.name}", "emulated", "litert", pinned[DISTRIBUTIONS["litert"]], device)


def native_runtime() -> Runtime:
    """Return LiteRT on the core of this host, which is arm64."""
    device = read_host_device(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return Runtime("litert-native", "native", "litert", version(DISTRIBUTIONS["litert"]), device)


def runtimes_for(target: Target) -> tuple[Runtime, ...]:
    """Return what a model for ``target`` is validated on.

    LiteRT and tflite-runtime on the host, then LiteRT on each of the target's devices, emulated. On an arm64
    host its own core stands for the devices: native, and named so.
    """
    hosts = tuple(host_runtime(package) for package in DISTRIBUTIONS)
    if is_native(target):
        return (*hosts, native_runtime())
    return (*hosts, *(emulated_runtime(device) for device in target.devices))


def is_native(target: Target) -> bool:
    """Whether this machine is of the target's own architecture."""
    return all(device.arch == platform.machine() for device in target.devices)


def read_host_device(cpuinfo: str) -> Device:
    """Return the device that an arm64 host is, from the text of its ``/proc/cpuinfo``."""
    split = (line.partition(":") for line in cpuinfo.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in split}
    part = int(fields.get("CPU part", "0"), 0)
    identity = CpuInfo(
        implementer=int(fields.get("CPU implementer", "0"), 0),
        variant=int(fields.get("CPU variant", "0"), 0),
        part=part,
        revision=int(fields.get("CPU revision", "0"), 0),
        bogomips=float(fields.get("BogoMIPS", "0")),
        features=tuple(fields.get("Features", "").split()),
    )
    core = f"{identity.implementer:#04x}:{part:#05x}"
    return Device("native", "this arm64 machine", "aarch64", core, os.cpu_count() or 1, identity)
