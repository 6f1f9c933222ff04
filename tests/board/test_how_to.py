"""The commands of the how-tos, word for word, between this machine and the board's ordinary user ``pi``.

What the board lacks is stood in for: sudo by a shell that is root, useradd and systemctl by programs that
note what they were asked. pip adds a path to the packages that the board has, since it reaches no network.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.device.unit import service_unit
from deploy.install.install import install
from deploy.install.options import Options
from deploy.manifest import digest_of, read_manifest, read_release
from deploy.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.transports.ssh import SshAddress
    from pipeline.emulation.board.board import Board

pytestmark = pytest.mark.xdist_group("board")
PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
NOT_HERE = ("adb://", "pipeline build")
"""Of lines that are not run: other devices, and a build, which takes training data."""
NAME = "ripeness"
PYTHON = "/opt/edge-python/bin/python3"

PREPARE = r"""
rm -rf /opt/ripeness /opt/edge-python /home/pi/.local /etc/systemd /srv /data/local/tmp/edge-models/ripeness \
    /var/lib/edge-models /run/ripeness /run/stand-ins
mkdir -p /run/stand-ins /etc/systemd/system /srv/models/ripeness /run/ripeness /var/lib/edge-models/ripeness
chown 1000:1000 /run/ripeness /var/lib/edge-models/ripeness
ln -s /opt/ripeness/current /srv/models/ripeness/current
cd /run/stand-ins
cp /bin/bash root && chmod 4755 root
touch asked && chmod 666 asked
cat > sudo << 'end'
#!/bin/sh
exec /run/stand-ins/root -p -c '"$@"' sudo "$@"
end
cat > useradd << 'end'
#!/bin/sh
echo "${0##*/} $*" >> /run/stand-ins/asked
end
cp useradd systemctl
cat > pip << 'end'
#!/bin/sh
[ "$*" = "install numpy ai-edge-litert" ] || exit 2
echo /site > "${0%/bin/pip}/lib/python3.11/site-packages/site.pth"
end
cat > python3 << 'end'
#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec /usr/bin/python3 "$@"
/usr/bin/python3 -m venv --without-pip "$3" && cp /run/stand-ins/pip "$3/bin/pip"
end
chmod 755 sudo useradd systemctl pip python3
"""
SERVE = """
export STATE_DIRECTORY=/var/lib/edge-models/ripeness
client=$1; shift
"$@" & service=$!
until [ -S /run/ripeness/model.sock ]; do kill -0 $service || exit; sleep 0.2; done
tr '\\0' ' ' < /proc/$service/cmdline && echo
python3 -S -c "$client" || exit
kill $service && wait $service
"""
CLIENT = """
import socket
model = socket.socket(socket.AF_UNIX)
model.connect("/run/ripeness/model.sock")
answers, requests = model.makefile("rb"), open("/tmp/requests", "rb")
while length := requests.read(4):
    model.sendall(length + requests.read(int.from_bytes(length, "big")))
    print(answers.read(int.from_bytes(answers.read(4), "big")).decode())
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    section: str
    language: str
    text: str

    @property
    def is_on_device(self) -> bool:
        return self.text.startswith("# on the device")

    @property
    def program(self) -> str:
        """The lines that are run."""
        lines = self.text.splitlines(keepends=True)
        return "".join(line for line in lines if not any(word in line for word in NOT_HERE))


def blocks(page: str) -> Iterator[Block]:
    for part in re.split(r"^## ", (PAGES / page).read_text(), flags=re.MULTILINE)[1:]:
        for found in re.finditer(r"^( *)```([a-z]+)\n(.*?)^\1```$", part, re.DOTALL | re.MULTILINE):
            yield Block(part.partition("\n")[0], found[2], textwrap.dedent(found[3]))


