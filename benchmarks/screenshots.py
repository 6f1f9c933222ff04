"""Take the pictures of README and docs from real runs: terminals with tmux, pages with headless Chromium.

Writes into docs/images::

    python benchmarks/screenshots.py terminals [--work FOLDER]   # build and search the tutorial's model
    python benchmarks/screenshots.py report build/release/NAME   # its report.html, light and dark

Needs the Debian packages tmux and chromium, and the extra ``search``. Look at every picture before you
commit it.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SIZES = ((80, 24), (140, 40))
TIMEOUT_S = 7200.0
SOCKET = f"edge-screenshots-{os.getpid()}"
SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")
"""As rich draws it, without fonts from another host."""
PAGE = (1280, 1000)
"""Columns and rows of pixels of a picture of a page."""


@dataclass(frozen=True)
class Take:
    """A command, and what is on the screen when it is photographed while it runs."""

    name: str
    command: str
    moment: str


TAKES = (
    Take("build", "pipeline build --target arm64 --key release.key", r"quantization-aware training .*left"),
    Take("search", "pipeline search --target arm64 --trials 8", r"\b[1-7]/8\b"),
)


def tmux(*words: str) -> str:
    """Run tmux on a server of our own; return what it prints."""
    return subprocess.run(["tmux", "-L", SOCKET, *words], check=True, capture_output=True, text=True).stdout


def start(columns: int, rows: int, folder: Path) -> None:
    """Open a terminal with a plain shell in the folder."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "LC_ALL": "C.UTF-8",
        "PS1": "$ ",
        "EDGE_PIPELINE_STORE": str(folder / "store"),
    }
    shell = [
        "env",
        *(f"{key}={value}" for key, value in environment.items()),
        "bash",
        "--norc",
        "--noprofile",
    ]
    size = ("-x", str(columns), "-y", str(rows))
    tmux("-f", os.devnull, "new-session", "-d", *size, "-c", str(folder), shlex.join(shell))
    tmux("set", "-g", "status", "off")
    wait(lambda: "$" in tmux("capture-pane", "-p"))


def is_running() -> bool:
    return tmux("display", "-p", "#{pane_current_command}").strip() != "bash"


def wait(condition) -> None:  # noqa: ANN001
    """Return when the condition holds.

    Raises:
        TimeoutError: it did not for two hours.
    """
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(tmux("capture-pane", "-p"))
        time.sleep(0.5)


def shoot(name: str) -> None:
    """Write what is on the screen as docs/images/NAME-COLUMNSxROWS.svg."""
    columns, rows = map(int, tmux("display", "-p", "#{pane_width} #{pane_height}").split())
    screen = tmux("capture-pane", "-e", "-p").splitlines()[:rows]
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    for line in [*screen, *[""] * (rows - len(screen))]:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", crop=True)
    path = IMAGES / f"{name}-{columns}x{rows}.svg"
    path.write_text(console.export_svg(title=f"{columns} x {rows}", code_format=SVG, unique_id=name), "utf-8")
    print(path.relative_to(ROOT))


def photograph(take: Take, folder: Path) -> None:
    """Write the screen in the middle of a command and, run again from the store, at its end.

    A live display is torn when the terminal changes its size, so each size has a run of its own. All but the
    last are interrupted after their picture, and the next one continues.
    """
    for columns, rows in SIZES:
        start(columns, rows, folder)
        tmux("send-keys", take.command, "Enter")
        wait(is_running)
        wait(lambda: re.search(take.moment, tmux("capture-pane", "-p")) or not is_running())
        shoot(f"{take.name}-running")
        if (columns, rows) != SIZES[-1]:
            tmux("send-keys", "C-c")
        wait(lambda: not is_running())
        tmux("kill-server")
    for columns, rows in SIZES:
        start(columns, rows, folder)
        tmux("send-keys", take.command, "Enter")
        wait(is_running)
        wait(lambda: not is_running())
        time.sleep(1)  # for what the terminal has not drawn yet
        shoot(f"{take.name}-end")
        tmux("kill-server")


def take_terminals(folder: Path, names: list[str] | None) -> None:
    """Write the pictures of terminals; the model and its settings are made unless the folder has them."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = Path(sys.executable).with_name("pipeline")
    environment = os.environ | {"EDGE_PIPELINE_STORE": str(folder / "store")}
    for made, command in (
        ("model.keras", [sys.executable, ROOT / "examples" / "train_shapes.py"]),
        ("pipeline.toml", [pipeline, "init", "model.keras", "shapes"]),
        ("release.key", [pipeline, "keygen"]),
    ):
        if not (folder / made).exists():
            subprocess.run(command, cwd=folder, check=True, env=environment)
    for take in TAKES:
        if names is None or take.name in names:
            photograph(take, folder)


def take_report(release: Path) -> None:
    """Write the top of a release's report.html, light and dark, as PNG files with 256 colours."""
    page = (release / "report.html").resolve().as_uri()
    for scheme, number in (("light", 1), ("dark", 0)):
        path = IMAGES / f"report-{scheme}.png"
        with tempfile.TemporaryDirectory() as profile:
            switches = (
                *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"),
                *("disable-background-networking", "disable-component-update", "disable-sync"),
                f"user-data-dir={profile}",
                f"blink-settings=preferredColorScheme={number}",
                f"window-size={PAGE[0]},{PAGE[1]}",
                f"screenshot={path}",
            )
            command = ["chromium", *(f"--{each}" for each in switches), page]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=300)
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        print(path.relative_to(ROOT), path.stat().st_size, "bytes")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    terminals = kinds.add_parser("terminals")
    terminals.add_argument("--work", type=Path, default=ROOT / "build" / "screenshots")
    terminals.add_argument("--take", choices=[take.name for take in TAKES], action="append")
    kinds.add_parser("report").add_argument("release", type=Path)
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    if arguments.kind == "terminals":
        take_terminals(arguments.work.resolve(), arguments.take)
    else:
        take_report(arguments.release)


if __name__ == "__main__":
    main()
