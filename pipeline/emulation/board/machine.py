"""A boot of the emulated board: the machine that qemu emulates, and a job from power on to off.

A job is a folder that becomes the board's second disk; its ``start`` is run by the board's first process.
What it leaves in ``/run/results`` comes back on a third disk, and what the kernel says on the serial console.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.emulation.board.initrd import write_end, write_files
from pipeline.errors import ConfigError, StageError
from pipeline.scratch import scratch
from pipeline.targets import get_device, load_devices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.emulation.board.image import BoardImage
    from pipeline.targets import Device

Outcome = Literal["ended", "out of memory", "panicked", "did not boot", "no end"]

RESULTS_MIB = 256
ENDED = re.compile(r"BOARD ENDED (\d+)")
KILLED = re.compile(r"Out of memory: Killed process|oom-kill:|Memory cgroup out of memory")

DIES_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])"
)
"""Becomes a program that the kernel ends together with the thread that started it."""


def board_device(name: str) -> Device:
    """Return the device called ``name``, whose core a board can have.

    Raises:
        ConfigError: there is none, or its core is not a 64-bit one.
    """
    device = get_device(name)
    if device.arch != "aarch64":
        known = ", ".join(row.name for row in load_devices().values() if row.arch == "aarch64")
        message = f"the emulated board is a 64-bit machine and {name} is {device.arch}: choose one of {known}"
        raise ConfigError(message)
    return device


@dataclass(frozen=True, kw_only=True)
class VirtualMachine:
    """The machine that qemu emulates.

    Attributes:
        device: whose core it has; the rest of the machine is qemu's ``virt``.
        memory_mib: how much memory there is, the kernel's own included.
        cores: how many cores there are.
        deterministic: whether time is what the core has executed, 2 ns an instruction, so that two boots are
            alike to the nanosecond. One core; the network is off, since it would bring real time in.
    """

    device: Device
    memory_mib: int
    cores: int = 1
    deterministic: bool = False

    def command(self, image: BoardImage, initrd: Path, disks: Mapping[str, Path], *more: str) -> list[str]:
        """Return the command that boots the image's kernel; the serial console is its output.

        Args:
            initrd: what the kernel unpacks into memory and starts.
            disks: raw disks by the name that the board knows them by; what is written to ``root`` is lost.
            more: further options of qemu.
        """
        console = "console=ttyAMA0 loglevel=4 panic=-1 random.trust_bootloader=on"
        command = [*image.qemu(), "-machine", "virt", "-cpu", self.device.cpu]
        command += ["-m", str(self.memory_mib), "-smp", str(self.cores), "-no-reboot", "-nodefaults"]
        command += ["-display", "none", "-monitor", "none", "-serial", "stdio"]
        command += ["-kernel", str(image.kernel), "-initrd", str(initrd)]
        for name, path in disks.items():
            snapshot = ",snapshot=on" if name == "root" else ""
            file = str(path).replace(",", ",,")
            command += ["-drive", f"if=none,id={name},format=raw,file={file}{snapshot}"]
            command += ["-device", f"virtio-blk-device,drive={name},serial={name}"]
        if self.deterministic:
            console += " nokaslr norandmaps rootfstype=ramfs"
            command += ["-icount", "shift=1,sleep=off", "-seed", "1"]
            command += ["-rtc", "base=2026-01-01T00:00:00,clock=vm"]
        return [*command, "-append", console, *more]


@dataclass(frozen=True)
class JobRun:
    """Result of a job: its status, the console output, and its files by name.

    ``status`` is the exit status of the job's ``start``; None if it did not end.
    """

    outcome: Outcome
    status: int | None
    console: str
    results: dict[str, bytes]

    def last_output(self) -> str:
        """Return the last line of the console that is not the kernel's or the board's own."""
        lines = [line.strip() for line in self.console.splitlines() if line.strip()]
        output = [line for line in lines if not line.startswith("[") and not line.startswith("BOARD ENDED")]
        return (output or lines or ["nothing"])[-1][:300]


def run_job(
    image: BoardImage, machine: VirtualMachine, files: Mapping[str, Path | bytes], *, timeout_s: float
) -> JobRun:
    """Boot the machine, have it run the job that ``files`` are, and wait until it is off.

    Where time is deterministic the root and the job are in memory, which the machine gets more of for that: a
    disk's answers come in real time.

    Args:
        files: the job's files by name: a path to copy, or the content; ``start`` is the script that is run.
        timeout_s: seconds of this machine until the board is cut off.
    """
    with scratch("board") as folder:
        disks: dict[str, Path] = {}
        if machine.deterministic:
            initrd = folder / "initrd"
            shutil.copyfile(image.diskless, initrd)
            with initrd.open("ab") as archive:
                write_files(archive, {f"job/{name}": content for name, content in files.items()})
                write_end(archive)
            # While it is unpacked the archive is there twice; what the machine was to have comes on top.
            in_memory_mib = 2 * initrd.stat().st_size >> 20
            machine = replace(machine, memory_mib=machine.memory_mib + in_memory_mib)
        else:
            initrd = image.initrd
            disks = {"root": image.root, "job": make_job_disk(image, files, folder)}
        results = folder / "results"
        with results.open("wb") as file:
            file.truncate(RESULTS_MIB << 20)  # sparse
        command = machine.command(image, initrd, {**disks, "results": results})
        console, in_time = _watched(command, timeout_s, folder)
        return _judged(console, in_time, _read_results(results))


def make_job_disk(image: BoardImage, files: Mapping[str, Path | bytes], folder: Path) -> Path:
    """Make the disk in ``folder`` that brings a job to a board with a root of its own."""
    job, disk = folder / "job", folder / "job.ext4"
    job.mkdir()
    for name, content in files.items():
        (job / name).write_bytes(content.read_bytes() if isinstance(content, Path) else content)
    size = sum(path.stat().st_size for path in job.iterdir())
    image.make_disk(job, disk, (size * 11 // 10 >> 20) + 8)
    shutil.rmtree(job)
    return disk


def _watched(command: Sequence[str], timeout_s: float, folder: Path) -> tuple[str, bool]:
    """Run qemu to its end; returns the console's output and whether it ended in time."""
    console = folder / "console"
    with console.open("wb") as stream:
        process = start(command, stream.fileno(), folder)
        try:
            process.wait(timeout_s)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            process.kill()
            process.wait()
    return console.read_text(encoding="utf-8", errors="replace"), in_time


