"""How many builds end in a release while other processes keep every core busy.

Usage: python benchmarks/busy.py [--runs 20] [--busy 2] [--target arm64] [--config FILE] [--out FOLDER]

Builds once undisturbed. Each run then validates, judges and releases anew beside the busy processes, with the
training taken from a copy of that build. Prints a Markdown table, and why a build ended without a release;
ends with 1 where one did.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = str(Path(sys.executable).with_name("pipeline"))
COMPILING = (
    *("load_", "prepare_", "convert_", "check_", "choose_", "prune_", "measure_step", "train_"),
    "add_metadata",
)
"""Names of the stages that make the model, whose results are kept; every run does all others anew."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep that many cores busy for the length of the block."""
    running = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def without_measurements(base: Path, out: Path) -> None:
    """Copy a finished build's store as links to its files, without what the runs do anew."""
    (out / "store").mkdir(parents=True)
    for step in (base / "store").glob("*-*"):
        if step.name.startswith(COMPILING):
            shutil.copytree(step, out / "store" / step.name, copy_function=os.link)


def build(arguments: list[str], out: Path) -> tuple[int, str, float]:
    """Run one build; returns its exit code, its last line on stderr, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [COMMAND, "build", *arguments, "--out", str(out), "--store", str(out / "store"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.strip().splitlines() or [""]
    return done.returncode, lines[-1], time.perf_counter() - began


def unclear(out: Path) -> list[str]:
    """The gates of a build that were neither passed nor failed."""
    [report] = (out / "report").glob("*/report.json")
    verdicts = json.loads(report.read_text(encoding="utf-8"))["verdicts"]
    return [verdict["gate"] for verdict in verdicts if verdict["outcome"] in ("inconclusive", "warning")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--busy", type=int, default=2, help="processes that keep a core busy each")
    parser.add_argument("--target", default="arm64")
    parser.add_argument("--config", type=Path, help="settings; default: the built-in model")
    parser.add_argument(
        "--out", type=Path, help="a folder with a finished build and its store in it; else one is made"
    )
    options = parser.parse_args()
    arguments = ["--target", options.target]
    arguments += ["--config", str(options.config)] if options.config else []
    released, seconds, refusals, noted = 0, [], [], []
    with tempfile.TemporaryDirectory(dir=options.out and options.out.parent) as folder:
        base = options.out or Path(folder) / "base"
        code, said, _ = build(arguments, base)
        if code:
            sys.exit(said)
        for number in range(options.runs):
            out = Path(folder) / f"run-{number}"
            without_measurements(base, out)
            with busy(options.busy):
                code, said, taken = build(arguments, out)
            seconds.append(taken)
            noted += unclear(out) if code == 0 else []
            if code == 0 and any((out / "release").iterdir()):
                released += 1
            else:
                refusals.append(f"run {number}, exit code {code}: {said}")
            shutil.rmtree(out)
            print(f"{released} of {number + 1} released", file=sys.stderr)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}, beside {options.busy} busy processes\n")
    print("| what | bar | measured |\n|---|---|---|")
    print(f"| builds that ended in a release | {options.runs} | {released} |")
    print(f"| seconds, each | | {min(seconds):.0f} to {max(seconds):.0f} |")
    for gate in sorted(set(noted)):
        print(f"| {gate}: warning or inconclusive | | {noted.count(gate)} |")
    print("\n".join(refusals))
    sys.exit(1 if refusals else 0)


if __name__ == "__main__":
    main()
