"""``pipeline device``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pipeline.cli.device import device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ended


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))


def test_list_shows_every_device_and_how_to_provision() -> None:
    result = CliRunner().invoke(device, ["list"])
    assert result.exit_code == 0
    for word in ("rpi3", "rpi4", "rpi5", "cortex-a72", "arm64"):
        assert word in result.stdout
    assert "pipeline device provision" in result.stdout


def test_without_a_board_there_is_no_shell_and_nothing_to_end(pipeline: Callable[..., Ended]) -> None:
    ended = pipeline("device", "shell", "df", "-h")  # -h is an option of df
    assert ended.code == 5
    assert "pipeline device up" in ended.message
    assert pipeline("device", "down").out == "No board was up.\n"


def test_a_board_that_is_not_provisioned_says_what_provisions_it(pipeline: Callable[..., Ended]) -> None:
    ended = pipeline("device", "up")
    assert ended.code == 4
    assert "pipeline device provision board" in ended.message


def test_a_state_whose_process_is_gone_or_another_one_is_no_board(tmp_path: Path) -> None:
    from pipeline.emulation.board.board import down, running

    state = tmp_path / "board/up/state.json"
    state.parent.mkdir(parents=True)
    for text in ('{"pid": 1, "port": 22, "core": "rpi4", "memory_mib": 512}', "{}", "no JSON"):
        state.write_text(text)
        assert running() is None
    assert not down()
    assert not state.exists()


def test_list_as_json() -> None:
    rows = json.loads(CliRunner().invoke(device, ["list", "--json"]).stdout)
    rpi5 = next(row for row in rows if row["name"] == "rpi5")
    assert rpi5["core"] == "cortex-a76"
    assert rpi5["targets"] == ["arm64"]
    assert rpi5["dot_product"] is True
    assert rpi5["provisioned"] is False
