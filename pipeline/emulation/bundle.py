"""Bundles of files that emulation needs: folders of the user's cache, made once, whole, and checked by hash.

A bundle's folder is named after what was asked for, so a new recipe is provisioned next to the old one. Its
``manifest.json`` says where its files came from, and the size and SHA-256 of every one.
"""

from __future__ import annotations

import contextlib
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
    """Files of ``owner`` in ``folder``, and the command that provisions them."""

    name: str
    folder: Path
    remedy: str = PROVISION
    owner: str = "the emulator"

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
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "manifest.json"

    def require(self) -> None:
        """Refuse a bundle that is missing or whose files are not all there.

        Raises:
            ToolchainError: names the command that provisions it.
        """
        if not (self.folder / "manifest.json").is_file():
            message = f"{self.owner} is not provisioned ({self.name}); run: {self.remedy}"
            raise ToolchainError(message)
        damaged = self.damage(hashes=False)
        if damaged is not None:
            message = f"{self.owner}'s file {self.name}/{damaged} is damaged; run: {self.remedy}"
            raise ToolchainError(message)

    def make_with(self, make: Callable[[Path], None]) -> None:
        """Fill a folder with ``make`` and publish it, if this bundle is missing or damaged.

        An interrupted run leaves the folder's downloads, for the next one to take up. Safe to run twice at
        once.

        Raises:
            ToolchainError: the cache cannot be written to, or ``make`` fails.
        """
        from filelock import FileLock

        with cache_errors_named(self.remedy):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.folder}.lock"):
                if self.damage(hashes=True) is None:
                    return
                staging = self.folder.with_suffix(".partial")
                staging.mkdir(exist_ok=True)
                make(staging)
                shutil.rmtree(self.folder, ignore_errors=True)
                staging.rename(self.folder)

    def tool(self, program: str, root: str = "root") -> tuple[str, ...]:
        """Return the command that runs a program of the folder ``root`` on that folder's own libraries."""
        host, folder = host_architecture(), self.folder / root
        triplet = TRIPLETS[host]
        libraries = f"{folder}/lib/{triplet}:{folder}/usr/lib/{triplet}"
        loader = folder / "lib" / triplet / LOADERS[host]
        return (str(loader), "--library-path", libraries, str(folder / program))


def bundle_for(name: str, recipe: Sequence[str], remedy: str = PROVISION) -> Bundle:
    """Return the bundle of the emulator that is made by ``recipe``, in the user's cache."""
    return Bundle(name, cache_folder() / "emulator" / f"{name}-{recipe_key(recipe)}", remedy)


def recipe_key(recipe: Sequence[str]) -> str:
    """Return 16 hexadecimal digits that name a recipe and the layout of its result."""
    return hashlib.sha256("\n".join([str(LAYOUT), *recipe]).encode()).hexdigest()[:16]


@contextlib.contextmanager
def cache_errors_named(remedy: str) -> Iterator[None]:
    """Turn an OSError into a ToolchainError that names the cache and the command to run again."""
    try:
        yield
    except OSError as error:
        message = (
            f"cannot write to {cache_folder()}: {error.strerror or error}; make room, "
            f"or name another folder in EDGE_PIPELINE_CACHE, and run: {remedy}"
        )
        raise ToolchainError(message) from error


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
    """Return the text of a file that comes with this package, by its path in it."""
    return files("pipeline.emulation").joinpath(name).read_text(encoding="utf-8")


def write_manifest(folder: Path, sources: Mapping[str, str]) -> None:
    """Record every file of ``folder``, and the names and hashes of the downloads that they came from."""
    recorded = {
        str(path.relative_to(folder)): (path.stat().st_size, sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    manifest = {"layout": LAYOUT, "sources": dict(sorted(sources.items())), "files": recorded}
    text = json.dumps(manifest, indent=1)
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
