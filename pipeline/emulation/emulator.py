"""The emulated devices: qemu-user, a sysroot with Python and a runtime, and a plugin to count instructions.

Everything lives in one folder of the user's cache and stands on its own: qemu runs on the libraries that came
with it, so nothing of it depends on what this machine has installed. ::

    emulator/
        tools-KEY       qemu and the plugin, for this machine
        arm64-KEY       what runs on 64-bit Arm devices
        armhf-KEY       what runs on 32-bit ones; fetched only where one is asked for
            devices/NAME    its root as one device shows it: its own /proc/cpuinfo and core count

A key names what was asked for, so a new version of a recipe is provisioned next to the old one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.emulation.bundle import cache_errors_named
from pipeline.emulation.provisioning import provision_bundles, tools_bundle
from pipeline.emulation.sysroots import PYTHON, get_sysroot
from pipeline.targets import load_devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.emulation.bundle import Bundle
    from pipeline.emulation.sysroots import Sysroot
    from pipeline.targets import Device

ARM64 = "aarch64"
"""The architecture that is provisioned where none is named."""


@dataclass(frozen=True)
class Emulator:
    """An emulator of the devices of one architecture: ``tools`` run here, ``root`` holds its files."""

    sysroot: Sysroot
    tools: Bundle
    root: Bundle

    @property
    def folder(self) -> Path:
        """The folder of the cache that its bundles are in."""
        return self.tools.folder.parent

    @property
    def bundles(self) -> tuple[Bundle, Bundle]:
        """Both of its bundles."""
        return self.tools, self.root

    def command(self, device: Device, markers: str) -> tuple[str, ...]:
        """Return what to put before a Python script's path to run it on ``device``.

        Args:
            markers: the file, in the guest's folder, that the instruction counts are appended to.
        """
        folder = str(self.tools.folder).replace(",", ",,")
        plugins = (f"icount.so,out={markers}", *(f"{name}.so" for name in self.sysroot.plugins))
        return (
            *self.tools.tool(f"usr/bin/{self.sysroot.qemu}"),
            *(word for plugin in plugins for word in ("-plugin", f"{folder}/{plugin}")),
            *("-cpu", device.cpu),
            *("-L", str(self.device_root(device))),
            *("-0", PYTHON, str(self.root.folder / "root") + PYTHON),
            *("-S", "-s", "-B", "-P"),
        )

    def device_root(self, device: Device) -> Path:
        """Return the root that ``device`` sees; made when it is first asked for."""
        text = device.cpuinfo_text()
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        root = self.root.folder / "devices" / f"{device.name}-{digest}"
        if root.is_dir():
            return root
        staging = root.with_name(f".{root.name}.{os.getpid()}.{threading.get_ident()}")
        cores = staging / "sys/devices/system/cpu"
        cores.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (cores / name).write_text(f"0-{device.cores - 1}\n", encoding="ascii")
        (staging / "proc").mkdir()
        (staging / "proc/cpuinfo").write_text(text, encoding="ascii")
        for entry in (*(self.root.folder / "root").iterdir(), self.root.folder / "site"):
            (staging / entry.name).symlink_to(Path("../..") / entry.relative_to(self.root.folder))
        try:
            staging.rename(root)
        except OSError:  # another process made the same one first
            shutil.rmtree(staging)
        return root

    def damaged_files(self, *, hashes: bool) -> Iterator[str]:
        """Yield the files that are not as provisioned, by size (a few ms) or by hash (under a second)."""
        for bundle in self.bundles:
            yield from (f"{bundle.name}/{name}" for name in bundle.damaged_files(hashes=hashes))


def find_emulator(arch: str = ARM64) -> Emulator:
    """Return the provisioned emulator of the devices of ``arch``, as ``uname -m`` says it.

    Raises:
        ToolchainError: it is not provisioned, or files of it are missing or truncated.
    """
    emulator = _expected(arch)
    for bundle in emulator.bundles:
        bundle.require()
    return emulator


def provision(arch: str = ARM64) -> Emulator:
    """Provision an emulator where it is missing or damaged; safe to run twice at once.

    Raises:
        ToolchainError: this system or its sources cannot provide it; says how to fix that.
    """
    emulator = _expected(arch)
    provision_bundles(emulator.sysroot)
    with cache_errors_named(emulator.sysroot.provision):
        for device in load_devices().values():
            if device.arch == arch and not device.is_host:
                emulator.device_root(device)
    return emulator


def _expected(arch: str) -> Emulator:
    """Return the emulator that this version of the project wants on this machine."""
    tools, sysroot = tools_bundle(), get_sysroot(arch)
    return Emulator(sysroot, tools, sysroot.bundle)
