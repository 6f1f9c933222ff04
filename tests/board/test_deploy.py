"""Releases on the emulated board over ssh and adb: its own processor, and a power cut in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import RefusedError, TransportError
from deploy.install.install import Installed, install
from deploy.install.options import Options
from deploy.install.versions import list_versions, status
from deploy.keys import generate_key
from deploy.manifest import digest_of, read_release
from deploy.signing import sign
from deploy.transports.addresses import open_transport
from deploy.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.transports.ssh import SshAddress
    from deploy.transports.transport import Transport
    from pipeline.emulation.board.board import Board
    from pipeline.emulation.board.image import BoardImage

pytestmark = pytest.mark.xdist_group("board")


@pytest.fixture(scope="module")
def releases(write_release: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("releases")
    made = {"old": ("1.0.0", 0), "new": ("1.1.0", 0), "bad": ("1.2.0", 0x40)}
    return {name: write_release(folder, "tiny", version, flip=flip) for name, (version, flip) in made.items()}


@pytest.fixture(params=["ssh", "adb"])
def transport(request: Any, board: Board, adb_server: int) -> Iterator[Transport]:
    opened = SshTransport(board.address) if request.param == "ssh" else open_transport(board.adb_address)
    opened.run(["sh", "-c", "rm -rf /opt/tiny /data/local/tmp/edge-models"])
    yield opened
    opened.close()


PIPELINE = "from pipeline.cli import main; main()"
AS_ANDROID = "/data/local/tmp/edge-models"
"""Where root's releases are on the board, which answers ``getprop``."""


def quiet(_: str) -> None:
    pass


def put(release: Path, transport: Transport, on_step: Callable[[str], None] = quiet) -> Installed:
    return install(read_release(release), transport, Options(), on_step)


def active(transport: Transport) -> tuple[str | None, bool | None]:
    found = status("tiny", transport, Options())
    return found.active and found.active.digest, found.healthy


def test_a_release_is_proved_on_the_boards_own_processor(
    transport: Transport, releases: dict[str, Path]
) -> None:
    old, bad = releases["old"], releases["bad"]
    assert put(old, transport).is_new

    with pytest.raises(RefusedError, match=r"is not healthy there: .*golden"):
        put(bad, transport)
    assert active(transport) == (digest_of(old), True)


def test_the_running_board_is_an_address(
    image: BoardImage,
    openssh: Path,
    releases: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pipeline: Callable[..., Any],
) -> None:
    """From `pipeline device up` on, in a cache of its own: the user may have a board up."""
    assert openssh.is_dir()
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / image.folder.name).symlink_to(image.folder)
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    old = releases["old"]
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    monkeypatch.setenv("EDGE_PIPELINE_PUBLIC_KEY", str(tmp_path / "release.pub"))
    sign(old, tmp_path / "release.key")
    address = ("--to", "board")
    assert pipeline("deploy", old, *address).code == 5
    try:
        subprocess.run([sys.executable, "-c", PIPELINE, "device", "up"], check=True, timeout=300)

        deployed = json.loads(pipeline("deploy", old, *address, "--json").out)
        assert [(one["address"], one["state"]) for one in deployed["devices"]] == [("board", "installed")]
        sample = "import numpy; numpy.save('/tmp/one.npy', numpy.zeros((3, 8, 8, 1), 'float32'))"
        runner = f"{AS_ANDROID}/tiny/current/runner.py"
        for words in (["-c", sample], [runner, "run", "--observe", "all", "/tmp/one.npy"]):
            assert pipeline("device", "shell", "--", "python3", *words).code == 0
        seen = json.loads(pipeline("monitor", old, "--from", "board", "--json").out)
    finally:
        pipeline("device", "down")
    assert [(one["address"], one["samples"]) for one in seen["devices"]] == [("board", 3)]


def test_where_root_has_installed_it_an_ordinary_user_installs_as_advised(
    board: Board, pi: SshAddress, releases: dict[str, Path]
) -> None:
    as_root, transport = SshTransport(board.address), SshTransport(pi)
    as_root.run(["sh", "-c", "rm -rf /opt/tiny /home/pi/.local"])
    unchecked = Options(root="/opt", python="/nowhere/python3", without_health_check=True)
    install(read_release(releases["old"]), as_root, unchecked, quiet)

    with pytest.raises(RefusedError, match="root has installed it in /opt, where this user") as refused:
        put(releases["old"], transport)
    advised = str(refused.value).partition("--root ")[2].partition(",")[0]
    assert advised == "/home/pi/.local/share/edge-models"
    options = Options(root=advised)
    assert install(read_release(releases["old"]), transport, options, quiet).is_new

    as_root.run(["rm", "-rf", "/opt/tiny"])
    (found,) = list_versions("tiny", transport, Options())  # where an ordinary user's are anyway
    assert found.is_active
    for each in (transport, as_root):
        each.close()


def test_a_power_cut_after_the_switch_leaves_the_new_version_whole_and_healthy(
    board: Board, adb_server: int, releases: dict[str, Path]
) -> None:
    """What the board's kernel had not written by then is lost, and nobody gives the lock back."""
    transport = SshTransport(board.address)
    transport.run(["sh", "-c", "rm -rf /opt/tiny /data/local/tmp/edge-models"])
    put(releases["old"], transport)

    def cut(name: str) -> None:
        if name == "check through current":
            board.cut_power()

    with pytest.raises(TransportError):
        put(releases["new"], transport, cut)
    board.boot()

    assert active(transport) == (digest_of(releases["new"]), True)
    assert put(releases["new"], transport).digest == digest_of(releases["new"])
    transport.close()
