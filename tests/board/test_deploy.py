"""Releases on the emulated board over ssh and adb: its own processor, and a power cut in the middle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy import device
from deploy.errors import RefusedError, TransportError
from deploy.install.install import Installed, install
from deploy.install.options import Options
from deploy.install.versions import rollback, status
from deploy.manifest import Manifest, digest_of, read_release, write_manifest
from deploy.transports.addresses import open_transport
from deploy.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.transports.transport import Transport
    from pipeline.board.board import Board

pytestmark = pytest.mark.xdist_group("board")


def write(folder: Path, model: Path, version: str, counter: int, flip: int = 0) -> Path:
    """Write what a device has of a release of ``model``; ``flip`` spoils its golden answers."""
    from ai_edge_litert.interpreter import Interpreter

    folder.mkdir()
    shutil.copyfile(model, folder / "tiny.tflite")
    for file in device.FILES:
        shutil.copyfile(Path(device.__file__).with_name(file), folder / file)
    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    ports = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    golden = np.random.default_rng(3).integers(-128, 128, (8, 8, 8, 1)).astype(np.int8)
    answers = []
    for sample in golden:
        interpreter.set_tensor(ports[0]["index"], sample[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(ports[1]["index"])[0] ^ flip)
    np.save(folder / "golden_input_0.npy", golden)
    np.save(folder / "golden_output_0.npy", np.stack(answers).astype(np.int8))
    contracts = [
        {
            "name": name,
            "shape": [int(size) for size in port["shape"]],
            "dtype": "int8",
            "scale": float(port["quantization"][0]),
            "zero_point": int(port["quantization"][1]),
            "range": None,
        }
        for name, port in zip(("image", "class"), ports, strict=True)
    ]
    steps = {"resize": None, "indices": False, "reverse_channels": False, "scale": [1.0], "offset": [0.0]}
    facts = {
        "name": "tiny",
        "version": version,
        "target": "arm64",
        "counter": counter,
        "created": None,
        "expires": None,
        "devices": ["rpi4"],
        "machine": "aarch64",
        "android_abi": "arm64-v8a",
        "runtimes": [{"package": "ai-edge-litert", "least": "1.0.1"}],
        "format": "int8",
        "inputs": [contracts[0] | {"preprocessing": steps}],
        "outputs": [contracts[1] | {"task": "regression", "logits": False}],
        "labels": [],
        "tolerance_steps": 1,
        "golden": 8,
        "model": "tiny.tflite",
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()},
    }
    write_manifest(Manifest.model_validate_json(json.dumps(facts)), folder)
    return folder


@pytest.fixture(scope="module")
def releases(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("releases")
    made = {"old": ("1.0", 1, 0), "new": ("1.1", 2, 0), "bad": ("1.2", 3, 0x40)}
    return {name: write(folder / name, model, *facts) for name, facts in made.items()}


@pytest.fixture(params=["ssh", "adb"])
def way(request: Any, board: Board, adb_server: int) -> Iterator[Transport]:
    opened = SshTransport(board.address) if request.param == "ssh" else open_transport(board.adb_address)
    opened.run(["sh", "-c", "rm -rf /opt/tiny /data/local/tmp/edge-models"])
    yield opened
    opened.close()


def quiet(_: str) -> None:
    pass


def put(release: Path, way: Transport, on_step: Callable[[str], None] = quiet) -> Installed:
    return install(read_release(release), way, Options(), on_step)


def active(way: Transport) -> tuple[str | None, bool | None]:
    found = status("tiny", way, Options())
    return found.active and found.active.digest, found.healthy


def test_a_release_is_proved_on_the_boards_own_processor(way: Transport, releases: dict[str, Path]) -> None:
    old, new, bad = (releases[name] for name in ("old", "new", "bad"))
    assert put(old, way).is_new

    with pytest.raises(RefusedError, match=r"is not healthy there: .*golden"):
        put(bad, way)
    assert active(way) == (digest_of(old), True)

    if isinstance(way, SshTransport):  # the same programs run there over adb, and each takes seconds
        assert put(new, way).before == digest_of(old)
        assert rollback("tiny", way, Options(), quiet).digest == digest_of(old)
        assert active(way) == (digest_of(old), True)


def test_the_running_board_is_an_address(
    board: Board, releases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.board import board as boards
    from pipeline.board.addresses import open_device

    recorded = boards.RunningBoard(0, board.address, "rpi4", 512)
    monkeypatch.setattr(boards, "running", lambda: recorded)
    way = open_device("board")
    way.run(["rm", "-rf", "/opt/tiny", "/data/local/tmp/edge-models/tiny"])
    assert put(releases["old"], way).is_new
    assert active(way) == (digest_of(releases["old"]), True)
    way.close()


@pytest.mark.parametrize(("step", "after"), [("check its health", "old"), ("check through current", "new")])
def test_a_power_cut_leaves_a_whole_and_healthy_version(
    board: Board, adb_server: int, releases: dict[str, Path], step: str, after: str
) -> None:
    """What the board's kernel had not written by then is lost, and nobody gives the lock back."""
    way = SshTransport(board.address)
    way.run(["sh", "-c", "rm -rf /opt/tiny /data/local/tmp/edge-models"])
    put(releases["old"], way)

    def cut(name: str) -> None:
        if name == step:
            board.cut_power()

    with pytest.raises(TransportError):
        put(releases["new"], way, cut)
    board.boot()

    assert active(way) == (digest_of(releases[after]), True)
    assert put(releases["new"], way).digest == digest_of(releases["new"])
    way.close()
