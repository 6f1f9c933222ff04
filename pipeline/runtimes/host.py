"""Runtimes of this Python environment on this machine, for its own sake or in place of a device like it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import ClassVar, Self

from pipeline.runtimes.capabilities import PACKAGES, Capabilities
from pipeline.runtimes.machine import Machine, read_machine
from pipeline.runtimes.worker_host import WORKER, LocalHost
from pipeline.targets import HOST, Device, Package, get_device, load_devices


@dataclass(frozen=True)
class HostRuntime:
    """A package on this machine.

    Attributes:
        reference_kernels: whether it runs TFLite's reference kernels: exact, bit-exact everywhere, and slow.
    """

    package: Package
    version: str
    reference_kernels: bool = False
    kind: str = field(default="host", init=False)

    runs: ClassVar[str] = "on this machine"

    @classmethod
    def of(cls, package: Package, *, reference_kernels: bool = False) -> Self:
        """Return the runtime of the installed package."""
        return cls(package, version(PACKAGES[package].distribution), reference_kernels)

    @classmethod
    def open(cls, name: str) -> Self | None:
        """Return the runtime of the device ``host``."""
        return cls.of(get_device(HOST).runtime) if name == HOST else None

    @property
    def device(self) -> Device | None:
        return None

    @property
    def title(self) -> str:
        kernels = " reference kernels" if self.reference_kernels else ""
        return f"{self.package} {self.version}{kernels}, host {platform.machine()}"

    @property
    def capabilities(self) -> Capabilities:
        delegates = () if self.reference_kernels else PACKAGES[self.package].delegates
        return Capabilities(delegates=delegates, times="host", limits=True)

    def require(self) -> None:
        """Nothing: the package is a dependency of this project."""

    def machine(self) -> Machine:
        return read_machine()

    def command(self) -> list[str]:
        """Return the command that runs the worker in its folder."""
        kernels = ":reference" if self.reference_kernels else ""
        return [sys.executable, "-P", WORKER.name, self.package + kernels]

    def launch(self) -> LocalHost:
        return LocalHost(self.command())


@dataclass(frozen=True)
class NativeRuntime(HostRuntime):
    """A package on this machine's core, in place of a device of the same architecture."""

    kind: str = field(default="native", init=False)

    runs: ClassVar[str] = "natively, on this core"

    @classmethod
    def open(cls, name: str) -> Self | None:
        """Return the runtime in place of the device of this name, if this machine is like it."""
        device = load_devices().get(name)
        is_like_it = device is not None and device.arch == platform.machine()
        return cls.of(device.runtime) if device is not None and is_like_it else None

    @property
    def device(self) -> Device:
        return get_device(HOST)

    @property
    def title(self) -> str:
        return f"{self.package} {self.version}, native {self.device.cpu}"
