"""Where a .tflite model can run: which runtime, which version of it, on which core."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from pipeline.emulation.emulator import find_emulator
from pipeline.emulation.sysroots import get_sysroot
from pipeline.targets import HOST, Device, get_device
from pipeline.targets import Package as Package

if TYPE_CHECKING:
    from deploy.transports.ssh import SshAddress

Kind = Literal["host", "emulated", "native", "device"]

DISTRIBUTIONS: dict[Package, str] = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}
"""The runtimes and the distribution that each comes in. LiteRT alone runs int8 on XNNPACK."""


@dataclass(frozen=True)
class Runtime:
    """A place to run a model.

    Attributes:
        name: e.g. ``"litert"`` on the host, ``"litert-rpi4"`` on a device.
        kind: ``"host"``; ``"emulated"`` by qemu-user; ``"native"``, the core of a host that is what the
            device is; or ``"device"``, real hardware over ssh.
        device: None for ``"host"``; made of what it says of itself for ``"device"``.
        address: of a ``"device"`` alone.
        is_reference: whether it runs TFLite's reference kernels, whose bits are the same on every processor.
    """

    name: str
    kind: Kind
    package: Package
    version: str
    device: Device | None = None
    address: SshAddress | None = None
    is_reference: bool = False

    @property
    def title(self) -> str:
        """The runtime in words, e.g. ``"litert 2.3.0, emulated cortex-a72"``."""
        where = f"{self.kind} {self.device.cpu}" if self.device else f"host {platform.machine()}"
        if self.address and self.device:
            where = f"device over ssh, {self.device.title}"
        return f"{self.package} {self.version}, {where}"

    def command(self, script: str, marks: str) -> list[str]:
        """Return the command that runs the worker ``script`` here; emulated, it appends counts to ``marks``.

        Raises:
            ToolchainError: the emulator is needed and not provisioned.
        """
        python = [sys.executable, "-P"]
        if self.kind == "emulated" and self.device is not None:
            python = [*find_emulator(self.device.arch).command(self.device, marks)]
        kernels = ":reference" if self.is_reference else ""
        return [*python, script, self.package + kernels]

    def environment(self) -> dict[str, str]:
        """Return the worker's environment."""
        if self.kind == "emulated" and self.device is not None:
            return get_sysroot(self.device.arch).environment()
        return dict(os.environ)


def host_runtime(package: Package) -> Runtime:
    """Return a runtime of this Python environment, on this machine."""
    return Runtime(package, "host", package, version(DISTRIBUTIONS[package]))


def reference_runtime() -> Runtime:
    """Return tflite-runtime of this environment with TFLite's reference kernels: exact, and slow."""
    found = version(DISTRIBUTIONS["tflite-runtime"])
    return Runtime("tflite-reference", "host", "tflite-runtime", found, is_reference=True)


def emulated_runtime(device: Device) -> Runtime:
    """Return the runtime that a device carries, emulated, in the version that its Python has.

    Raises:
        ToolchainError: devices of its architecture are not emulated.
    """
    found = get_sysroot(device.arch).pinned()[DISTRIBUTIONS[device.runtime]]
    return Runtime(f"{device.runtime}-{device.name}", "emulated", device.runtime, found, device)


def native_runtime(package: Package) -> Runtime:
    """Return a runtime on the core of this host, which is of the devices' own architecture."""
    found = version(DISTRIBUTIONS[package])
    return Runtime(f"{package}-native", "native", package, found, get_device(HOST))


def runtime_of(device: Device) -> Runtime:
    """Return what a model for ``device`` is validated on.

    The device emulated; but ``host`` is this machine, and on a host of the device's own architecture its own
    core stands for the device: native, and named so.

    Raises:
        ToolchainError: devices of its architecture are not emulated.
    """
    if device.is_host:
        return host_runtime(device.runtime)
    if device.arch == platform.machine():
        return native_runtime(device.runtime)
    return emulated_runtime(device)
