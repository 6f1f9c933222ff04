"""Signed releases, and what the command says of one that something was done to."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import SignatureError
from deploy.keys import generate_key
from deploy.signing import sign, verify

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Signed:
    """A signed release, another one of the same name by the same key, and the keys."""

    release: Path
    other: Path
    key: Path
    public: Path
    stranger: Path


def signed_in(folder: Path) -> Signed:
    return Signed(
        release=folder / "one" / "tiny-1.2.3-arm64",
        other=folder / "two" / "tiny-1.2.4-arm64",
        key=folder / "release.key",
        public=folder / "release.pub",
        stranger=folder / "stranger.key",
    )


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory, write_release: Callable[..., Path]) -> Path:
    """What ``signed`` is copied from."""
    folder = tmp_path_factory.mktemp("originals")
    for name in ("release", "stranger"):
        generate_key(folder / f"{name}.key", folder / f"{name}.pub")
    for release in (
        write_release(folder / "one"),
        write_release(folder / "two", {"c/model.h": "// other\n"}, version="1.2.4", counter=1_002_004),
    ):
        sign(release, folder / "release.key")
    return folder


@pytest.fixture
def signed(originals: Path, tmp_path: Path) -> Signed:
    """Two signed releases that a test may do anything to."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return signed_in(tmp_path)


@pytest.fixture(scope="module")
def copied(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Two signed releases for tests that put back what they changed."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(originals, folder, dirs_exist_ok=True)
    return signed_in(folder)


@pytest.fixture
def listing() -> Callable[[Path], dict[str, Any]]:
    """A function that says what is in a folder, and when each was last changed."""

    def look(folder: Path) -> dict[str, Any]:
        paths = [Path(root) / name for root, *both in os.walk(folder) for names in both for name in names]
        about = {str(path): path.lstat() for path in paths}
        return {path: (found.st_mode, found.st_size, found.st_mtime_ns) for path, found in about.items()}

    return look


@pytest.fixture
def refusal(
    signed: Signed, tmp_path: Path, pipeline: Callable[..., Any], listing: Callable[..., Any]
) -> Callable[[Any], str]:
    """Do something to a signed release, and return what `pipeline verify` says: one line, exit code 6.

    The damage takes ``signed`` and may return the path of another folder to verify. Nothing is written.
    """

    def refuse(damage: Callable[[Signed], Any]) -> str:
        elsewhere = damage(signed)
        folder = elsewhere if isinstance(elsewhere, Path) else signed.release
        before = listing(tmp_path)
        ended = pipeline("verify", folder, "--public-key", signed.public)
        assert (ended.code, ended.out) == (6, "")
        assert ended.message.isprintable()
        assert listing(tmp_path) == before
        with pytest.raises(SignatureError):
            verify(folder, signed.public)
        return ended.message

    return refuse
