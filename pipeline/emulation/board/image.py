"""The emulated board's image: a kernel, an initial RAM disk and a root, made once in the user's cache.

Like the emulator of single programs it stands on its own: qemu and mke2fs run on the libraries that came with
them, no root rights are needed, and no package's maintainer script is run. ::

    board/KEY/
        host            qemu-system-aarch64, mke2fs, adb and their libraries, for this machine
        kernel          Debian's arm64 kernel
        initrd          busybox and the drivers of the board's disks and network, which lead to:
        root.ext4       the root: bash, coreutils, procps, Python 3.11, LiteRT, sshd, adbd
        diskless        a smaller root that lives in memory: Python 3.11 and LiteRT
        manifest.json   where all of it came from, and the SHA-256 of every file
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.emulation import packages
from pipeline.emulation.board.assembly import (
    ACCOUNTS,
    ADB,
    BACKPORTS,
    BOARD_PACKAGES,
    DRIVERS,
    GETPROP,
    HOST_PACKAGES,
    IN_MEMORY,
    KERNEL_PACKAGE,
    NOT_OF_THE_WHEELS,
    NOT_UNPACKED,
    PROPERTIES,
    assemble,
    read_resource,
    unpack_all,
)
from pipeline.emulation.bundle import (
    DEBIAN_ARCHITECTURES,
    LOADERS,
    TRIPLETS,
    cache_folder,
    require_space,
    sha256,
    write_manifest,
)
from pipeline.errors import ToolchainError
from pipeline.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAYOUT = 2
"""Raise it when what is laid out below changes."""

PROVISION = "pipeline device provision board"
NEEDED_BYTES = 1_500_000_000
"""Free space that provisioning wants, downloads included."""

FIXED_UUID = "00000000-0000-4000-8000-000000000000"
"""File systems are named alike, so that the same files make the same bytes."""


@dataclass(frozen=True)
class BoardImage:
    """A provisioned image in ``folder``, for a host of Debian's ``architecture``."""

    folder: Path
    architecture: str

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

    def host_tool(self, path: str) -> tuple[str, ...]:
        """Return the command that runs a tool of ``host`` on the libraries that came with it."""
        root, triplet = self.folder / "host", TRIPLETS[self.architecture]
        libraries = f"{root}/lib/{triplet}:{root}/usr/lib/{triplet}"
        loader = root / "lib" / triplet / LOADERS[self.architecture]
        return (str(loader), "--library-path", libraries, str(root / path))

    def qemu(self) -> tuple[str, ...]:
        """Return the command that starts the machine's emulator, without its machine."""
        return (*self.host_tool("usr/bin/qemu-system-aarch64"), "-L", f"{self.folder}/host/usr/share/qemu")

    def make_disk(self, content: Path, disk: Path, size_mib: int) -> None:
        """Make an ext4 file system of ``size_mib`` that holds what is in the folder ``content``."""
        self._make_file_system(disk, size_mib, "-O", "^has_journal", "-d", str(content))

    def make_lasting_disk(self, disk: Path, size_mib: int) -> None:
        """Make an ext4 file system of ``size_mib``, empty and with a journal, which outlives a power cut."""
        self._make_file_system(disk, size_mib, "-O", "has_journal")

    def _make_file_system(self, disk: Path, size_mib: int, *more: str) -> None:
        make = [
            *self.host_tool("sbin/mke2fs"),
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-I",
            "256",
            "-m",
            "0",
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
            message = f"mke2fs cannot make {disk.name}: {' '.join(done.stderr.split())}; run: {PROVISION}"
            raise ToolchainError(message)

    def manifest(self) -> dict[str, Any]:
        """Return what provisioning recorded: the packages, the wheels and every file's size and hash."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest

    def damaged_files(self, *, hashes: bool) -> Iterator[str]:
        """Yield the files that are not as provisioned, by size (a few ms) or by hash (seconds)."""
        for name, (size, digest) in self.manifest()["files"].items():
            path = self.folder / name
            try:
                intact = path.stat().st_size == size and (not hashes or sha256(path) == digest)
            except OSError:
                intact = False
            if not intact:
                yield name


def find_image() -> BoardImage:
    """Return the provisioned image.

    Raises:
        ToolchainError: it is not provisioned, or files of it are missing or truncated.
    """
    image = _expected()
    if not (image.folder / "manifest.json").is_file():
        message = f"the emulated board is not provisioned; run: {PROVISION}"
        raise ToolchainError(message)
    try:
        damaged = next(image.damaged_files(hashes=False), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        damaged = "manifest.json"
    if damaged is not None:
        message = f"the emulated board's file {damaged} is damaged; run: {PROVISION}"
        raise ToolchainError(message)
    return image


def is_board_provisioned() -> bool:
    """Whether ``find_image`` would find one."""
    try:
        find_image()
    except ToolchainError:
        return False
    return True


def provision_image() -> BoardImage:
    """Provision the board where it is missing or damaged; safe to run twice at once.

    Raises:
        ToolchainError: this system or its sources cannot provide it; says what mends that.
    """
    from filelock import FileLock

    image = _expected()
    try:
        image.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{image.folder}.lock"):
            if not _is_intact(image):
                staging = BoardImage(image.folder.with_suffix(".partial"), image.architecture)
                _make(staging)
                shutil.rmtree(image.folder, ignore_errors=True)
                staging.folder.rename(image.folder)
    except OSError as error:
        message = (
            f"cannot write to {cache_folder()}: {error.strerror or error}; "
            f"make room, or name another folder in EDGE_PIPELINE_CACHE, and run: {PROVISION}"
        )
        raise ToolchainError(message) from error
    return image


def _expected() -> BoardImage:
    """Return the image that this version of the project wants on this machine."""
    machine = platform.machine()
    if machine not in DEBIAN_ARCHITECTURES:
        message = f"the emulated board runs on x86_64 and aarch64 hosts, not on {machine}; use one of those"
        raise ToolchainError(message)
    architecture = DEBIAN_ARCHITECTURES[machine]
    recipe = [str(LAYOUT), architecture, *HOST_PACKAGES, KERNEL_PACKAGE, *BOARD_PACKAGES, *NOT_UNPACKED]
    recipe += [*DRIVERS, *IN_MEMORY, *NOT_OF_THE_WHEELS]
    recipe += [read_resource("pipeline.emulation.board", name) for name in ("initrd.sh", "init.sh")]
    recipe += [read_resource("pipeline.emulation", "wheels-aarch64.txt"), *ACCOUNTS.values()]
    recipe += [GETPROP, PROPERTIES, ADB, *BACKPORTS]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    return BoardImage(cache_folder() / "board" / key, architecture)


def _is_intact(image: BoardImage) -> bool:
    try:
        return not any(image.damaged_files(hashes=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _make(staging: BoardImage) -> None:
    """Fill the staging folder; downloads of an interrupted run are taken up where they stopped."""
    packages.require_debian()
    folder = staging.folder
    folder.mkdir(exist_ok=True)
    require_space(folder, "the emulated board", NEEDED_BYTES)
    for stale in ("host", "root", "kernel-package"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    with track("board: packages", unit="bytes") as advance:
        debs = _download(staging, packages.byte_reporter(advance))
    with track("board: unpack", total=len(debs), unit="packages") as advance:
        unpack_all(staging, debs, advance)
    with track("board: wheels", unit="bytes") as advance:
        pip = next((folder / "host/usr/share/python-wheels").glob("pip-*.whl"))
        requirements = folder / "wheels-aarch64.txt"
        requirements.write_text(read_resource("pipeline.emulation", "wheels-aarch64.txt"), encoding="utf-8")
        wheels = packages.download_wheels(
            pip, requirements, folder / "wheels", packages.byte_reporter(advance)
        )
        for wheel in wheels:
            packages.unpack_wheel(wheel, folder / "root/site")
    with track("board: prepare"):
        sources = {path.name: sha256(path) for path in (*(deb for deb, _ in debs), *wheels)}
        assemble(staging)
        write_manifest(folder, sources, LAYOUT)


def _download(staging: BoardImage, on_progress: Callable[[int, int], None]) -> list[tuple[Path, str]]:
    """Download the packages; returns each with the folder that it belongs in.

    The machine's and the board's come one after the other: packages that suit every architecture are in both.
    """
    debs: list[tuple[Path, str]] = []
    host = staging.architecture
    for where, architecture, wanted in (
        ("host", host, HOST_PACKAGES),
        ("root", "arm64", (KERNEL_PACKAGE, *BOARD_PACKAGES)),
    ):
        apt = packages.PrivateApt(staging.folder / f"apt-{where}", [architecture], BACKPORTS)
        found = apt.download([f"{name}:{architecture}" for name in wanted], on_progress)
        for deb in found:
            is_kernel = where == "root" and deb.name.startswith("linux-image-")
            debs.append((deb, "kernel-package" if is_kernel else where))
    return debs
