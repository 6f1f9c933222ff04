"""``pipeline device``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pipeline.cli.device import device

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))


def test_list_shows_every_device_and_how_to_provision() -> None:
    result = CliRunner().invoke(device, ["list"])
    assert result.exit_code == 0
    for word in ("rpi3", "rpi4", "rpi5", "cortex-a72", "arm64"):
        assert word in result.stdout
    assert "pipeline device provision" in result.stdout


def test_list_as_json() -> None:
    rows = json.loads(CliRunner().invoke(device, ["list", "--json"]).stdout)
    rpi5 = next(row for row in rows if row["name"] == "rpi5")
    assert rpi5["core"] == "cortex-a76"
    assert rpi5["targets"] == ["arm64"]
    assert rpi5["dot_product"] is True
    assert rpi5["provisioned"] is False
