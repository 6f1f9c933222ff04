"""Count what a search sends: messages of the scheduler, requests to a shared store, bytes of stages.

Usage: python benchmarks/search/traffic.py [--trials 40] [--idle 30] [--out FILE]
       python benchmarks/search/traffic.py --from FOLDER --store FOLDER [--out FILE]

The first form runs a search with two workers and trials that take no time, and counts the messages and
bytes of the process of the driver and the scheduler: for each trial, and for each second in which nothing
ends. It then makes a stage with a shared store and fetches it, and counts the requests. The second form
reads a search that was run, and says how many stages a trial needs, how many it made itself, and their
bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from idle import machine
from synthetic import inputs, trial

from pipeline.events import TrialFinished, listening
from pipeline.searching.cluster import connected
from pipeline.searching.search import SearchConfig, search
from pipeline.settings import make_config
from pipeline.shared_store import SharedStore
from pipeline.store import Store, hashes
from pipeline.targets import get_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.events import Record


STAGE_BYTES = 100_000
REQUESTS = ("get_file", "put_file", "cat_file", "pipe_file", "rm_file")


class Counted:
    """Messages of all connections of this process; those between two of its threads count once."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.read: list[str] = []
        self.ours: set[str] = set()

    def snapshot(self) -> tuple[int, int]:
        """Return the messages, and the bytes of those that were written."""
        outer = sum(peer not in self.ours for peer in self.read)
        return len(self.written) + outer, sum(self.written)


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages, requests and bytes of a search.")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--idle", type=float, default=30, help="Seconds.")
    parser.add_argument("--from", dest="given", type=Path, metavar="FOLDER")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.given:
        if options.store is None:
            parser.error("name the store of the search with --store")
        found = stages_of(options.given, options.store)
    else:
        found = {**messages(options.trials, options.idle), **requests()}
    found["machine"] = machine()
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    print("| what | measured |")
    print("|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value if isinstance(value, str) else format(value, ',.1f')} |")


@contextmanager
def counting() -> Iterator[Counted]:
    """Count what this process writes and reads by TCP and TLS."""
    from distributed.comm.tcp import TCP

    counted, write, read = Counted(), TCP.write, TCP.read

    async def counted_write(self: Any, *given: Any, **named: Any) -> Any:
        size = await write(self, *given, **named)
        counted.ours.add(self.local_address)
        counted.written.append(size)
        return size

    async def counted_read(self: Any, *given: Any, **named: Any) -> Any:
        message = await read(self, *given, **named)
        counted.ours.add(self.local_address)
        counted.read.append(self.peer_address)
        return message

    TCP.write, TCP.read = counted_write, counted_read
    try:
        yield counted
    finally:
        TCP.write, TCP.read = write, read


def messages(trials: int, idle_s: float) -> dict[str, float]:
    """Count the messages of a search for each trial, and of a cluster that waits."""
    from distributed.protocol import dumps, loads

    with counting() as counted, connected(2, "") as client:
        time.sleep(2)
        before = counted.snapshot()
        began = time.process_time()
        time.sleep(idle_s)
        idle_cpu = time.process_time() - began
        idle = [after - first for after, first in zip(counted.snapshot(), before, strict=True)]
        workers = client.scheduler_info(n_workers=-1)["workers"]
    with counting() as counted, tempfile.TemporaryDirectory() as folder:
        marks: list[tuple[float, float, tuple[int, int]]] = []

        def hear(record: Record) -> None:
            if isinstance(record.event, TrialFinished):
                marks.append((time.monotonic(), time.process_time(), counted.snapshot()))

        config = make_config(inputs(Path(folder)), "synthetic")
        chosen = SearchConfig(trials=trials, validated=0)
        with listening(hear):
            search(get_target("arm64"), config, chosen, Path(folder), Path(folder) / "store", trial)
    began = time.process_time()
    loads(dumps({f"{each}": dict(worker) for each in range(1000) for worker in [*workers.values()][:1]}))
    asked_cpu = time.process_time() - began
    (first_at, first_cpu, first), (last_at, last_cpu, last) = marks[4], marks[-1]
    ended, elapsed = len(marks) - 5, last_at - first_at
    return {
        "messages a second, 2 idle workers": idle[0] / idle_s,
        "bytes sent a second, 2 idle workers": idle[1] / idle_s,
        "CPU ms a second, 2 idle workers": 1e3 * idle_cpu / idle_s,
        "bytes of what the scheduler says of a worker": len(json.dumps(workers, default=str)) / len(workers),
        "CPU ms to pack and read what it says of 1,000 workers": 1e3 * asked_cpu,
        "CPU ms a trial, of driver and scheduler": 1e3 * (last_cpu - first_cpu) / ended,
        "messages a trial": (last[0] - first[0] - elapsed * idle[0] / idle_s) / ended,
        "bytes sent a trial": (last[1] - first[1] - elapsed * idle[1] / idle_s) / ended,
    }


def requests() -> dict[str, float]:
    """Count the requests of a stage that is made, and of one that is fetched."""
    counts: Counter[str] = Counter()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for what in ("made", "fetched", "in the worker's own store"):
            place = "fetched" if what.startswith("in") else what
            shared = SharedStore("memory://search")
            with Store(Path(folder) / place, shared=_counting_requests(shared, counts)) as store:
                _obtain(store)
            found |= {f"requests of a stage that is {what}": sum(counts.values())}
            if what == "made":
                found["bytes of its object"] = shared._files.size("/search/stage-0123456789ab.tar.zst")
            if counts:
                print(f"{what}: {dict(counts)}", file=sys.stderr)
            counts.clear()
    return found


def _counting_requests(shared: SharedStore, counts: Counter[str]) -> SharedStore:
    """Count the requests of a shared store, from all its threads."""
    lock, files = threading.Lock(), shared._files

    class Files:
        def __getattr__(self, name: str) -> Any:
            if name in REQUESTS:
                with lock:
                    counts[name] += 1
            return getattr(files, name)

    shared._files = Files()
    return shared


def _obtain(store: Store) -> None:
    """Get a stage as a run does: from the store, or by making it."""
    name = "stage-0123456789ab"
    if store.get(name) is None:
        with store.making(name, lambda text: None, lambda text: None) as private:
            if private is not None:
                (private / "weights").write_bytes(np.random.default_rng(0).bytes(STAGE_BYTES))
                store.publish(private, name, {}, hashes(private))


def stages_of(folder: Path, store: Path) -> dict[str, float]:
    """Return the stages and bytes of the trials of a search."""
    raw = json.loads((folder / "search.json").read_text())["trials"]
    trials = [each["steps"] for number, each in raw.items() if number != "-1"]
    made = [step for steps in trials for step in steps if not step["cached"]]
    own = {f"{step['stage']}-{step['key']}" for step in made}
    sizes = {each.name: each.size_bytes for each in Store(store).entries()}
    found = [sizes[name] for name in own if name in sizes]
    return {
        "trials": len(trials),
        "stages a trial": sum(map(len, trials)) / len(trials),
        "stages that a trial makes": len(made) / len(trials),
        "bytes of the stages that a trial makes": sum(found) / len(trials),
        "bytes of the largest": max(found, default=0),
        "stages that are in the store no more": len(own) - len(found),
        "bytes of the whole store": sum(sizes.values()),
    }


if __name__ == "__main__":
    main()
