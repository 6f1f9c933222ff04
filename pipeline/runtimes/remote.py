"""Runtimes of real devices over ssh: what a device reports, and a worker's host on it.

A device needs Python 3.10 or newer with numpy and a runtime. The worker and the model are copied
into a folder of their own there, which is removed when the session ends. Its times are called "device".
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from deploy.errors import TransportError
from deploy.transports.ssh import FAILED, LINK_PATH_LIMIT, SshAddress, split_addresses
from pipeline.errors import DeviceError, PipelineError
from pipeline.runtimes import machine
from pipeline.runtimes.capabilities import PACKAGES, SLOW_SILENCE_S, Capabilities
from pipeline.runtimes.machine import Machine  # noqa: TC001 - pydantic reads it
from pipeline.runtimes.worker_host import MODEL, QUIET, WORKER, start_worker
from pipeline.scratch import Scratch
from pipeline.targets import Device, Package, read_cpuinfo

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from numpy.typing import NDArray


FOLDERS = "/tmp/edge-session-"  # noqa: S108 - on the device, where mktemp makes it
RUN_PROBE = "import sys; sys.exit('old') if sys.version_info < (3, 10) else exec(sys.stdin.read())"
PROBE = """
import json, importlib.metadata, importlib.util

def version(module, distribution):
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"

def text(path):
    return Path(path).read_text(errors="replace") if Path(path).exists() else ""

print(json.dumps({
    "runtimes": {
        name: version(distribution.replace("-", "_"), distribution)
        for name, distribution in DISTRIBUTIONS.items()
    },
    "numpy": version("numpy", "numpy"),
    "arch": platform.machine(),
    "model": text("/proc/device-tree/model"),
    "cpuinfo": text("/proc/cpuinfo"),
    "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    "machine": vars(read_machine()),
}))
"""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Properties that a device reports.

    Attributes:
        runtimes: version of each, by package; None if it is not installed.
        numpy: its version, likewise.
        model: the board's name in its device tree; "" if it has none.
    """

    runtimes: dict[str, str | None]
    numpy: str | None
    arch: str
    model: str
    cpuinfo: str
    memory_mib: int
    machine: Machine


@dataclass(frozen=True)
class RemoteRuntime:
    """The package that a real device has; ``device`` is what it reports of itself."""

    package: Package
    version: str
    device: Device
    address: SshAddress
    kind: str = field(default="device", init=False)

    runs: ClassVar[str] = "on the device, over ssh"

    @classmethod
    def open(cls, name: str) -> Self | None:
        """Return the runtime of the device at this address, if it is one.

        Raises:
            AddressError: it is one of another transport, or cannot be used.
            DeviceError: the device has no Python, numpy or runtime; says how to fix that.
            TransportError: it is not reached, or this machine has no ssh.
        """
        _, addresses = split_addresses([name])
        return cls.of(addresses[0]) if addresses else None

    @classmethod
    def of(cls, address: SshAddress) -> Self:
        """Return the runtime that a device has: LiteRT if it can, else tflite-runtime; errors as ``open``."""
        found = _probe(address)
        package = _choose(found, address)
        return cls(package, _clean(found.runtimes[package] or ""), _device(found, address, package), address)

    @property
    def title(self) -> str:
        return f"{self.package} {self.version}, device over ssh, {self.device.title}"

    @property
    def capabilities(self) -> Capabilities:
        delegates = PACKAGES[self.package].delegates
        return Capabilities(delegates=delegates, times="device", workers=1, silence_s=SLOW_SILENCE_S)

    def require(self) -> None:
        """Nothing: ``of`` has asked the device."""

    def machine(self) -> Machine:
        """Ask the device; errors as ``open``."""
        found = _probe(self.address).machine
        return replace(found, cpu=_clean(found.cpu), governor=_clean(found.governor or "") or None)

    def launch(self) -> RemoteHost:
        return RemoteHost(self.address, self.package)


def _device(found: Probed, address: SshAddress, package: Package) -> Device:
    try:
        core, identity = read_cpuinfo(found.cpuinfo)
    except ValueError:
        core, identity = read_cpuinfo("")
    return Device(
        name=str(address),
        title=_clean(found.model) or _clean(found.machine.cpu),
        arch=_clean(found.arch),
        cpu=_clean(core if identity.part or not core.startswith("0x") else found.arch),
        cores=found.machine.cores,
        memory_mib=found.memory_mib,
        runtime=package,
        cpuinfo=identity,
    )


