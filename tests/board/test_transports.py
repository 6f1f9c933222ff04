"""ssh and adb to the emulated board: real programs on both sides, and what a power cut leaves."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from conformance import Conformance

from deploy.errors import TransportError
from deploy.transports.adb import AdbTransport, adb_program
from deploy.transports.addresses import open_transport
from deploy.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.transports.transport import Transport
    from pipeline.emulation.board.board import Board

pytestmark = pytest.mark.xdist_group("board")

FIND = "from importlib.util import find_spec as f; print(f('numpy').origin, f('ai_edge_litert').origin)"


def made_folder(transport: Transport) -> str:
    return transport.run(["mktemp", "-d", "/data/local/tmp/way-XXXXXX"]).out.decode().strip()


@pytest.fixture(scope="module")
def ssh(board: Board) -> Iterator[SshTransport]:
    transport = SshTransport(board.address)
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def adb(board: Board, adb_server: int) -> Iterator[Transport]:
    transport = open_transport(board.adb_address)
    yield transport
    transport.close()


class TestSsh(Conformance):
    @pytest.fixture
    def transport(self, ssh: SshTransport) -> SshTransport:
        return ssh

    @pytest.fixture(scope="class")
    @classmethod
    def there(cls, ssh: SshTransport) -> str:
        return made_folder(ssh)


class TestAdb(Conformance):
    @pytest.fixture
    def transport(self, adb: Transport) -> Transport:
        return adb

    @pytest.fixture(scope="class")
    @classmethod
    def there(cls, adb: Transport) -> str:
        return made_folder(adb)


def test_both_ways_find_the_runtime_and_what_android_says_of_itself(ssh: SshTransport, adb: Transport):
    for transport in (ssh, adb):
        found = transport.run(["python3", "-c", FIND]).out
        assert found == b"/site/numpy/__init__.py /site/ai_edge_litert/__init__.py\n"
        assert transport.run(["getprop", "ro.product.cpu.abi"]).out == b"arm64-v8a\n"
        assert transport.run(["getprop", "absent"]).out == b"\n"
        assert b"[ro.product.cpu.abi]: [arm64-v8a]\n" in transport.run(["getprop"]).out


def test_a_key_that_is_not_known_is_refused_and_not_learnt(board: Board):
    known, identity = board.address.known_hosts, board.address.identity
    assert known is not None
    assert identity is not None
    text, transport = known.read_text(), SshTransport(board.address)
    another = f"{text.split()[0]} {identity.with_suffix('.pub').read_text()}"
    try:
        for other, message in (("", "is not known"), (another, "another host key")):
            known.write_text(other)
            with pytest.raises(TransportError, match=message):
                transport.run(["true"])
            assert known.read_text() == other
    finally:
        known.write_text(text)
        transport.close()


def test_of_two_devices_one_has_to_be_named(board: Board, adb: Transport):
    other = AdbTransport(board.adb_address.removeprefix("adb://").replace("127.0.0.1", "localhost"))
    only = AdbTransport()
    assert only.run(["echo", "one"]).out == b"one\n"
    assert str(only) == str(adb)
    try:
        assert other.run(["echo", "two"]).out == b"two\n"
        with pytest.raises(TransportError, match=rf"one of 2 devices; .*{adb} \(device\)"):
            AdbTransport().run(["true"])
    finally:
        other.close()
    listed = subprocess.run([adb_program(), "devices"], capture_output=True, text=True, check=True).stdout
    assert "localhost" not in listed


def test_nobody_at_an_address_is_an_error(adb_server: int):
    with pytest.raises(TransportError, match=r"cannot reach adb://127\.0\.0\.1:1: .*[Cc]onnection refused"):
        open_transport("adb://127.0.0.1:1").run(["true"])
    with pytest.raises(TransportError, match="adb knows no device adb://absent"):
        open_transport("adb://absent").run(["true"])


def test_a_power_cut_ends_what_runs_and_keeps_what_was_synced(
    board: Board, ssh: SshTransport, adb: Transport, tmp_path: Path
):
    (tmp_path / "file").write_bytes(b"kept")
    for transport, folder in ((ssh, "/opt/ssh"), (adb, "/data/local/tmp/adb")):
        transport.run(["mkdir", folder])
        transport.push(tmp_path / "file", f"{folder}/synced")
        transport.run(["sync", f"{folder}/synced", folder])
        transport.push(tmp_path / "file", f"{folder}/unsynced")
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(transport.run, ["sh", "-c", "echo begun; sleep 60"]) for transport in (ssh, adb)
        ]
        assert board.run(["sh", "-c", "until [ $(pgrep -cx sleep) -ge 2 ]; do sleep 0.1; done"]).status == 0
        board.cut_power()
        for ended in running:
            with pytest.raises(TransportError, match=r"cannot reach|offline"):
                ended.result(timeout=60)
    for transport in (ssh, adb):
        with pytest.raises(TransportError):
            transport.run(["true"], timeout_s=5)
    board.boot()
    for transport, folder in ((ssh, "/opt/ssh"), (adb, "/data/local/tmp/adb")):
        assert transport.run(["cat", f"{folder}/synced"]).out == b"kept"
        assert transport.run(["cat", f"{folder}/unsynced"]).out in (b"", b"kept")
