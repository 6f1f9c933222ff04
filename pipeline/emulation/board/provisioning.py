"""Make the emulated board's image: download, unpack, assemble and record packages and wheels.

It needs no root rights, and no package's maintainer script is run.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

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
    unpack_all,
)
from pipeline.emulation.board.image import BoardImage
from pipeline.emulation.bundle import (
    cache_folder,
    host_architecture,
    recipe_key,
    require_space,
    resource,
    sha256,
    write_manifest,
)
from pipeline.errors import ToolchainError
from pipeline.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEEDED_BYTES = 1_500_000_000
"""Free space that provisioning needs, downloads included."""

WHEELS = "wheels-aarch64.txt"


def find_image() -> BoardImage:
    """Return the provisioned image.

    Raises:
        ToolchainError: it is not provisioned, or files of it are missing or truncated.
    """
    image = _expected()
    image.require()
    return image


def is_board_provisioned() -> bool:
    """Return whether ``find_image`` would find one."""
    try:
        find_image()
    except ToolchainError:
        return False
    return True


def provision_image() -> BoardImage:
    """Provision the board where it is missing or damaged; safe to run twice at once.

    Raises:
        ToolchainError: this system, its sources or the cache do not allow it; says how to fix that.
    """
    image = _expected()
    image.make_with(lambda folder: _make(replace(image, folder=folder)))
    return image


def _expected() -> BoardImage:
    """Return the image that this version of the project expects on this machine."""
    recipe = [host_architecture(), *HOST_PACKAGES, KERNEL_PACKAGE, *BOARD_PACKAGES, *NOT_UNPACKED]
    recipe += [*DRIVERS, *IN_MEMORY, *NOT_OF_THE_WHEELS]
    recipe += [resource(name) for name in ("board/initrd.sh", "board/init.sh", WHEELS)]
    recipe += [*ACCOUNTS.values(), GETPROP, PROPERTIES, ADB, *BACKPORTS]
    return BoardImage("image", cache_folder() / "board" / recipe_key(recipe))


def _make(staging: BoardImage) -> None:
    """Fill the staging folder; downloads of an interrupted run are resumed."""
    packages.require_debian()
    folder = staging.folder
    require_space(folder, "the emulated board", NEEDED_BYTES)
    for stale in ("host", "root", "kernel-package"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    with track("board: packages", unit="bytes") as advance:
        debs = _download(folder, packages.byte_reporter(advance))
    with track("board: unpack", total=len(debs), unit="packages") as advance:
        unpack_all(staging, debs, advance)
    with track("board: wheels", unit="bytes") as advance:
        pip = next((folder / "host/usr/share/python-wheels").glob("pip-*.whl"))
        requirements = folder / WHEELS
        requirements.write_text(resource(WHEELS), encoding="utf-8")
        wheels = packages.download_wheels(
            pip, requirements, folder / "wheels", packages.byte_reporter(advance)
        )
        for wheel in wheels:
            packages.unpack_wheel(wheel, folder / "root/site")
    with track("board: prepare"):
        sources = {path.name: sha256(path) for path in (*(deb for deb, _ in debs), *wheels)}
        assemble(staging)
        write_manifest(folder, sources)


def _download(folder: Path, on_progress: Callable[[int, int], None]) -> list[tuple[Path, str]]:
    """Download the packages; returns each with the folder that it belongs in.

    The machine's and the board's come one after the other: packages that suit every architecture are in both.
    """
    debs: list[tuple[Path, str]] = []
    for where, architecture, expected in (
        ("host", host_architecture(), HOST_PACKAGES),
        ("root", "arm64", (KERNEL_PACKAGE, *BOARD_PACKAGES)),
    ):
        apt = packages.PrivateApt(folder / f"apt-{where}", [architecture], BACKPORTS)
        for deb in apt.download([f"{name}:{architecture}" for name in expected], on_progress):
            is_kernel = where == "root" and deb.name.startswith("linux-image-")
            debs.append((deb, "kernel-package" if is_kernel else where))
    return debs
