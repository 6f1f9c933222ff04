"""Check the environment of this machine, without importing the packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.emulation.bundle import cache_folder
from pipeline.emulation.emulator import ARM64, find_emulator
from pipeline.emulation.sysroots import SYSROOTS
from pipeline.errors import PipelineError, ToolchainError
from pipeline.targets import load_devices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packaging.requirements import Requirement

    from pipeline.targets import Device

DISTRIBUTION = "edge-deploy-pipeline"
SIBLINGS = ("models", "calibration", "deploy")
PYTHON = (3, 11)
FREE_BYTES = 2_000_000_000
"""Free space for a build of the default model and its cache, with a margin."""

READY = "import numpy; print(end='ready')"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was looked at.
        found: what was found, e.g. a version.
        problem: what is wrong with it; None if nothing is.
        remedy: the command, or the step, that fixes it; None if nothing is wrong.
    """

    name: str
    found: str
    problem: str | None = None
    remedy: str | None = None

    def require(self) -> None:
        """Refuse to go on where something is wrong.

        Raises:
            ToolchainError: what is wrong, and how to fix it.
        """
        if self.problem is not None:
            message = f"{self.name} {self.found}: {self.problem}; run: {self.remedy}"
            raise ToolchainError(message)


def check_environment(devices: Iterable[Device] | None = None) -> None:
    """Refuse to start in an environment in which a build would fail half-way.

    Args:
        devices: those to run models on; None for 64-bit Arm ones.

    Raises:
        ToolchainError: names the first problem and the command that fixes it.
    """
    for check in (check_python(), *check_packages()):
        check.require()
    needed = {ARM64} if devices is None else {device.arch for device in devices if not device.is_host}
    for arch in sorted(needed - {platform.machine()}):
        find_emulator(arch)


def check_everything() -> Iterator[Check]:
    """Yield all checks, in the order in which to fix problems."""
    yield check_python()
    yield from check_packages()
    yield check_siblings()
    yield check_cpu()
    yield check_disk()
    for arch in SYSROOTS:
        yield check_emulator(arch)


def check_python() -> Check:
    """Check Python's version: tflite-runtime's wheels end with 3.11, and TF-MOT needs nothing newer."""
    found = platform.python_version()
    if sys.version_info[:2] == PYTHON:
        return Check("python", found)
    required = ".".join(map(str, PYTHON))
    return Check("python", found, f"Python {required} is needed", f"python{required} -m venv .venv")


def check_packages() -> Iterator[Check]:
    """Check every package that the project's metadata asks for, by its installed version."""
    from packaging.requirements import Requirement

    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            DISTRIBUTION, "not installed", "its metadata is needed", "python -m pip install --no-deps -e ."
        )
        return
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            yield _check_package(requirement)


def check_siblings() -> Check:
    """Check that ``models``, ``calibration`` and ``deploy`` are this project's: the names are common ones."""
    home = Path(__file__).resolve().parents[2]
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parents[1] != home:
            found = "missing" if spec is None or spec.origin is None else spec.origin
            remedy = f"unset PYTHONPATH; python -m pip uninstall {name}"
            return Check("own packages", found, f"{name} is not the one beside pipeline", remedy)
    return Check("own packages", ", ".join(SIBLINGS))


def check_cpu() -> Check:
    """Check the instructions that TensorFlow's wheels are built with, and name those that speed int8 up."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    fast = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "asimddp", "i8mm") if flag in flags]
    found = " ".join((platform.machine(), *fast))
    if platform.machine() == "x86_64" and "avx" not in flags:
        return Check("cpu", found, "TensorFlow's wheels need AVX", "use a machine that has it")
    return Check("cpu", found)


def check_disk() -> Check:
    """Check the free space where the caches are."""
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free"
    if free < FREE_BYTES:
        return Check("disk", found, f"{FREE_BYTES / 1e9:.0f} GB are needed", f"make room in {existing}")
    return Check("disk", found)


def check_emulator(arch: str = ARM64) -> Check:
    """Check every file of an emulator by hash, and that an emulated Python answers under the plugins.

    Only that of 64-bit Arm devices has to be there: the others are fetched when one is asked for.
    """
    sysroot = SYSROOTS[arch]
    name = "emulator" if arch == ARM64 else f"emulator of {arch}"
    if arch == platform.machine():
        return Check(name, f"not needed: this host is {sysroot.debian}")
    if arch != ARM64 and not sysroot.bundle.folder.exists():
        return Check(name, f"not fetched; to have it: {sysroot.provision}")
    try:
        emulator = find_emulator(arch)
    except PipelineError as error:
        return Check(name, "not usable", str(error).partition(";")[0], sysroot.provision)
    damaged = next(emulator.damaged_files(hashes=True), None)
    if damaged is not None:
        return Check(name, "damaged", f"{damaged} is not as provisioned", sysroot.provision)
    devices = [device for device in load_devices().values() if device.arch == arch]
    command = [*emulator.command(devices[0], "/dev/null"), "-c", READY]
    try:
        answer = subprocess.run(
            command, env=emulator.sysroot.environment(), capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, "not usable", str(error), sysroot.provision)
    if answer.stdout != "ready":
        output = " ".join(answer.stderr.split()) or f"exit code {answer.returncode}"
        remedy = f"rm -r {emulator.root.folder} {emulator.tools.folder} && {sysroot.provision}"
        return Check(name, "not usable", output, remedy)
    return Check(name, f"qemu-user with plugin: {', '.join(device.name for device in devices)}")


def _check_package(requirement: Requirement) -> Check:
    remedy = f"python -m pip install '{requirement.name}{requirement.specifier}'"
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(requirement.name, "not installed", f"{requirement.specifier} is needed", remedy)
    if requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, found)
    return Check(requirement.name, found, f"{requirement.specifier} is needed", remedy)
