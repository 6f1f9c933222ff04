"""Compare the trials an hour of two one-core workers with those of one.

Usage: python benchmarks/search/workers.py [--trials 12] [--synthetic SECONDS] [--out FILE]

Each worker of a Dask scheduler is bound to a core of its own (Linux), so that one worker has half of what
two have. Both searches have the same seed, hence the same trials, and a fresh store each. Trials are
builds of the small model of the tests, which take about ten minutes in all on two slow cores; run it
while nothing else runs. With --synthetic they compute for so many seconds instead. The rate is that
between the first trial that begins and the last that ends, so that a worker that is idle in the end
counts. The bar is 1.7.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idle import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
MIN_RATIO = 1.7
GATES = 'gates.enabled=["accuracy", "full integer", "size"]'


def main() -> None:
    parser = argparse.ArgumentParser(description="Trials an hour with one and with two workers.")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--synthetic", type=float, metavar="SECONDS")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("needs two cores")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        project.mkdir()
        if options.synthetic is None:
            sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
            from tiny_project import write_project

            write_project(project)
        rates = {
            count: trials_an_hour(project, Path(folder) / f"{count}", cores[:count], options)
            for count in (1, 2)
        }
    ratio = rates[2] / rates[1]
    facts = {"trials": options.trials, "an hour": rates, "ratio": ratio, "machine": machine()}
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
    print("| workers | trials an hour |")
    print("|---|---|")
    for count, rate in rates.items():
        print(f"| {count} | {rate:.1f} |")
    print(f"\n{ratio:.2f}x; the bar is {MIN_RATIO}x")
    sys.exit(ratio < MIN_RATIO)


def trials_an_hour(project: Path, folder: Path, cores: list[int], options: argparse.Namespace) -> float:
    """Run a search with a worker on each of some cores."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(HERE), "EDGE_PIPELINE_STORE": str(folder / "store")}
    if options.synthetic is not None:
        environment |= {"TRIAL_SECONDS": str(options.synthetic), "TRIAL_CORES": "1"}
    with cluster(folder, cores, environment) as address:
        subprocess.run(
            command(folder / "out", address, options), env=environment, cwd=project, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return rate(folder / "out" / "events.jsonl")


def command(out: Path, address: str, options: argparse.Namespace) -> list[str]:
    """Return the command of a search."""
    if options.synthetic is not None:
        wish = {"trials": options.trials, "scheduler": address}
        return [sys.executable, str(HERE / "synthetic.py"), str(out), json.dumps(wish)]
    words: list[Any] = [
        Path(sys.executable).with_name("pipeline"), "search", "--target", "arm64", "--trials", options.trials,
        "--scheduler", address, "--seed", 0, "--validate", 1, "--set", GATES, "--out", out,
    ]  # fmt: skip
    return list(map(str, words))


@contextmanager
def cluster(folder: Path, cores: list[int], environment: dict[str, str]) -> Iterator[str]:
    """Start a scheduler and a worker on each core; yield the address of the scheduler."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m"]
    scheduler = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    worker = ["--nthreads", "1", "--no-dashboard", "--memory-limit", "0", "--local-directory", str(folder)]
    commands = [[*dask, "distributed.cli.dask_scheduler", "--scheduler-file", str(file), *scheduler]]
    commands += [
        [
            "taskset",
            "-c",
            f"{core}",
            *dask,
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(file),
            *worker,
        ]
        for core in cores
    ]
    processes = [
        subprocess.Popen(each, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for each in commands
    ]
    try:
        deadline = time.monotonic() + 120
        while not file.exists() or not file.read_text().rstrip().endswith("}"):
            if time.monotonic() > deadline:
                sys.exit("the scheduler has not started")
            time.sleep(0.2)
        wait_for_workers(json.loads(file.read_text())["address"], len(cores))
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(60)


def wait_for_workers(address: str, count: int) -> None:
    """Wait until all workers have come, so that none is counted before it can work."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=120)


def rate(events: Path) -> float:
    """Return trials an hour by the events of a search."""
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    began = [_time(row) for row in rows if row["event"] == "trial_started"]
    ended = [_time(row) for row in rows if row["event"] == "trial_finished"]
    return 3600 * len(ended) / (max(ended) - min(began))


def _time(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["time"]).timestamp()


if __name__ == "__main__":
    main()
