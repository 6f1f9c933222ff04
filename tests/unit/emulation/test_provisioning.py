"""Making the emulator's parts: what stops it before anything is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.emulation import provisioning
from pipeline.emulation.emulator import provision
from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path / "cache"))


def test_a_full_disk_is_found_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioning, "NEEDED_BYTES", 10**18)
    with pytest.raises(ToolchainError, match=r"needs \d+ MB and .* has \d+ MB free; make room"):
        provision()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ToolchainError, match=r"cannot write to .*cache: .*EDGE_PIPELINE_CACHE"):
        provision("armv7l")


def test_another_architecture_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="devices of riscv64 are not emulated"):
        provision("riscv64")
    assert not (tmp_path / "cache").exists()


def test_a_changed_plugin_is_another_part(monkeypatch: pytest.MonkeyPatch) -> None:
    before = provisioning.tools_bundle()
    monkeypatch.setattr(provisioning, "resource", lambda name: f"another {name}")
    assert provisioning.tools_bundle() != before
