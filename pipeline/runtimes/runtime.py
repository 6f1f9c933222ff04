"""Runtimes for .tflite models: their common interface and their kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.errors import ToolchainError
from pipeline.runtimes.emulated import EmulatedRuntime
from pipeline.runtimes.host import HostRuntime, NativeRuntime
from pipeline.runtimes.remote import RemoteRuntime
from pipeline.targets import get_device

if TYPE_CHECKING:
    from pipeline.runtimes.capabilities import Capabilities
    from pipeline.runtimes.machine import Machine
    from pipeline.runtimes.worker_host import WorkerHost
    from pipeline.targets import Device, Package


class Runtime(Protocol):
    """A package, in one version, on one processor: a frozen dataclass, which is part of cache keys.

    Attributes:
        kind: its key in ``RUNTIMES``, for reports.
        runs: how it runs models, in words.
        device: the device that it runs as; None for this host itself.
        title: all of it in words, e.g. ``"litert 2.3.0, emulated cortex-a72"``.
        capabilities: what it can do.
    """

    @property
    def kind(self) -> str: ...
    @property
    def runs(self) -> str: ...
    @property
    def package(self) -> Package: ...
    @property
    def version(self) -> str: ...
    @property
    def device(self) -> Device | None: ...
    @property
    def title(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...

    def require(self) -> None:
        """Check that what it needs is provisioned.

        Raises:
            ToolchainError: it is not; names the command that provisions it.
        """

    def machine(self) -> Machine:
        """Describe the machine that its times depend on, at this moment.

        Raises:
            DeviceError: the machine was not reached.
        """

    def launch(self) -> WorkerHost:
        """Start a worker.

        Raises:
            DeviceError: the device was not reached, or has no room.
            ToolchainError: the emulator is not provisioned.
        """


class RuntimeKind(Protocol):
    """A kind of runtime."""

    def open(self, name: str) -> Runtime | None:
        """Return the runtime of what a user calls ``name``; None if it is not of this kind."""


RUNTIMES: dict[str, RuntimeKind] = {
    "host": HostRuntime,
    "native": NativeRuntime,
    "emulated": EmulatedRuntime,
    "device": RemoteRuntime,
}
"""All kinds, in the order in which they are tried for a name."""


def open_runtime(name: str) -> Runtime:
    """Return the runtime of a device: ``"host"``, a name in ``targets.toml``, or the address of a real one.

    On a host of a device's own architecture the host's core takes the place of the emulated one.

    Raises:
        AddressError: it is an address, and not one of ssh.
        ConfigError: there is no such device; names the nearest.
        DeviceError: a real device has no Python, numpy or runtime.
        ToolchainError: devices of its architecture are not emulated.
        TransportError: a real device is not reached.
    """
    for kind in RUNTIMES.values():
        found = kind.open(name)
        if found is not None:
            return found
    message = f"{get_device(name).title} does not run on this machine; choose another device"
    raise ToolchainError(message)


def runtime_of(device: Device) -> Runtime:
    """Return what a model for ``device`` is validated on; errors as ``open_runtime``."""
    return open_runtime(device.name)


def host_runtime(package: Package) -> HostRuntime:
    """Return a runtime of this Python environment, on this machine."""
    return HostRuntime.of(package)


def reference_runtime() -> HostRuntime:
    """Return tflite-runtime of this environment with TFLite's reference kernels."""
    return HostRuntime.of("tflite-runtime", reference_kernels=True)


def reference_kernels() -> HostRuntime:
    """Return LiteRT of this environment with TFLite's reference kernels."""
    return HostRuntime.of("litert", reference_kernels=True)


def emulated_runtime(device: Device) -> EmulatedRuntime:
    """Return the runtime that a device carries, emulated; errors as ``EmulatedRuntime.of``."""
    return EmulatedRuntime.of(device)
