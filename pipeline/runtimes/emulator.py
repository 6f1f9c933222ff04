"""The emulated devices: qemu-user, an arm64 Python with the runtime, and the plugin that counts instructions.

Everything lives in one folder of the user's cache and stands on its own: qemu runs on the libraries that came
with it, so nothing of it depends on what this machine has installed. ::

    emulator/KEY/
        roots/HOST      qemu-aarch64, tcc and their libraries, for this machine
        roots/arm64     Python 3.11 and its libraries
        site            the aarch64 wheels
        icount.so       the plugin, compiled by tcc
        manifest.json   where all of it came from, and the SHA-256 of every file
        devices/NAME    roots/arm64 as one device shows it: its own /proc/cpuinfo and core count

The key names what was asked for, so a new version of this file, of the plugin or of the wheels is provisioned
beside the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ToolchainError
from pipeline.progress import track
from pipeline.targets import load_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.targets import Device

LAYOUT = 1
"""Raise it when what is laid out below changes."""

GUEST_PACKAGES = ("python3.11-minimal:arm64", "libpython3.11-stdlib:arm64", "libstdc++6:arm64")
GUEST_PYTHON = "/usr/bin/python3.11"
HOST_PACKAGES = ("qemu-user", "tcc", "python3-pip-whl")

DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}

PROVISION = "pipeline device provision"
NEEDED_BYTES = 600_000_000
"""Free space that provisioning wants, downloads included."""


@dataclass(frozen=True)
class Emulator:
    """A provisioned emulator in ``folder``, for a host of Debian's ``architecture``."""

    folder: Path
    architecture: str

    def command(self, device: Device, marks: str) -> tuple[str, ...]:
        """Return what to put before a Python script's path to run it on ``device``.

        Args:
            marks: the file, in the guest's folder, that the instruction counts are appended to.
        """
        plugin = str(self.folder / "icount.so")
        return (
            *self._host_tool("qemu-aarch64"),
            *("-plugin", f"{plugin.replace(',', ',,')},out={marks}"),
            *("-cpu", device.cpu),
            *("-L", str(self.device_root(device))),
            *("-0", GUEST_PYTHON, str(self.folder / "roots/arm64") + GUEST_PYTHON),
            *("-S", "-s", "-B", "-P"),
        )

    def environment(self) -> dict[str, str]:
        """Return the guest's whole environment: fixed, so that two runs execute the same instructions."""
        return {"PYTHONPATH": "/site", "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}

    def device_root(self, device: Device) -> Path:
        """Return the root that ``device`` sees; made when it is first asked for."""
        text = device.cpuinfo_text()
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        root = self.folder / "devices" / f"{device.name}-{digest}"
        if root.is_dir():
            return root
        staging = root.with_name(f".{root.name}.{os.getpid()}.{threading.get_ident()}")
        cores = staging / "sys/devices/system/cpu"
        cores.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (cores / name).write_text(f"0-{device.cores - 1}\n", encoding="ascii")
        (staging / "proc").mkdir()
        (staging / "proc/cpuinfo").write_text(text, encoding="ascii")
        for entry in (*(self.folder / "roots/arm64").iterdir(), self.folder / "site"):
            (staging / entry.name).symlink_to(Path("../..") / entry.relative_to(self.folder))
        try:
            staging.rename(root)
        except OSError:  # another process made the same one first
            shutil.rmtree(staging)
        return root

    def manifest(self) -> dict[str, Any]:
        """Return what ``provision`` recorded: the packages, the wheels and every file's size and hash."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest

    def damaged_files(self, *, hashes: bool) -> Iterator[str]:
        """Yield the files that are not as provisioned, by size (a few ms) or by hash (under a second)."""
        for name, (size, sha256) in self.manifest()["files"].items():
            path = self.folder / name
            try:
                intact = path.stat().st_size == size and (not hashes or _sha256(path) == sha256)
            except OSError:
                intact = False
            if not intact:
                yield name

    def _host_tool(self, name: str) -> tuple[str, ...]:
        """Return the command that runs a tool of ``roots/HOST`` on that root's own libraries."""
        root, triplet = self.folder / "roots" / self.architecture, TRIPLETS[self.architecture]
        libraries = f"{root}/lib/{triplet}:{root}/usr/lib/{triplet}"
        loader = root / "lib" / triplet / LOADERS[self.architecture]
        return (str(loader), "--library-path", libraries, str(root / "usr/bin" / name))


def cache_folder() -> Path:
    """Return where the pipeline keeps what it can make again; ``EDGE_PIPELINE_CACHE`` moves it."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("EDGE_PIPELINE_CACHE")
    return Path(chosen).absolute() if chosen else user_cache_path("edge-deploy-pipeline")


def find_emulator() -> Emulator:
    """Return the provisioned emulator.

    Raises:
        ToolchainError: it is not provisioned, or files of it are missing or truncated.
    """
    emulator = _expected()
    if not (emulator.folder / "manifest.json").is_file():
        message = f"the emulator is not provisioned; run: {PROVISION}"
        raise ToolchainError(message)
    try:
        damaged = next(emulator.damaged_files(hashes=False), None)
    except (ValueError, KeyError, TypeError):
        damaged = "manifest.json"
    if damaged is not None:
        message = f"the emulator's file {damaged} is damaged; run: {PROVISION}"
        raise ToolchainError(message)
    return emulator


def is_provisioned() -> bool:
    """Whether ``find_emulator`` would find one."""
    try:
        find_emulator()
    except ToolchainError:
        return False
    return True


def provision() -> Emulator:
    """Provision the emulator where it is missing or damaged; safe to run twice at once.

    Raises:
        ToolchainError: this system or its sources cannot provide it; says what mends that.
    """
    from filelock import FileLock

    emulator = _expected()
    try:
        emulator.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{emulator.folder}.lock"):
            if not _is_intact(emulator):
                staging = Emulator(emulator.folder.with_suffix(".partial"), emulator.architecture)
                _make(staging)
                shutil.rmtree(emulator.folder, ignore_errors=True)
                staging.folder.rename(emulator.folder)
            for device in load_devices().values():
                emulator.device_root(device)
    except OSError as error:
        message = (
            f"cannot write to {cache_folder()}: {error.strerror or error}; "
            f"make room, or name another folder in EDGE_PIPELINE_CACHE, and run: {PROVISION}"
        )
        raise ToolchainError(message) from error
    return emulator


def _expected() -> Emulator:
    """Return the emulator that this version of the project wants on this machine."""
    machine = platform.machine()
    if machine not in DEBIAN_ARCHITECTURES:
        message = f"the emulator runs on x86_64 and aarch64 hosts, not on {machine}; use one of those"
        raise ToolchainError(message)
    architecture = DEBIAN_ARCHITECTURES[machine]
    recipe = [str(LAYOUT), architecture, *GUEST_PACKAGES, *HOST_PACKAGES, _resource("wheels-aarch64.txt")]
    key = hashlib.sha256("\n".join([*recipe, _resource("icount.c")]).encode()).hexdigest()[:16]
    return Emulator(cache_folder() / "emulator" / key, architecture)


def _resource(name: str) -> str:
    return files("pipeline.runtimes").joinpath(name).read_text(encoding="utf-8")


def _is_intact(emulator: Emulator) -> bool:
    try:
        return not any(emulator.damaged_files(hashes=True))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(staging: Emulator) -> None:
    """Fill the staging folder; downloads of an interrupted run are taken up where they stopped."""
    from pipeline.runtimes import packages

    packages.require_debian()
    folder, host = staging.folder, staging.architecture
    folder.mkdir(exist_ok=True)
    _require_space(folder)
    for stale in ("roots", "site", "devices"):
        shutil.rmtree(folder / stale, ignore_errors=True)

    with track("provision: packages", unit="bytes") as advance:
        apt = packages.PrivateApt(folder / "apt", list(dict.fromkeys(["arm64", host])))
        wanted = [*GUEST_PACKAGES, *(f"{name}:{host}" for name in HOST_PACKAGES)]
        debs = apt.download(wanted, _reporter(advance))
    with track("provision: unpack", total=len(debs), unit="packages") as advance:
        for deb in debs:
            owner = host if deb.name.endswith(f"_{host}.deb") else "arm64"
            packages.unpack_debs([deb], folder / "roots" / owner)
            advance(1, deb.name.partition("_")[0])
    with track("provision: wheels", unit="bytes") as advance:
        pip = next((folder / "roots").glob("*/usr/share/python-wheels/pip-*.whl"))
        requirements = folder / "wheels-aarch64.txt"
        requirements.write_text(_resource("wheels-aarch64.txt"), encoding="utf-8")
        wheels = packages.download_wheels(pip, requirements, folder / "wheels", _reporter(advance))
        for wheel in wheels:
            packages.unpack_wheel(wheel, folder / "site")
    with track("provision: prepare"):
        sources = {path.name: _sha256(path) for path in (*debs, *wheels)}
        _drop_unused(folder, host)
        _compile(staging)
        _write_manifest(folder, sources)


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        message = (
            f"the emulator needs {NEEDED_BYTES // 10**6} MB and {folder} has {free // 10**6} MB free; "
            "make room, or name another folder in EDGE_PIPELINE_CACHE"
        )
        raise ToolchainError(message)


def _reporter(advance: Callable[..., None]) -> Callable[[int, int], None]:
    """Adapt ``track``'s relative progress to absolute byte counts."""
    seen = 0

    def report(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen, f"of {total / 1e6:.0f} MB" if total else "")
        seen = done

    return report


def _drop_unused(folder: Path, host: str) -> None:
    """Delete downloads, documentation and the emulators of other processors."""
    for name in ("apt", "wheels", f"roots/{host}/usr/share", "roots/arm64/usr/share"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / "roots" / host / "usr/bin").glob("qemu-*"):
        if path.name != "qemu-aarch64":
            path.unlink()


def _compile(staging: Emulator) -> None:
    """Compile the plugin, and the guest's Python files, which would take seconds when emulated."""
    folder = staging.folder
    tcc = folder / "roots" / staging.architecture / "usr/lib" / TRIPLETS[staging.architecture] / "tcc"
    source = folder / "icount.c"
    source.write_text(_resource("icount.c"), encoding="utf-8")
    plugin = [*staging._host_tool("tcc"), f"-B{tcc}", "-nostdinc", f"-I{tcc}/include", "-nostdlib", "-shared"]
    _compiled([*plugin, "-o", str(folder / "icount.so"), str(source)])
    python = [sys.executable, "-m", "compileall", "-qx", "/tests?/", "--invalidation-mode=unchecked-hash"]
    for root, code in ((folder / "roots/arm64", "usr/lib/python3.11"), (folder, "site")):
        _compiled([*python, "-s", str(root), "-p", "/", str(root / code)])


def _compiled(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip().splitlines()
        reason = output[-1] if output else f"exit code {done.returncode}"
        message = f"{Path(command[-1]).name} does not compile: {reason}; free the cache and run: {PROVISION}"
        raise ToolchainError(message)


def _write_manifest(folder: Path, sources: Mapping[str, str]) -> None:
    recorded = {
        str(path.relative_to(folder)): (path.stat().st_size, _sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    text = json.dumps(
        {"layout": LAYOUT, "sources": dict(sorted(sources.items())), "files": recorded}, indent=1
    )
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
