"""Addresses of devices, with ``board`` for the running emulated board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.fleet import read_addresses
from deploy.transports.ssh import SshAddress, SshTransport
from pipeline.emulation.board import board
from pipeline.emulation.board.addresses import is_device, open_device
from pipeline.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SshAddress:
    """The address of a board that is recorded as running."""
    made = SshAddress("127.0.0.1", "root", 2222, tmp_path / "client_key", tmp_path / "known_hosts")
    monkeypatch.setattr(board, "running", lambda: board.RunningBoard(1, made, "rpi4", 512))
    return made


def test_the_board_is_reached_with_its_own_key_and_host_key(address: SshAddress) -> None:
    transport = open_device("board")
    assert isinstance(transport, SshTransport)
    assert transport.address == address
    assert str(transport) == "board"


def test_a_file_of_addresses_may_name_the_board(address: SshAddress, tmp_path: Path) -> None:
    (tmp_path / "fleet.txt").write_text("board\nssh://pi@kitchen\nboard\n")
    assert read_addresses(tmp_path / "fleet.txt", open_device) == ("board", "ssh://pi@kitchen")


def test_without_a_board_the_command_that_starts_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    with pytest.raises(DeviceError, match="no emulated board is up; start one with: pipeline device up"):
        open_device("board")


def test_other_addresses_are_as_they_were_and_paths_are_no_devices() -> None:
    assert str(open_device("ssh://pi@kitchen")) == "ssh://pi@kitchen"
    assert [is_device(text) for text in ("board", "adb://one", "./board", "seen.json")] == [
        True,
        True,
        False,
        False,
    ]
