"""How long the dashboard's first page takes with 500 builds, from nothing read to all of it sent.

    python benchmarks/dashboard.py --report build/report/NAME/report.json [--builds 500] [--keep FOLDER]

The builds have a whole report each, with other figures and dates, and events as a build writes them. A fresh
server is measured: its start until it answers, its first page, and the page when it is asked for again. Times
are wall-clock times on a machine that should do nothing else; CPU seconds of the server are beside them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = datetime(2026, 1, 1, 8, 0, 0, tzinfo=UTC)
NAMES = ("ripeness-1.0.0-arm64", "gestures-2.1.0-arm64", "keywords-0.4.0-arm64")
STAGES = ("load_model", "load_data", "prepare_model", "prune_weights", "train_qat", "evaluate", "judge")


def make_builds(folder: Path, template: dict[str, Any], count: int) -> None:
    """Write folders of builds.

    Args:
        template: the values of a ``report.json``.
    """
    rng = random.Random(0)
    for number in range(count):
        name, began = NAMES[number % len(NAMES)], FIRST + timedelta(hours=7 * number)
        report = copy.deepcopy(template)
        ended = began + timedelta(minutes=6)
        report |= {"name": name, "created": ended.isoformat(timespec="seconds")}
        trend = 1 - 0.4 * number / count + rng.uniform(-0.03, 0.03)
        for key in ("size_bytes", "compressed_bytes"):
            report["quantized"][key] = round(report["quantized"][key] * trend)
        for device in report["devices"]:
            if device["quantized"]:
                device["quantized"]["instructions"] = round(device["quantized"]["instructions"] * trend)
        for comparison in report["accuracy"]:
            comparison["metrics"][0]["quantized"] += rng.uniform(-0.6, 0.3)
        build = folder / f"{name.partition('-')[0]}-{number:03d}"
        report_folder = build / "report" / name
        report_folder.mkdir(parents=True)
        (report_folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        write_events(build, name, began, ended, "released" if report["passed"] else "failed")


def write_events(build: Path, name: str, began: datetime, ended: datetime, outcome: str) -> None:
    """Write ``events.jsonl`` of a finished build."""
    lines = [{"event": "build_started", "stage": "", "schema_version": 1, "release": name}]
    for stage in STAGES:
        lines += [
            {"event": "stage_started", "stage": stage},
            {"event": "stage_finished", "stage": stage, "cached": False, "seconds": 40.0, "digest": "ab" * 32,
             "folder": stage},
        ]  # fmt: skip
    seconds = (ended - began).total_seconds()
    lines.append(
        {"event": "build_finished", "stage": "", "outcome": outcome, "error": "", "seconds": seconds}
    )
    step = (ended - began) / (len(lines) - 1)
    text = "".join(
        json.dumps({"time": (began + step * place).isoformat().replace("+00:00", "Z")} | line) + "\n"
        for place, line in enumerate(lines)
    )
    (build / "events.jsonl").write_text(text, encoding="utf-8")


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``pipeline dashboard`` on a free port; yields its address and its process."""
    program = Path(sys.executable).with_name("pipeline")
    process = subprocess.Popen(
        [program, "dashboard", folder, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.terminate()
        process.wait()


def seconds_for(address: str) -> tuple[float, int]:
    """Return the seconds that a page takes, and its bytes."""
    started = time.perf_counter()
    with urllib.request.urlopen(address) as answer:
        size = len(answer.read())
    return time.perf_counter() - started, size


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=int, default=500)
    parser.add_argument("--report", type=Path, required=True, help="report.json of a build, to be varied")
    parser.add_argument("--keep", type=Path, help="write the builds there, and keep them")
    given = parser.parse_args()
    template = json.loads(given.report.read_text(encoding="utf-8"))
    with TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        make_builds(folder, template, given.builds)
        print(f"{given.builds} builds, each report {given.report.stat().st_size:,} bytes")
        started = time.perf_counter()
        with served(folder) as (address, process):
            ready = time.perf_counter() - started
            used = cpu_seconds(process.pid)
            print(f"start until it answers: {ready:.2f} s, {used:.2f} s of CPU")
            for words in ("first page", "again", "again"):
                before = cpu_seconds(process.pid)
                seconds, size = seconds_for(address)
                spent = cpu_seconds(process.pid) - before
                print(f"{words}: {seconds:.2f} s, {spent:.2f} s of CPU, {size:,} bytes")


if __name__ == "__main__":
    main()
