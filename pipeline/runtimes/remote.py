"""Real devices over ssh: what one says of itself, and a worker's host on it.

A device needs Python 3.10 or newer with numpy and a runtime. The worker and the model are copied
into a folder of their own there, which goes when the session ends. Times are its own, and called "device".
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from deploy.errors import TransportError
from deploy.transports.ssh import FAILED, LINK_PATH_LIMIT
from pipeline.errors import DeviceError
from pipeline.runtimes import machine
from pipeline.runtimes.machine import Machine  # noqa: TC001 - pydantic reads it
from pipeline.runtimes.runtime import DISTRIBUTIONS, Runtime
from pipeline.runtimes.worker_host import MODEL, WORKER
from pipeline.scratch import Scratch
from pipeline.targets import Device, read_cpuinfo

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.transports.ssh import SshAddress
    from pipeline.targets import Package

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
    """What a device says of itself.

    Attributes:
        runtimes: version of each, by package; None where it is not installed.
        numpy: its version, likewise.
        model: the board's name in its device tree; "" where it has none.
    """

    runtimes: dict[str, str | None]
    numpy: str | None
    arch: str
    model: str
    cpuinfo: str
    memory_mib: int
    machine: Machine


def device_runtime(address: SshAddress) -> Runtime:
    """Return the runtime that a device has: LiteRT if it can, else tflite-runtime.

    Raises:
        DeviceError: it has no Python, numpy or runtime; says what mends it.
        TransportError: it is not reached, or this machine has no ssh.
    """
    found = _probe(address)
    package = _choose(found, address)
    try:
        core, identity = read_cpuinfo(found.cpuinfo)
    except ValueError:
        core, identity = read_cpuinfo("")
    device = Device(
        name=str(address),
        title=_clean(found.model) or _clean(found.machine.cpu),
        arch=_clean(found.arch),
        cpu=_clean(core if identity.part or not core.startswith("0x") else found.arch),
        cores=found.machine.cores,
        memory_mib=found.memory_mib,
        runtime=package,
        cpuinfo=identity,
    )
    version = _clean(found.runtimes[package] or "")
    return Runtime(f"{package}-{address}", "device", package, version, device, address)


def _choose(found: Probed, address: SshAddress) -> Package:
    package = next((name for name in DISTRIBUTIONS if found.runtimes.get(name)), None)
    if package is None:
        missing, wanted = "runtime", f"numpy {DISTRIBUTIONS['litert']}"
    elif found.numpy is None:
        missing, wanted = "numpy", "numpy" if package == "litert" else "'numpy<2'"
    elif package == "tflite-runtime" and not found.numpy.startswith(("0.", "1.")):
        # It imports, and then no model can be loaded.
        missing, wanted = "numpy older than 2, which tflite-runtime needs,", "'numpy<2'"
    else:
        return package
    python = address.python
    message = f"{address} has no {missing} for its {python}; on it: {python} -m pip install {wanted}"
    raise DeviceError(message)


def device_machine(address: SshAddress) -> Machine:
    """Return what times on a device depend on, at this moment.

    Raises: as ``device_runtime``.
    """
    found = _probe(address).machine
    return replace(found, cpu=_clean(found.cpu), governor=_clean(found.governor or "") or None)


class RemoteHost:
    """A folder in the device's /tmp; files go there and back as they are needed.

    Raises:
        TransportError: from any of the functions: the device is not reached, or takes no file.
        DeviceError: it has no room for a folder, or what comes back is damaged.
    """

    def __init__(self, runtime: Runtime) -> None:
        assert runtime.address is not None
        self.runtime, self.address = runtime, runtime.address
        self._scratch = Scratch("session")
        self.folder = self._scratch.path
        self.there = ""
        link = self.folder / "link"
        # The worker's connection carries the files as well: each one of its own costs a handshake.
        self.linked = replace(self.address, link=link if len(str(link)) < LINK_PATH_LIMIT else None)

    def prepare(self) -> list[str]:
        """Copy the worker there."""
        made = self.address.run(["mktemp", "-d", f"{FOLDERS}XXXXXXXX"])
        there = made.out.decode(errors="replace").strip()
        if made.status != 0 or not there.startswith(FOLDERS) or "\n" in there:
            message = f"{self.address} has no room for a folder in /tmp: {_clean(made.err) or _clean(there)}"
            raise DeviceError(message)
        self.there = there
        self.address.push(WORKER, f"{there}/{WORKER.name}")
        start = f'cd "$1" && exec "$2" -B {WORKER.name} "$3"'
        words = ["sh", "-c", start, "sh", there, self.address.python, self.runtime.package]
        return self.linked.command(words, opens_link=True)

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

    def killer(self, code: int) -> str | None:
        """Tell a worker that a signal ended, of which ssh does not say which, from a device that is gone."""
        if code < 0 or code == FAILED:
            self.address.run(["true"], timeout_s=30)
            return "a signal, want of memory or a cut link"
        return None

    def remove(self) -> None:
        """Remove the folders, here and there."""
        self._scratch.remove()
        if self.there:
            with contextlib.suppress(TransportError):  # it is gone, and its /tmp with it
                self.address.run(["rm", "-rf", "--", self.there], timeout_s=30)


def _probe(address: SshAddress) -> Probed:
    python = address.python
    source = f"{inspect.getsource(machine)}\nDISTRIBUTIONS = {DISTRIBUTIONS!r}\n{PROBE}"
    ran = address.run([python, "-B", "-c", RUN_PROBE], stdin=source.encode())
    if ran.status == 127:
        message = f"{address} has no {python}; on it: apt-get install python3"
        raise DeviceError(message)
    if ran.status != 0:
        said = _clean(ran.err.strip().rpartition("\n")[2])
        message = (
            f"{address} has no {python} of version 3.10 or newer that works: {said or 'it said nothing'}"
        )
        raise DeviceError(message)
    try:
        return TypeAdapter(Probed).validate_json(ran.out)
    except ValidationError:
        said = _clean(ran.out[:60].decode(errors="replace"))
        message = f"{address} says {said!r} where its {python} answers; silence its login scripts"
        raise DeviceError(message) from None


def _clean(text: str) -> str:
    """What a device said, as one line of which no terminal takes anything for a command."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]
