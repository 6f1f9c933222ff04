"""The emulated board, booted for real: over ssh, and in deterministic time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy.errors import TransportError
from pipeline.emulation.board.bench import run_bench
from pipeline.runtimes.remote import RemoteRuntime
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.emulation.board.board import Board
    from pipeline.emulation.board.image import BoardImage

pytestmark = pytest.mark.xdist_group("board")


@pytest.fixture(scope="module")
def host_outputs(model: Path, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    with Session(host_runtime("litert"), model) as session:
        return session.run(inputs)


def test_words_bytes_and_statuses_go_through_as_they_are(board: Board):
    assert board.run(["uname", "-m"]).out == b"aarch64\n"
    assert board.run(["echo", "a b", "$(x)", "*", "it's;"]).out == b"a b $(x) * it's;\n"
    assert board.run(["cat"], stdin=b"\x00\xff\n").out == b"\x00\xff\n"
    assert board.run(["sh", "-c", "exit 7"]).status == 7


def test_files_with_any_name_come_and_go(board: Board, tmp_path: Path):
    there, back = tmp_path / "o ne\"'[1]*", tmp_path / "back"
    there.write_bytes(b"\x00\xff")
    board.push(there, "/tmp/t wo'[1]*")
    board.pull("/tmp/t wo'[1]*", back)
    assert back.read_bytes() == b"\x00\xff"
    with pytest.raises(TransportError, match="No such file"):
        board.pull("/tmp/absent", back)


def test_another_host_key_is_refused_and_not_learnt(board: Board):
    known = board.address.known_hosts
    assert known is not None
    text = known.read_text()
    try:
        known.write_text("")
        with pytest.raises(TransportError, match="is not known"):
            board.run(["true"])
        assert known.read_text() == ""
    finally:
        known.write_text(text)


def test_the_board_reaches_nothing(board: Board):
    dial = "import socket; socket.create_connection(('10.0.2.2', 22), 5)"
    assert board.run(["/usr/bin/python3.11", "-c", dial]).status != 0


def test_a_model_runs_on_a_machine_over_ssh(
    board: Board, model: Path, inputs: list[NDArray[Any]], host_outputs: list[NDArray[Any]]
):
    runtime = RemoteRuntime.of(board.address)
    assert (runtime.kind, runtime.device.arch, runtime.device.cpu) == ("device", "aarch64", "0x41:0xd08")
    with Session(runtime, model) as session:
        assert session.describe().inputs[0].shape == (1, 8, 8, 1)
        assert session.time(inputs, runs=5).first_us > 0
        assert np.array_equal(session.run(inputs)[0], host_outputs[0])
        soak = next(session.soak_blocks(inputs, [160]))
        assert soak.mismatches == 0
        folder = session._host.there
    assert board.run(["test", "-e", folder]).status != 0


def test_two_boots_are_alike_to_the_nanosecond(
    image: BoardImage, model: Path, inputs: list[NDArray[Any]], host_outputs: list[NDArray[Any]]
):
    bench, outputs = run_bench(
        image,
        get_device("rpi4"),
        model,
        inputs,
        memory_mib=512,
        samples=70,
        inferences=200,
        timeout_s=300,
    )
    assert bench.latency.largest_difference == 0
    assert len(bench.latency.latencies_us) == 700
    assert bench.soak.hashes_equal
    assert bench.soak.changed_outputs == 0
    assert np.array_equal(outputs[0], host_outputs[0][:70])
