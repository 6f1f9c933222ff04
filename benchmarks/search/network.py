"""A search on a cluster whose workers are killed and whose network is cut.

Usage: sudo python benchmarks/search/network.py [--trials 60] [--seconds 6] [--cut 30] [--kill 60]
           [--out FOLDER]

A scheduler runs on this machine, and two workers with one core in network namespaces of their own, connected
by TLS with certificates as in docs/how-to/search-on-a-cluster.md. A worker's process is killed (SIGKILL)
every --kill seconds, and once both networks are cut for --cut seconds. Trials are synthetic and take
--seconds. Needs root, iproute2 and openssl. Prints how the trials ended, and writes it to the file
network.json of --out; exits with 1 unless every trial has ended once and none is RUNNING.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.searching.objectives import Figures, Outcome
from pipeline.searching.search import SearchConfig, search
from pipeline.settings import make_config
from pipeline.targets import get_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.searching.trial import Spec

WORKERS = 2
PORT = 18786
CERTIFICATES = (
    "req -x509 -newkey rsa:3072 -nodes -days 1 -subj /CN=authority -keyout ca-key.pem -out ca.pem",
    "req -newkey rsa:3072 -nodes -subj /CN=search -keyout key.pem -out request.pem",
    "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 1 -out certificate.pem",
)


def slow_trial(spec: Spec) -> Outcome:
    """Write the worker's process to the file ``runs``, wait, and return figures that follow from settings."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    with (spec.folder / "runs").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(float(os.environ["TRIAL_SECONDS"]))
    rng = random.Random(json.dumps(spec.settings, sort_keys=True))
    figures = Figures(
        metric="accuracy", score=90 + rng.random(), drop=0.1, robustness=70.0, worst=0.1, size_bytes=90_000,
        size_ratio=0.3, download_bytes=rng.randrange(20_000, 80_000), memory_bytes=30_000,
        instructions={"rpi4": rng.randrange(10**6, 10**7), "rpi5": rng.randrange(10**6, 10**7)},
    )  # fmt: skip
    missed = spec.limits.missed(figures)
    return Outcome(state="complete", recipe=str(rng.random()), seconds=0.0, figures=figures, missed=missed)


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def link(number: int) -> str:
    return f"search-{number}"


@contextmanager
def namespace(number: int) -> Iterator[str]:
    """Yield the name of a network namespace that reaches only this machine."""
    name, host = f"search-worker-{number}", link(number)
    ip(f"netns add {name}")
    try:
        ip(f"link add {host} type veth peer name eth0 netns {name}")
        ip(f"addr add 10.213.{number}.1/30 dev {host}")
        ip(f"link set {host} up")
        for command in (f"addr add 10.213.{number}.2/30 dev eth0", "link set eth0 up", "link set lo up"):
            ip(f"-n {name} {command}")
        yield name
    finally:
        ip(f"netns del {name}")


@contextmanager
def process(words: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as file:
        started = subprocess.Popen(words, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def with_certificates(folder: Path) -> dict[str, str]:
    """Make the certificates of the documentation; returns the environment of everything that takes part."""
    for command in CERTIFICATES:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    paths = {"CA_FILE": folder / "ca.pem"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        paths |= {f"{role}__CERT": folder / "certificate.pem", f"{role}__KEY": folder / "key.pem"}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in paths.items()}


@contextmanager
def cluster(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Yield the address of a scheduler with workers in network namespaces."""
    dask = [sys.executable, "-m", "distributed.cli."]
    with ExitStack() as stack:
        words = [
            *dask[:2],
            dask[2] + "dask_scheduler",
            "--protocol",
            "tls",
            "--port",
            str(PORT),
            "--no-dashboard",
        ]
        stack.enter_context(process(words, environment, folder / "scheduler.log"))
        for number in range(WORKERS):
            name = stack.enter_context(namespace(number))
            words = ["ip", "netns", "exec", name, *dask[:2], dask[2] + "dask_worker"]
            words += [f"tls://10.213.{number}.1:{PORT}", "--nthreads", "1", "--no-dashboard"]
            stack.enter_context(process(words, environment, folder / f"worker{number}.log"))
        yield f"tls://127.0.0.1:{PORT}"


def disturb(folder: Path, kill_s: float, cut_s: float, ended: Event, done: dict[str, int]) -> None:
    """Kill a worker every ``kill_s`` seconds, and cut the networks once, between the first two kills."""
    while not ended.wait(kill_s):
        runs = sorted(folder.glob("trials/*/runs"), key=lambda path: path.stat().st_mtime)
        if not runs:
            continue
        try:
            os.kill(int(runs[-1].read_text().split()[-1]), signal.SIGKILL)
            done["kills"] += 1
        except ProcessLookupError:
            pass
        if not done["cuts"] and not ended.wait(kill_s / 2):
            for number in range(WORKERS):
                ip(f"link set {link(number)} down")
            ended.wait(cut_s)
            for number in range(WORKERS):
                ip(f"link set {link(number)} up")
            done["cuts"] += 1


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model, data = folder / "model.keras", folder / "data.npz"
    model.write_bytes(b"model")  # trials do not open it
    np.savez(data, x_train=np.zeros(1))
    environment = {**os.environ, **with_certificates(folder), "TRIAL_SECONDS": str(args.seconds)}
    os.environ |= environment  # before Dask reads its configuration
    out = folder / "search"
    ended, done, started = Event(), {"kills": 0, "cuts": 0}, time.monotonic()
    with cluster(folder, environment) as address:
        thread = Thread(target=disturb, args=(out, args.kill, args.cut, ended, done))
        thread.start()
        try:
            config = make_config({"model": {"path": str(model)}, "data": {"source": str(data)}}, "benchmark")
            wish = SearchConfig(trials=args.trials, scheduler=address, workers=WORKERS, validated=0)
            search(get_target("arm64"), config, wish, out, folder / "store", slow_trial)
        finally:
            ended.set()
            thread.join()
    return {**endings(out), **done, "seconds": round(time.monotonic() - started, 1)}


def endings(out: Path) -> dict[str, Any]:
    """Return how the trials of a study ended, and how often they were started."""
    import optuna

    trials = optuna.load_study(study_name="search", storage=f"sqlite:///{out / 'study.db'}").trials
    runs = [len(path.read_text().split()) for path in out.glob("trials/[0-9]*/runs")]
    return {
        "trials": len(trials),
        "complete": sum(trial.state.name == "COMPLETE" for trial in trials),
        "running": sum(trial.state.name == "RUNNING" for trial in trials),
        "runs": sum(runs),
        "most runs of a trial": max(runs),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--cut", type=float, default=30)
    parser.add_argument("--kill", type=float, default=60)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = run(args, Path(temporary))
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "network.json").write_text(json.dumps(found, indent=1))
            for log in Path(temporary).glob("*.log"):
                (args.out / log.name).write_text(re.sub(r"\S+/", "", log.read_text()))
    print(json.dumps(found, indent=1))
    is_whole = found["complete"] == found["trials"] == args.trials and not found["running"]
    return 0 if is_whole and found["cuts"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
