"""How long a deploy to the emulated board takes: python benchmarks/deploy/board.py RELEASE [--runs 3].

Boots the emulated board with sshd and the real adbd, and installs the release over each, from nothing and
again where it is active, with the golden vectors answered on the board's own processor. The bar is 45 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.install.install import install
from deploy.install.options import Options
from deploy.manifest import read_release
from deploy.transports.addresses import open_transport
from deploy.transports.ssh import SshTransport
from pipeline.emulation.board.board import Board
from pipeline.emulation.board.machine import board_device

if TYPE_CHECKING:
    from deploy.transports.transport import Transport

BAR_S = 45.0


def timed(release: Path, transport: Transport) -> float:
    begin = time.monotonic()
    install(read_release(release), transport, Options(), lambda _: None)
    return time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--core", default="rpi4")
    options = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        disk = Path(folder) / "disk"
        with Board(board_device(options.core), adb=True, disk=disk) as board:
            print(f"boot: {time.monotonic() - begin:.1f} s")
            os.environ["ADB"] = str(board.image.adb)
            for transport in (SshTransport(board.address), open_transport(board.adb_address)):
                first, again = [], []
                for _ in range(options.runs):
                    transport.run(["sh", "-c", "rm -rf /opt/* /data/local/tmp/edge-models"])
                    first.append(timed(options.release, transport))
                    again.append(timed(options.release, transport))
                worst = max(worst, *first)
                each = ", ".join(f"{seconds:.1f}" for seconds in first)
                print(f"{transport}: {each} s, median {statistics.median(first):.1f} s (bar {BAR_S:.0f} s)")
                print(f"{transport}, active already: median {statistics.median(again):.1f} s")
                transport.close()
    sys.exit(0 if worst <= BAR_S else 1)


if __name__ == "__main__":
    main()
