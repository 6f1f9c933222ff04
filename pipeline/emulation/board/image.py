"""The emulated board's image: a kernel, an initial RAM disk and a root file system.

Like the emulator of single programs it stands on its own: qemu and mke2fs run on the libraries that came with
them. ::

    board/KEY/
        host            qemu-system-aarch64, mke2fs, adb and their libraries, for this machine
        kernel          Debian's arm64 kernel
        initrd          busybox and the drivers of the board's disks and network, which lead to:
        root.ext4       the root: bash, coreutils, procps, Python 3.11, LiteRT, sshd, adbd
        diskless        a smaller root that lives in memory: Python 3.11 and LiteRT
        manifest.json   the origin of all of it, and the SHA-256 of every file
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.emulation.bundle import Bundle
from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from pathlib import Path

FIXED_UUID = "00000000-0000-4000-8000-000000000000"
"""All file systems have the same UUID, so that the same files make the same bytes."""


@dataclass(frozen=True)
class BoardImage(Bundle):
    """The bundle that a board boots from."""

    remedy: str = "pipeline device provision board"
    owner: str = "the emulated board"

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def diskless(self) -> Path:
        return self.folder / "diskless"

    @property
    def root(self) -> Path:
        return self.folder / "root.ext4"

    @property
    def adb(self) -> Path:
        """Debian's adb, as one program that ``ADB`` may name."""
        return self.folder / "host/adb"

    def qemu(self) -> tuple[str, ...]:
        """Return the command that starts the machine's emulator, without its machine."""
        data = f"{self.folder}/host/usr/share/qemu"
        return (*self.tool("usr/bin/qemu-system-aarch64", "host"), "-L", data)

    def make_disk(self, content: Path, disk: Path, size_mib: int) -> None:
        """Make an ext4 file system of ``size_mib`` that holds what is in the folder ``content``."""
        self._make_file_system(disk, size_mib, "-O", "^has_journal", "-d", str(content))

    def make_persistent_disk(self, disk: Path, size_mib: int) -> None:
        """Make an ext4 file system of ``size_mib``, empty and with a journal, which survives a power cut."""
        self._make_file_system(disk, size_mib, "-O", "has_journal")

    def _make_file_system(self, disk: Path, size_mib: int, *more: str) -> None:
        make = [
            *self.tool("sbin/mke2fs", "host"),
            *["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0"],
        ]
        make += ["-U", FIXED_UUID, "-E", f"root_owner=0:0,hash_seed={FIXED_UUID},lazy_itable_init=0", *more]
        environment = {"MKE2FS_CONFIG": f"{self.folder}/host/etc/mke2fs.conf", "E2FSPROGS_FAKE_TIME": "1"}
        done = subprocess.run(
            [*make, str(disk), f"{size_mib}M"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != 0:
            message = f"mke2fs cannot make {disk.name}: {' '.join(done.stderr.split())}; run: {self.remedy}"
            raise ToolchainError(message)