@dataclass(frozen=True)
class Desk:
    """Where the user sits: a folder, and the programs that the commands find."""

    folder: Path
    programs: Path

    def run(self, program: str) -> str:
        """Run lines of a shell; every one has to end with 0."""
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("EDGE_PIPELINE_P")
        }
        done = subprocess.run(
            ["sh", "-e", "-c", program],
            cwd=self.folder,
            env=environment | {"PATH": f"{self.programs}:{environment['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def desk(pi: SshAddress, tmp_path: Path) -> Desk:
    """A machine whose ssh knows the board as ``kitchen``."""
    desk = Desk(tmp_path / "desk", tmp_path / "programs")
    for folder in (desk.folder, desk.programs):
        folder.mkdir()
    (tmp_path / "config").write_text(
        f"Host kitchen\nHostName {pi.host}\nPort {pi.port}\nIdentityFile {pi.identity}\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {pi.known_hosts}\nGlobalKnownHostsFile none\n"
    )
    for name, command in (
        ("ssh", [str(shutil.which("ssh")), "-F", str(tmp_path / "config")]),
        ("pipeline", [sys.executable, "-c", "from pipeline.cli import main; main()"]),
    ):
        (desk.programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        (desk.programs / name).chmod(0o755)
    return desk


def started(unit: str) -> list[str]:
    """The command of a unit, as systemd makes words of it."""
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    return shlex.split(line.removeprefix("ExecStart=").replace("$$", "$").replace("%t", "/run"))


def test_the_how_tos_work_for_an_ordinary_user(
    board: Board, pi: SshAddress, desk: Desk, write_release: Callable[..., Path], tmp_path: Path
) -> None:
    release = write_release(desk.folder / "build/release", NAME, "1.2.0")
    before = write_release(tmp_path / "before", NAME, "1.1.0")
    prepared = board.run(["sh", "-e", "-c", PREPARE])
    assert prepared.status == 0, prepared.err
    transport = SshTransport(pi)
    run: list[str] = []

    def perform(block: Block) -> None:
        run.append(block.program)
        if block.language == "toml":
            (desk.folder / "pipeline.toml").write_text(block.text)
        elif "# fleet.txt" in block.text:
            kitchen = [line for line in block.text.splitlines() if line.endswith("@kitchen")]
            (desk.folder / "fleet.txt").write_text("\n".join(kitchen))
        elif block.is_on_device:
            ran = transport.run(
                ["sh", "-e", "-c", f"PATH=/run/stand-ins:$PATH\n{block.program}"], timeout_s=600
            )
            assert ran.status == 0, f"{block.program}\n{ran.err}"
        elif block.language == "sh":
            desk.run(block.program)

    def on_board(*words: str) -> str:
        ran = transport.run(words, timeout_s=600)
        assert ran.status == 0, ran.err
        return ran.out.decode()

    for block in blocks("deploy.md"):
        perform(block)
        if "bin/pip install" in block.text:  # so that there is one to go back to
            unchecked = Options(python="/nowhere/python3", without_health_check=True)
            install(read_release(before), transport, unchecked, lambda _: None)
        if "sudo cp " in block.text:
            unit = on_board("cat", f"/etc/systemd/system/{NAME}.service")
            assert unit == (release / f"{NAME}.service").read_text()
            asked = on_board("cat", "/run/stand-ins/asked").splitlines()
            assert asked[0].startswith("useradd ")
            assert asked[0].endswith(" edge-models")
            assert asked[1:] == ["systemctl daemon-reload", f"systemctl enable --now {NAME}.service"]
            (tmp_path / "requests").write_bytes(requests(release))
            transport.push(tmp_path / "requests", "/tmp/requests")
            serve(transport, started(unit))
            for each in blocks("monitor.md"):
                if each.language == "sh":
                    perform(each)
            assert (desk.folder / "july.json").is_file()
        if "| sudo tee" in block.text:
            unit = on_board("cat", f"/etc/systemd/system/{NAME}.service")
            assert unit == service_unit(read_manifest(release), root="/srv/models")
        if block.text.startswith("pipeline deploy prune"):
            assert digest_of(before) in on_board("readlink", f"/opt/{NAME}/current")
            assert on_board("readlink", f"/opt/{NAME}/python/{digest_of(before)}") == f"{PYTHON}\n"
    for block in blocks("rotate-a-key.md"):
        perform(block)
    desk.run(f"pipeline verify signed/{release.name}")  # with the second key alone
    assert sum(text.count("pipeline ") for text in run) >= 17
    transport.close()


def requests(release: Path) -> bytes:
    """Return what a client of the socket sends: the samples that the release was tested on, raw."""
    port = read_manifest(release).inputs[0]
    assert port.scale is not None
    assert port.zero_point is not None
    sent = b""
    for sample in np.load(release / "golden_input_0.npy"):
        file = io.BytesIO()
        np.save(file, ((sample.astype(np.float32) - port.zero_point) * port.scale).astype(np.float32))
        sent += len(file.getvalue()).to_bytes(4, "big") + file.getvalue()
    return sent


def serve(transport: SshTransport, command: list[str]) -> None:
    """Run a unit's command as ``pi``, have it answer, and end it as systemd does."""
    ran = transport.run(["sh", "-c", SERVE, "sh", CLIENT, *command], timeout_s=600)
    assert ran.status == 0, ran.err
    first, *answers = ran.out.decode().splitlines()
    assert first.startswith(f"{PYTHON} /opt/{NAME}/releases/")
    assert len(answers) == 8
    assert all(answer.startswith('{"outputs": ') for answer in answers)
