"""The emulated board as a machine that one can log in to: over ssh, on a port of this machine alone.

The board's network reaches nothing, and only this machine reaches the board. Its host key and the key that
opens it are made for the one board; both sides know each other's and take no other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import TransportError
from deploy.transports.ssh import SshAddress, require_client
from pipeline.board.image import find_image
from pipeline.board.machine import Machine, make_job_disk, start
from pipeline.errors import DeviceError
from pipeline.progress import track
from pipeline.runtimes.parts import cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from deploy.transports.transport import Ran
    from pipeline.board.image import BoardImage
    from pipeline.targets import Device

BOOT_TIMEOUT_S = 180.0
START = """\
/bin/busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
mkdir -p -m 755 /run/sshd /run/board
cp host_key authorized_keys /run/board
chmod 600 /run/board/*
exec /usr/sbin/sshd -D -e -f sshd_config
"""
SSHD = """\
HostKey /run/board/host_key
AuthorizedKeysFile /run/board/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
UseDNS no
SetEnv PYTHONPATH=/site PYTHONHASHSEED=0 PYTHONUTF8=1 LC_ALL=C
Subsystem sftp internal-sftp
"""


class Board:
    """An emulated board that is up for the length of a ``with`` block and never outlives it.

    A board belongs to the thread that opened it: the kernel ends it together with that thread.

    Args:
        device: whose core it has.
        memory_mib: its memory, the kernel's own included.
        cores: how many it has.

    Raises:
        DeviceError: it does not answer in time.
        ToolchainError: it is not provisioned, or this machine has no ssh.
    """

    def __init__(self, device: Device, *, memory_mib: int = 512, cores: int = 2) -> None:
        self.machine = Machine(device=device, memory_mib=memory_mib, cores=cores)

    def __enter__(self) -> Board:
        self._folder = Path(tempfile.mkdtemp(prefix="edge-board-"))
        self._qemu: subprocess.Popen[bytes] | None = None
        try:
            self.address, command = _prepare(find_image(), self.machine, self._folder)
            with (self._folder / "console").open("wb") as console:
                self._qemu = start(command, console.fileno(), self._folder)
            wait_for_ssh(self.address, self._qemu.pid, self._folder / "console")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 120.0) -> Ran:
        """Run a command on the board; see ``SshAddress.run``."""
        return self.address.run(words, stdin=stdin, timeout_s=timeout_s)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the board."""
        self.address.push(local, remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the board."""
        self.address.pull(remote, local)

    def _end(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True)
class RunningBoard:
    """A board that ``up`` started and that runs until ``down``."""

    pid: int
    address: SshAddress
    core: str
    memory_mib: int


def up(device: Device, *, memory_mib: int = 512, cores: int = 2) -> RunningBoard:
    """Start a board that stays up after this process; one at a time.

    Raises:
        DeviceError: one is up already, or it does not answer in time.
        ToolchainError: it is not provisioned, or this machine has no ssh.
    """
    from filelock import FileLock

    image, folder = find_image(), _state_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if running() is not None:
            message = (
                "a board is up already; log in with: pipeline device shell, or end it: pipeline device down"
            )
            raise DeviceError(message)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        machine = Machine(device=device, memory_mib=memory_mib, cores=cores)
        address, command = _prepare(image, machine, folder)
        with (folder / "console").open("wb") as console:
            qemu = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(folder)},
                start_new_session=True,
            )
        state = {"pid": qemu.pid, "port": address.port, "core": device.name, "memory_mib": memory_mib}
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
        try:
            wait_for_ssh(address, qemu.pid, folder / "console")
        except BaseException:
            qemu.kill()
            qemu.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise
    found = running()
    assert found is not None
    return found


def running() -> RunningBoard | None:
    """Return the board that ``up`` started; None where there is none, or none any more."""
    folder = _state_folder()
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes()
        address = _address(folder, state["port"])
        board = RunningBoard(state["pid"], address, state["core"], state["memory_mib"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Another process may have the number by now.
    return board if str(folder).encode() in command else None


def down() -> bool:
    """End the board that ``up`` started; returns whether there was one."""
    found = running()
    if found is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)
        for _ in range(100):
            if running() is None:
                break
            time.sleep(0.05)
    shutil.rmtree(_state_folder(), ignore_errors=True)
    return found is not None


def wait_for_ssh(address: SshAddress, pid: int, console: Path, timeout_s: float = BOOT_TIMEOUT_S) -> None:
    """Wait until the board answers.

    Raises:
        DeviceError: it ended, or does not answer in time; says what its console said last.
    """
    deadline = time.monotonic() + timeout_s
    trouble = "it does not answer"
    with track("board: boot"):
        while time.monotonic() < deadline:
            if not _is_alive(pid):
                trouble = "it ended"
                break
            if "Server listening" in console.read_text(encoding="utf-8", errors="replace"):
                try:
                    address.run(["true"], timeout_s=60)
                except TransportError as error:
                    trouble = str(error)
                else:
                    return
            time.sleep(0.2)
    lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = lines[-1].strip() if lines else "nothing"
    message = f"the emulated board is not up: {trouble} in {timeout_s:.0f} s; its console said last: {said}"
    raise DeviceError(message)


def _prepare(image: BoardImage, machine: Machine, folder: Path) -> tuple[SshAddress, list[str]]:
    """Make keys and disks in ``folder``; returns the address and the command that boots the machine."""
    require_client()
    for name in ("host_key", "client_key"):
        _make_key(folder / name)
    port = _free_port()
    address = _address(folder, port)
    host_key = (folder / "host_key.pub").read_text(encoding="ascii")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}", encoding="ascii")
    files: dict[str, Path | bytes] = {
        "start": START.encode(),
        "sshd_config": SSHD.encode(),
        "host_key": folder / "host_key",
        "authorized_keys": folder / "client_key.pub",
    }
    disks = {"root": image.root, "job": make_job_disk(image, files, folder)}
    forward = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
    network = ("-netdev", forward, "-device", "virtio-net-device,netdev=net")
    return address, machine.command(image, image.initrd, disks, *network)


def _address(folder: Path, port: int) -> SshAddress:
    return SshAddress("127.0.0.1", "root", port, folder / "client_key", folder / "known_hosts")


def _make_key(path: Path) -> None:
    command = [
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        "edge-deploy-pipeline board",
        "-f",
        str(path),
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _state_folder() -> Path:
    return cache_folder() / "board" / "up"