def _choose(found: Probed, address: SshAddress) -> Package:
    package = next((name for name in PACKAGES if found.runtimes.get(name)), None)
    below = PACKAGES[package].numpy_below if package is not None else None
    needed = "numpy" if below is None else f"'numpy<{below}'"
    if package is None:
        missing, needed = "runtime", f"numpy {next(iter(PACKAGES.values())).distribution}"
    elif found.numpy is None:
        missing = "numpy"
    elif below is not None and not found.numpy.startswith(tuple(f"{major}." for major in range(below))):
        # The package imports, and then no model can be loaded.
        missing = f"numpy older than {below}, which {package} needs,"
    else:
        return package
    python = address.python
    message = f"{address} has no {missing} for its {python}; on it: {python} -m pip install {needed}"
    raise DeviceError(message)


class RemoteHost:
    """A worker on a device, in a folder of its /tmp; files are copied there and back as they are needed.

    Raises:
        TransportError: from any of the functions: the device is not reached, or takes no file.
        DeviceError: it has no room for a folder, or what comes back is damaged.
    """

    def __init__(self, address: SshAddress, package: Package) -> None:
        self.address = address
        self._scratch = Scratch("session")
        self.folder = self._scratch.path
        self.there = ""
        link = self.folder / "link"
        # The worker's connection carries the files as well: each one of its own costs a handshake.
        self.linked = replace(address, link=link if len(str(link)) < LINK_PATH_LIMIT else None)
        try:
            self.process = self._start(package)
        except BaseException:
            self.remove()
            raise

    def _start(self, package: Package) -> subprocess.Popen[bytes]:
        made = self.address.run(["mktemp", "-d", f"{FOLDERS}XXXXXXXX"])
        there = made.out.decode(errors="replace").strip()
        if made.status != 0 or not there.startswith(FOLDERS) or "\n" in there:
            message = f"{self.address} has no room for a folder in /tmp: {_clean(made.err) or _clean(there)}"
            raise DeviceError(message)
        self.there = there
        self.address.push(WORKER, f"{there}/{WORKER.name}")
        start = f'cd "$1" && exec "$2" -B {WORKER.name} "$3"'
        argv = ["sh", "-c", start, "sh", there, self.address.python, package]
        return start_worker(self.linked.command(argv, opens_link=True), self.folder)

    def put_model(self, model: Path) -> None:
        """Copy the model there."""
        self.linked.push(model, f"{self.there}/{MODEL}")

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Copy an array there."""
        import numpy as np

        np.save(self.folder / name, array)
        self.linked.push(self.folder / name, f"{self.there}/{name}")

    def fetch(self, name: str) -> NDArray[Any]:
        """Copy an array from there."""
        from pipeline.npy import read_array

        self.linked.pull(f"{self.there}/{name}", self.folder / name)
        try:
            return read_array(self.folder / name)
        except (ValueError, EOFError):
            message = f"{self.address} gave back an array that is damaged; is there room in its /tmp?"
            raise DeviceError(message) from None

    def termination_cause(self, code: int) -> str | None:
        """Distinguish a worker that was ended by a signal, which ssh does not name, from a lost device."""
        if code < 0 or code == FAILED:
            self.address.run(["true"], timeout_s=30)
            return "a signal, want of memory or a cut link"
        return None

    def unreadable(self, request: str, cause: str) -> PipelineError:
        return DeviceError(f"{cause}; {QUIET}")

    def remove(self) -> None:
        """Remove the folders, here and there."""
        self._scratch.remove()
        if self.there:
            with contextlib.suppress(TransportError):  # it is gone, and its /tmp with it
                self.address.run(["rm", "-rf", "--", self.there], timeout_s=30)


def _probe(address: SshAddress) -> Probed:
    python = address.python
    distributions = {name: package.distribution for name, package in PACKAGES.items()}
    source = f"{inspect.getsource(machine)}\nDISTRIBUTIONS = {distributions!r}\n{PROBE}"
    result = address.run([python, "-B", "-c", RUN_PROBE], stdin=source.encode())
    if result.status == 127:
        message = f"{address} has no {python}; on it: apt-get install python3"
        raise DeviceError(message)
    if result.status != 0:
        output = _clean(result.err.strip().rpartition("\n")[2])
        message = f"{address} has no {python} of version 3.10 or newer that works: {output or 'no output'}"
        raise DeviceError(message)
    try:
        return TypeAdapter(Probed).validate_json(result.out)
    except ValidationError:
        output = _clean(result.out[:60].decode(errors="replace"))
        message = f"{address} says {output!r} where its {python} answers; silence its login scripts"
        raise DeviceError(message) from None


def _clean(text: str) -> str:
    """Return a device's output as one line without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]
