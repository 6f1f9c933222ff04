"""What a build from nothing costs and what it makes: time, memory, accuracy, size and instructions.

Usage: python benchmarks/build.py [--config benchmarks/whole.toml] [--out FOLDER]

Prints two Markdown tables: the build against its bars, and the seconds that each stage took.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("pipeline"))
SAMPLE_EVERY_S = 0.25
REST = 50
"""A look at a large process takes the kernel long, and the process waits for it: 2 % of the time at most."""
MODEL, REPORT = "add_metadata", "assemble_report"
"""Stages: the last one before the measurements, and the one that joins them."""


class Usage(threading.Thread):
    """Watches the proportional set size and the processor time of a process and all its descendants.

    The kernel adds up the processor time of descendants that someone waits for; a build's trainings run in
    processes that no one waits for.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak_bytes = pid, 0
        self._seconds: dict[int, float] = {}

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all of them, up to the last look at each."""
        return sum(self._seconds.values())

    def run(self) -> None:
        while Path(f"/proc/{self.pid}").exists():
            began = time.monotonic()
            family = _family(self.pid)
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, family)))
            self._seconds |= {pid: seconds for pid in family if (seconds := _seconds(pid)) is not None}
            time.sleep(max(SAMPLE_EVERY_S, REST * (time.monotonic() - began)))


def _family(pid: int) -> list[int]:
    """The process and its descendants, those that ended meanwhile left out."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(child))]


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _seconds(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def build(config: Path | None, out: str) -> tuple[dict[str, Any], float, int]:
    """Run one build; returns its JSON result, its wall time in seconds and its peak memory in bytes."""
    arguments = [COMMAND, "build", "--target", "arm64", "--out", out, "--store", f"{out}/store", "--json"]
    arguments += ["--config", str(config)] if config else []
    began = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    usage = Usage(process.pid)
    usage.start()
    printed, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(process.returncode)
    return json.loads(printed), seconds, usage.peak_bytes


def validation_seconds(out: Path) -> float:
    """Return the wall time of the measurements: from the finished model to the report that joins them."""
    events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    ends = {
        event["stage"]: datetime.fromisoformat(event["time"])
        for event in events
        if event["event"] == "stage_finished"
    }
    return (ends[REPORT] - ends[MODEL]).total_seconds()


def rows(result: dict[str, Any], seconds: float, peak_bytes: int, validation_s: float) -> list[str]:
    report = result["report"]
    [found], float_file, int8_file = report["accuracy"], report["baseline"], report["quantized"]
    accuracy, samples = found["metrics"][0], found["samples"]
    drop, low, high = (-accuracy[key] for key in ("difference", "high", "low"))
    download = float_file["size_bytes"] / int8_file["compressed_bytes"]
    lines = [
        f"| build from nothing, wall | <= 6 min | {seconds / 60:.1f} min |",
        f"| peak memory of all its processes | <= 3 GB | {peak_bytes / 1e9:.2f} GB |",
        f"| validation, both cores | <= 90 s | {validation_s:.0f} s |",
        f"| float accuracy, {samples:,} test images | >= 91 % | {accuracy['baseline']:.2f} % |",
        f"| int8 accuracy | | {accuracy['quantized']:.2f} % |",
        f"| drop, points [95 % interval] | <= 0.5 (whole set 0.3) | {drop:.2f} [{low:.2f}, {high:.2f}] |",
        f"| weights that are zero | >= 70 % | {int8_file['sparsity']:.1%} |",
        f"| int8 file, bytes | | {int8_file['size_bytes']:,} |",
        f"| compressed download against the fp32 file | >= 8x smaller | {download:.1f}x |",
    ]
    for device in report["devices"]:
        before, after = device["baseline"]["instructions"], device["quantized"]["instructions"]
        bar = ">= 2.5x fewer" if device["device"] == "rpi5" else "as it is"
        figure = f"{before:,} -> {after:,}, {before / after:.2f}x fewer"
        lines.append(f"| emulated instructions per inference, {device['device']} | {bar} | {figure} |")
    latency = report["latency"]
    ratio = f"{latency['speedup']:.2f}x [{latency['low']:.2f}, {latency['high']:.2f}]"
    control = f"control {latency['control']:.2f}"
    return [*lines, f"| host latency, float / int8, paired | | {ratio}, {latency['verdict']}, {control} |"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path, help="keep the build here; must be new")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        result, seconds, peak_bytes = build(options.config, str(out))
        steps = json.loads((out / "run.json").read_text())["steps"]
        validation_s = validation_seconds(out)
    if any(step["cached"] for step in steps):
        sys.exit(f"{out} holds an earlier build; give a new folder")
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}, load at the end {os.getloadavg()[0]:.1f}\n")
    print("| what | bar | measured |\n|---|---|---|")
    print("\n".join(rows(result, seconds, peak_bytes, validation_s)))
    print("\n| stage | seconds |\n|---|---|")
    print("\n".join(f"| {step['stage']} | {step['seconds']:.1f} |" for step in steps))


if __name__ == "__main__":
    main()
