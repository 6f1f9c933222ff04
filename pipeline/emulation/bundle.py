"""Bundles of the emulator: folders of the user's cache, made once, published whole and checked by hash.

A bundle's folder is named after what was asked for, so a new recipe is provisioned beside the old one. Its
``manifest.json`` says where its files came from, and the size and SHA-256 of every one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LAYOUT = 2
"""Raise it when what lies in a bundle's folder changes."""

PROVISION = "pipeline device provision"

DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names for the machines that the emulator runs on, as ``uname -m`` says them."""
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}


@dataclass(frozen=True)
class Bundle:
    """A bundle of the emulator in ``folder``, and the command that provisions it."""

    name: str
    folder: Path
    remedy: str = PROVISION

    def manifest(self) -> dict[str, Any]:
        """Return what was recorded of it: the downloads, and every file's size and hash."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest

    def damaged_files(self, *, hashes: bool) -> Iterator[str]:
        """Yield the files that are not as provisioned, by size (a few ms) or by hash (under a second)."""
        for name, (size, digest) in self.manifest()["files"].items():
            path = f"{self.folder}/{name}"
            try:
                size_now = os.stat(path).st_size  # noqa: PTH116 - of thousands of files: Path takes thrice as long
                intact = size_now == size and (not hashes or sha256(Path(path)) == digest)
            except OSError:
                intact = False
            if not intact:
                yield name

    def damage(self, *, hashes: bool) -> str | None:
        """Return the first file that is not as provisioned, if there is one."""
        try:
            return next(self.damaged_files(hashes=hashes), None)
        except (OSError, ValueError, KeyError, TypeError):
            return "manifest.json"

    def require(self) -> None:
        """Refuse a bundle that is missing or whose files are not all there.

        Raises:
            ToolchainError: names the command that provisions it.
        """
        if not (self.folder / "manifest.json").is_file():
            message = f"the emulator is not provisioned ({self.name}); run: {self.remedy}"
            raise ToolchainError(message)
        damaged = self.damage(hashes=False)
        if damaged is not None:
            message = f"the emulator's file {self.name}/{damaged} is damaged; run: {self.remedy}"
            raise ToolchainError(message)

    def make_with(self, make: Callable[[Path], None]) -> None:
        """Have ``make`` fill a folder and publish it, where this bundle is missing or damaged.

        An interrupted run leaves the folder's downloads, for the next one to take up. Safe to run twice at
        once.
        """
        from filelock import FileLock

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.folder}.lock"):
            if self.damage(hashes=True) is None:
                return
            staging = self.folder.with_suffix(".partial")
            staging.mkdir(exist_ok=True)
            make(staging)
            shutil.rmtree(self.folder, ignore_errors=True)
            staging.rename(self.folder)

    def tool(self, name: str) -> tuple[str, ...]:
        """Return the command that runs a program of this bundle's ``root`` on that root's own libraries."""
        host = host_architecture()
        root, triplet = self.folder / "root", TRIPLETS[host]
        libraries = f"{root}/lib/{triplet}:{root}/usr/lib/{triplet}"
        loader = root / "lib" / triplet / LOADERS[host]
        return (str(loader), "--library-path", libraries, str(root / "usr/bin" / name))


def bundle_for(name: str, recipe: Sequence[str], remedy: str = PROVISION) -> Bundle:
    """Return the bundle that is made by ``recipe``, in the user's cache."""
    key = hashlib.sha256("\n".join([str(LAYOUT), *recipe]).encode()).hexdigest()[:16]
    return Bundle(name, cache_folder() / "emulator" / f"{name}-{key}", remedy)


def cache_folder() -> Path:
    """Return where the pipeline keeps what it can make again; ``EDGE_PIPELINE_CACHE`` moves it."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("EDGE_PIPELINE_CACHE")
    return Path(chosen).absolute() if chosen else user_cache_path("edge-deploy-pipeline")


def host_architecture() -> str:
    """Return Debian's name for this machine's architecture.

    Raises:
        ToolchainError: the emulator does not run on it.
    """
    machine = platform.machine()
    if machine not in DEBIAN_ARCHITECTURES:
        message = f"the emulator runs on x86_64 and aarch64 hosts, not on {machine}; use one of those"
        raise ToolchainError(message)
    return DEBIAN_ARCHITECTURES[machine]


def resource(name: str) -> str:
    """Return the text of a file beside this one."""
    return files("pipeline.emulation").joinpath(name).read_text(encoding="utf-8")


def write_manifest(folder: Path, sources: Mapping[str, str], layout: int = LAYOUT) -> None:
    """Record every file of ``folder``, and the names and hashes of the downloads that they came from."""
    recorded = {
        str(path.relative_to(folder)): (path.stat().st_size, sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    text = json.dumps(
        {"layout": layout, "sources": dict(sorted(sources.items())), "files": recorded}, indent=1
    )
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: Path, what: str, needed_bytes: int) -> None:
    """Refuse to fill a disk.

    Raises:
        ToolchainError: there is less free space than ``what`` needs.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        message = (
            f"{what} needs {needed_bytes // 10**6} MB and {folder} has {free // 10**6} MB free; "
            "make room, or name another folder in EDGE_PIPELINE_CACHE"
        )
        raise ToolchainError(message)
