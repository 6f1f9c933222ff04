"""The emulated board as a machine that one can log in to: over ssh and adb, on ports of this machine alone.

The board's network reaches nothing, and only this machine reaches the board. Its host key and the key that
opens it are made for the one board; both sides know each other's and take no other. Its adbd is the real one,
as Debian builds it, and asks for no key: every user of this machine can connect.

What is written on the board is lost when it ends, except on a persistent disk: that is mounted on /opt, and a
folder of it on /data/local/tmp.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import TransportError
from deploy.transports.ssh import SshAddress, require_client
from pipeline.emulation.board.machine import VirtualMachine, make_job_disk, start
from pipeline.emulation.board.provisioning import find_image
from pipeline.emulation.bundle import cache_folder
from pipeline.errors import ConfigError, DeviceError
from pipeline.progress import track
from pipeline.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from deploy.transports.transport import CommandResult
    from pipeline.emulation.board.image import BoardImage
    from pipeline.targets import Device

BOOT_TIMEOUT_S = 180.0
PERSISTENT_MIB = 256
EXT4_MAGIC, EXT4_MAGIC_AT = b"\x53\xef", 1080
START = """\
unset PYTHONPATH
for disk in /sys/block/vd*; do
    read -r serial < "$disk/serial"
    if [ "$serial" = persistent ]; then
        /bin/busybox mount -t ext4 -o noatime "/dev/${disk##*/}" /opt || exit
        mkdir -p /opt/.data
        /bin/busybox mount -o bind /opt/.data /data/local/tmp || exit
    fi