def start(command: Sequence[str], console: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start qemu, which ends with the thread that called this; it keeps its overlay in ``folder``.

    Args:
        console: the file descriptor that the serial console and qemu's own errors go to.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )


def _judged(console: str, in_time: bool, results: dict[str, bytes]) -> JobRun:
    ended = ENDED.search(console)
    status = int(ended[1]) if ended else None
    outcome: Outcome
    if KILLED.search(console) and status != 0:
        outcome = "out of memory"
    elif ended:
        outcome = "ended"
    elif "Kernel panic" in console:
        outcome = "panicked"
    elif in_time or "BOARD BOOTED" not in console:
        outcome = "did not boot"
    else:
        outcome = "no end"
    return JobRun(outcome, status, console, results)


def _read_results(disk: Path) -> dict[str, bytes]:
    """Return the files of the archive on the board's third disk; none where it wrote none."""
    found: dict[str, bytes] = {}
    try:
        with disk.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    found[member.name.removeprefix("./")] = content.read()
    except (tarfile.TarError, OSError):
        return {}
    return found


def required(run: JobRun, what: str) -> JobRun:
    """Return the run if its job ended well.

    Raises:
        StageError: it did not; says how it ended and quotes the last output.
    """
    if run.outcome == "ended" and run.status == 0:
        return run
    how = f"ended with status {run.status}" if run.outcome == "ended" else run.outcome
    hint = "give the board more memory or time in [validate.board], or check the model with: pipeline inspect"
    error = StageError(what, f"the emulated board {how}: {run.last_output()}", hint)
    error.add_note(run.console)  # for --debug
    raise error
