"""How long the command takes where it has nothing to compute: its help, and a rebuild from the cache.

Usage: python benchmarks/startup.py [--runs 9] [--out FOLDER]

Prints a Markdown table: the median and range of whole processes, started one after another.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("pipeline"))


def seconds(arguments: list[str]) -> float:
    """Return the wall time of one process that ends well."""
    start = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def row(title: str, limit_s: float, arguments: list[str], runs: int) -> str:
    times = [seconds(arguments) for _ in range(runs)]
    median, low, high = statistics.median(times), min(times), max(times)
    return f"| {title} | {limit_s:.1f} | {median:.2f} | {low:.2f} to {high:.2f} | {runs} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--out", help="a folder with a finished build of the default; else one is made")
    options = parser.parse_args()
    runs = options.runs
    with tempfile.TemporaryDirectory() as folder:
        build = [COMMAND, "build", "--target", "arm64", "--out", options.out or folder]
        seconds(build)  # fills the cache
        rows = [
            row("`pipeline --help`", 0.3, [COMMAND, "--help"], runs),
            row("rebuild, every stage cached", 3.0, build, runs),
        ]
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| what | at most, s | median, s | range, s | runs |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
