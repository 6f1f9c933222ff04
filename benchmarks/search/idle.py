"""Measure what the driver and the scheduler of a search cost while its workers run long trials.

Usage: python benchmarks/search/idle.py [--seconds 60] [--workers 2] [--terminal] [--pid PID] [--out FILE]

Starts a search with trials that sleep. The scheduler runs in the process of the driver. Its CPU time is
that of the process without its children; its memory is the proportional set size (PSS), in which pages
that processes share are divided among them, and the resident set size (RSS). With --terminal the progress
is drawn on a pseudo-terminal, else it is lines. --pid measures a search that runs already. The bars are 5
% of a core and 300 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import pty
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
MAX_SHARE, MAX_BYTES = 0.05, 300e6


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time and memory of an idle driver.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.pid:
        found = measure(options.pid, options.seconds)
    else:
        with waiting_search(options.workers, options.terminal) as pid:
            found = measure(pid, options.seconds)
    found |= {"workers": options.workers, "terminal": options.terminal, "machine": machine()}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    print("| what | measured | bar |")
    print("|---|---|---|")
    print(f"| CPU time, share of a core | {found['cpu_share']:.1%} | {MAX_SHARE:.0%} |")
    print(f"| PSS | {found['pss_bytes'] / 1e6:.0f} MB | {MAX_BYTES / 1e6:.0f} MB |")
    print(f"| RSS | {found['rss_bytes'] / 1e6:.0f} MB | |")
    sys.exit(found["cpu_share"] > MAX_SHARE or found["pss_bytes"] > MAX_BYTES)


def measure(pid: int, seconds: float) -> dict[str, float]:
    """Return the share of a core that a process takes, and its memory."""
    process = psutil.Process(pid)
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after, elapsed = process.cpu_times(), time.monotonic() - began
    memory = process.memory_full_info()
    spent = after.user + after.system - before.user - before.system
    return {
        "cpu_share": max(spent, 0.0) / elapsed,  # counters of children that end may go back
        "seconds": elapsed,
        "pss_bytes": memory.pss,
        "rss_bytes": memory.rss,
    }


@contextmanager
def waiting_search(workers: int, terminal: bool) -> Iterator[int]:
    """Start a search, wait until its first trials run, and yield the process of the driver."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable,
            HERE / "synthetic.py",
            folder,
            json.dumps({"trials": 9, "workers": workers}),
        ]
        environment = os.environ | {"TRIAL_SECONDS": "100000", "COLUMNS": "140", "LINES": "40"}
        main_end, other_end = pty.openpty()
        stream = other_end if terminal else subprocess.DEVNULL
        search = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True
        )
        os.close(other_end)
        threading.Thread(target=_drain, args=(main_end,), daemon=True).start()
        try:
            while len(list(Path(folder).glob("trials/*/runs"))) < workers:
                if search.poll() is not None:
                    sys.exit("the search has ended")
                time.sleep(0.1)
            time.sleep(2)  # the page of the result is written meanwhile
            yield search.pid
        finally:
            processes = [*psutil.Process(search.pid).children(recursive=True), search]
            for process in processes:
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    process.kill()
            search.wait()


def _drain(handle: int) -> None:
    with suppress(OSError):
        while os.read(handle, 65536):
            pass


def machine() -> str:
    """Return the processor and the number of cores."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
