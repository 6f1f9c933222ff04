"""Runtimes of devices whose core qemu-user emulates on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from pipeline.emulation.emulator import find_emulator
from pipeline.emulation.sysroots import get_sysroot
from pipeline.runtimes.capabilities import PACKAGES, SLOW_SILENCE_S, Capabilities
from pipeline.runtimes.machine import Machine, read_machine
from pipeline.runtimes.worker_host import MARKERS, WORKER, LocalHost
from pipeline.targets import Device, Package, load_devices

NO_XNNPACK = "armv7l"
"""The architecture on which no package's build has XNNPACK."""


@dataclass(frozen=True)
class EmulatedRuntime:
    """The package that a device carries, in the version that its sysroot has."""

    package: Package
    version: str
    device: Device
    kind: str = field(default="emulated", init=False)

    runs: ClassVar[str] = "emulated by qemu-user"

    @classmethod
    def of(cls, device: Device) -> Self:
        """Return the runtime of a device.

        Raises:
            ToolchainError: devices of its architecture are not emulated.
        """
        pinned = get_sysroot(device.arch).pinned()
        return cls(device.runtime, pinned[PACKAGES[device.runtime].distribution], device)

    @classmethod
    def open(cls, name: str) -> Self | None:
        """Return the runtime of the device of this name; errors as ``of``."""
        device = load_devices().get(name)
        return None if device is None or device.is_host else cls.of(device)

    @property
    def title(self) -> str:
        return f"{self.package} {self.version}, emulated {self.device.cpu}"

    @property
    def capabilities(self) -> Capabilities:
        delegates = () if self.device.arch == NO_XNNPACK else PACKAGES[self.package].delegates
        return Capabilities(delegates=delegates, counts=True, silence_s=SLOW_SILENCE_S)

    def require(self) -> None:
        """Raise a ToolchainError if the emulator is not provisioned."""
        find_emulator(self.device.arch)

    def machine(self) -> Machine:
        return read_machine()

    def launch(self) -> LocalHost:
        emulator = find_emulator(self.device.arch)
        command = [*emulator.command(self.device, MARKERS), WORKER.name, self.package]
        return LocalHost(command, emulator.sysroot.environment())