done
/bin/busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
mkdir -p -m 755 /run/sshd /run/board
cp host_key authorized_keys /run/board
chmod 600 /run/board/*
[ -e adb ] && (cd / && ADBD_PORT=5555 SHELL=/bin/bash exec /usr/sbin/adbd > /run/adbd 2>&1) &
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
SetEnv PYTHONHASHSEED=0 PYTHONUTF8=1 LC_ALL=C
"""
ADB_LISTENS = "until grep -q ':15B3 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done"
"""Ends when somebody listens on port 5555."""


class Board:
    """An emulated board that runs inside a ``with`` block and never outlives it.

    A board belongs to the thread that opened it: the kernel ends it together with that thread.

    Args:
        device: whose core it has.
        memory_mib: its memory, the kernel's own included.
        cores: how many it has.
        adb: whether adbd runs; ``adb_address`` is then its address, and ``image.adb`` the adb to reach it by.
        disk: the file that is its persistent disk, made where it is missing: ext4 with a journal.

    Raises:
        ConfigError: ``disk`` is another kind of file, or its folder is missing.
        DeviceError: it does not answer in time.
        ToolchainError: it is not provisioned.
        MissingToolError: this machine has no ssh.
    """

    def __init__(
        self,
        device: Device,
        *,
        memory_mib: int = 512,
        cores: int = 2,
        adb: bool = False,
        disk: Path | None = None,
    ) -> None:
        self.machine = VirtualMachine(device=device, memory_mib=memory_mib, cores=cores)
        self.adb, self.disk = adb, disk

    def __enter__(self) -> Board:
        self._scratch = Scratch("board")
        self._folder = self._scratch.path
        self._qemu: subprocess.Popen[bytes] | None = None
        try:
            self.image = find_image()
            made = _prepare(self.image, self.machine, self._folder, adb=self.adb, disk=self.disk)
            self.address, self._adb_port, self._command = made
            self.boot()
        except BaseException:
            self._end()
            raise
        return self

    @property
    def adb_address(self) -> str:
        """``adb://127.0.0.1:PORT``, where ``adb`` was asked for."""
        assert self._adb_port is not None
        return f"adb://127.0.0.1:{self._adb_port}"

    def cut_power(self) -> None:
        """Kill the emulator: what the board's kernel had not written to the persistent disk is lost."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None

    def boot(self) -> None:
        """Boot after ``cut_power``, with the same addresses and keys.

        Raises:
            DeviceError: it does not answer in time.
        """
        console = self._folder / "console"
        with console.open("wb") as stream:
            self._qemu = start(self._command, stream.fileno(), self._folder)
        wait_for_ssh(self.address, self._qemu.pid, console)
        _wait_for_adb(self.address, self._adb_port)

    def reboot(self) -> None:
        """Write everything to the disks, end the board and boot it again."""
        self.run(["sync"])
        self.cut_power()
        self.boot()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 120.0) -> CommandResult:
        """Run a command on the board; see ``SshAddress.run``."""
        return self.address.run(argv, stdin=stdin, timeout_s=timeout_s)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the board."""
        self.address.push(local, remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the board."""
        self.address.pull(remote, local)

    def _end(self) -> None:
        self.cut_power()
        self._scratch.remove()


@dataclass(frozen=True)
class RunningBoard:
    """A board that ``up`` started and that runs until ``down``."""

    pid: int
    address: SshAddress
    core: str
    memory_mib: int
    adb_port: int | None = None


def up(
    device: Device, *, memory_mib: int = 512, cores: int = 2, adb: bool = False, disk: Path | None = None
) -> RunningBoard:
    """Start a board that stays up after this process; one at a time. For the arguments see ``Board``.

    Raises:
        DeviceError: one is up already, or it does not answer in time.
        ToolchainError: it is not provisioned.
        MissingToolError: this machine has no ssh.
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
        machine = VirtualMachine(device=device, memory_mib=memory_mib, cores=cores)
        address, adb_port, command = _prepare(image, machine, folder, adb=adb, disk=disk)
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
        state["adb_port"] = adb_port
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
        try:
            wait_for_ssh(address, qemu.pid, folder / "console")
            _wait_for_adb(address, adb_port)
        except BaseException:
            qemu.kill()
            qemu.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise
    found = running()
    assert found is not None
    return found


def running() -> RunningBoard | None:
    """Return the board that ``up`` started; None if there is none, or none any more."""
    folder = _state_folder()
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes()
        address = _address(folder, state["port"])
        board = RunningBoard(state["pid"], address, state["core"], state["memory_mib"], state.get("adb_port"))
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
        DeviceError: it ended, or does not answer in time; quotes the last line of its console.
    """
    deadline = time.monotonic() + timeout_s
    problem = f"it does not answer in {timeout_s:.0f} s"
    with track("board: boot"):
        while time.monotonic() < deadline:
            if not _is_alive(pid):
                problem = "it ended"
                break
            if "Server listening" in console.read_text(encoding="utf-8", errors="replace"):
                try:
                    address.run(["true"], timeout_s=60)
                except TransportError as error:
                    problem = f"in {timeout_s:.0f} s, {error}"
                else:
                    return
            time.sleep(0.2)
    lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1].strip() if lines else ""
    message = f"the emulated board is not up: {problem}; the last line of its console: {last}"
    raise DeviceError(message)


def _wait_for_adb(address: SshAddress, adb_port: int | None) -> None:
    if adb_port is not None and address.run(["timeout", "60", "sh", "-c", ADB_LISTENS]).status != 0:
        output = address.run(["tail", "-n1", "/run/adbd"]).out.decode(errors="replace").strip()
        message = f"the emulated board's adbd is not up: {output or 'no output'}"
        raise DeviceError(message)


def _prepare(
    image: BoardImage, machine: VirtualMachine, folder: Path, *, adb: bool, disk: Path | None
) -> tuple[SshAddress, int | None, list[str]]:
    """Make keys and disks in ``folder``; returns ssh's address, adb's port, and the command that boots."""
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
    forward = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
    adb_port = _free_port() if adb else None
    if adb:
        files["adb"] = b""
        forward += f",hostfwd=tcp:127.0.0.1:{adb_port}-:5555"
    disks = {"root": image.root, "job": make_job_disk(image, files, folder)}
    if disk is not None:
        disks["persistent"] = _persistent_disk(image, disk)
    network = ("-netdev", forward, "-device", "virtio-net-device,netdev=net")
    return address, adb_port, machine.command(image, image.initrd, disks, *network)


def _persistent_disk(image: BoardImage, disk: Path) -> Path:
    """Return the disk's whole path; it is made where it is missing.

    Raises:
        ConfigError: it is another kind of file, or its folder is missing.
    """
    if not disk.absolute().parent.is_dir():
        message = f"cannot make the board's disk {disk}: there is no folder {disk.absolute().parent}"
        raise ConfigError(message)
    if not disk.exists():
        image.make_persistent_disk(disk.absolute(), PERSISTENT_MIB)
    with disk.open("rb") as file:
        file.seek(EXT4_MAGIC_AT)
        if file.read(2) != EXT4_MAGIC:
            message = (
                f"{disk} is not a disk of the board's; name a file that is not there yet to have one made"
            )
            raise ConfigError(message)
    return disk.absolute()


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
