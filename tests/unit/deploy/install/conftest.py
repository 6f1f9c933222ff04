"""Two versions of a release, one that is not healthy, and this machine as the device that they go to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from deploy.bundle import seal
from deploy.install.install import Installed, install
from deploy.install.options import Options
from deploy.manifest import digest_of, read_manifest, read_release
from deploy.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.transports.transport import Transport

NO_PYTHON = "/nowhere/python3"


@dataclass(frozen=True)
class Device:
    """A folder that is a device's root for releases."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "tiny"

    @property
    def active(self) -> str | None:
        """The digest that ``current`` leads to; a dangling link is a broken device."""
        link = self.home / "current"
        if not link.is_symlink():
            return None
        assert link.is_dir(), "current leads nowhere"
        return link.readlink().name

    def options(self, **changes: Any) -> Options:
        return Options(**({"root": str(self.root), "python": sys.executable} | changes))

    def install(
        self, release: Path, transport: Transport | None = None, on_step: Any = None, **more: Any
    ) -> Installed:
        options = self.options(**more)
        return install(
            read_release(release), transport or LocalTransport(), options, on_step or (lambda _: None)
        )

    def require_whole(self, *releases: Path) -> None:
        """Check that the active and the previous version are some of these, byte for byte."""
        by_digest = {digest_of(release): release for release in releases}
        for link in (self.home / "current", self.home / "previous"):
            if link.is_symlink():
                source = by_digest[link.readlink().name]
                assert (link / "manifest.json").is_file()
                for path in link.iterdir():
                    assert path.read_bytes() == (source / path.name).read_bytes(), path

    def health(self) -> dict[str, Any]:
        """Run the golden vectors of what is active."""
        command = [sys.executable, "-B", self.home / "current" / "runner.py", "health", "--json"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture(scope="session")
def derive(released: Path) -> Callable[..., Path]:
    """Make a release like the tiny one with other facts in its manifest, after ``change(folder)``."""

    def derive(folder: Path, change: Any = None, **facts: Any) -> Path:
        shutil.copytree(released, folder)
        if change is not None:
            change(folder)
        manifest = read_manifest(folder)
        (folder / "manifest.json").unlink()
        seal(folder, manifest.model_copy(update=facts))
        return folder

    return derive


@pytest.fixture
def old(released: Path) -> Path:
    return released


@pytest.fixture
def new(derive: Callable[..., Path], tmp_path: Path) -> Path:
    def change(folder: Path) -> None:
        (folder / "baseline.json").write_text("{}")

    return derive(tmp_path / "tiny-1.1-arm64", change, version="1.1", counter=2)


@pytest.fixture
def bad(derive: Callable[..., Path], tmp_path: Path) -> Path:
    """A release, true to its manifest, whose golden outputs the model does not give."""

    def change(folder: Path) -> None:
        path = folder / "golden_output_0.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 0x40
        path.write_bytes(content)

    return derive(tmp_path / "tiny-1.2-arm64", change, version="1.2", counter=3)
