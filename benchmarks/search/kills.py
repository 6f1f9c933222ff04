"""Kill workers and the driver of a search, and compare what it ends with to an undisturbed one.

Usage: python benchmarks/search/kills.py [--trials 40] [--seconds 15] [--every 60] [--driver 3] [--real]
           [--out FILE]

One search is left alone; of another one, with the same seed, a worker gets SIGKILL every so many seconds
and the driver at even distances, after which the same command continues it. Trials are synthetic and
sleep; with --real they are builds of the small model of the tests. Every trial that was asked for has to
end once, none may stay RUNNING, and the front has to be that of the undisturbed search.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import psutil
from idle import machine

HERE = Path(__file__).resolve().parent
GATES = 'gates.enabled=["accuracy", "full integer", "size"]'
WORKER = "spawn_main"
"""In the command line of Dask's worker processes, which its nannies start."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A search whose processes are killed.")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15, help="Of a synthetic trial.")
    parser.add_argument("--every", type=float, default=60, help="Seconds between two kills of a worker.")
    parser.add_argument("--driver", type=int, default=3, help="Kills of the driver.")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "project").mkdir()
        if options.real:
            sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
            from tiny_project import write_project

            write_project(folder / "project")
        alone = start(folder / "alone", folder / "project", options, quick=not options.real)
        if alone.wait():
            sys.exit("the undisturbed search has failed")
        counts = disturbed(folder / "killed", folder / "project", options)
        found = {name: ended(folder / name) for name in ("alone", "killed")}
    facts = {"kills": counts, **found, "machine": machine()}
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
    problems = compare(found, options.trials)
    print("| search | kills of workers | of the driver | trials | states | starts | front |")
    print("|---|---|---|---|---|---|---|")
    for name, each in found.items():
        kills = counts if name == "killed" else {"workers": 0, "driver": 0}
        cells = (
            name,
            kills["workers"],
            kills["driver"],
            each["trials"],
            each["states"],
            each["starts"] or "",
        )
        print(f"| {' | '.join(map(str, cells))} | {each['front']} |")
    print("\n".join(problems) or "\nevery trial ended once; the fronts are equal")
    sys.exit(bool(problems))


def start(
    out: Path, project: Path, options: argparse.Namespace, quick: bool = False
) -> subprocess.Popen[bytes]:
    """Start or continue a search."""
    words: list[Any] = [
        Path(sys.executable).with_name("pipeline"), "search", "--target", "arm64", "--trials", options.trials,
        "--seed", 0, "--validate", 1, "--set", GATES, "--out", out,
        "--store", out.with_name(f"{out.name}-store"),
    ]  # fmt: skip
    if not options.real:
        words = [sys.executable, HERE / "synthetic.py", out, json.dumps({"trials": options.trials})]
    environment = os.environ | {"TRIAL_SECONDS": "0" if quick else str(options.seconds)}
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(list(map(str, words)), cwd=project, env=environment, stdout=log, stderr=log)


def disturbed(out: Path, project: Path, options: argparse.Namespace) -> dict[str, int]:
    """Run a search to its end, with kills; return how many there were."""
    dice, counts = random.Random(0), {"workers": 0, "driver": 0}
    marks = [options.trials * (kill + 1) // (options.driver + 1) for kill in range(options.driver)]
    search, killed_at, before = start(out, project, options), time.monotonic(), 0
    while search.poll() is None:
        time.sleep(0.2)
        if starts_in(out) <= before:  # a driver that still starts has no trial to lose
            continue
        if marks and len(list(out.glob("trials/[0-9]*"))) > marks[0]:
            marks.pop(0)
            search.send_signal(signal.SIGKILL)
            search.wait()
            counts["driver"] += 1
            before = starts_in(out)
            search = start(out, project, options)
        elif time.monotonic() - killed_at > options.every and (workers := workers_of(search.pid)):
            dice.choice(workers).kill()
            counts["workers"] += 1
            killed_at = time.monotonic()
    if search.returncode:
        sys.exit(f"the search has failed:\n{out.with_suffix('.log').read_text()[-2000:]}")
    return counts


def starts_in(out: Path) -> int:
    """Return how often a worker has begun a trial."""
    events = out / "events.jsonl"
    return events.read_text().count('"event": "trial_started"') if events.exists() else 0


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a driver."""
    try:
        children = psutil.Process(pid).children()
        return [child for child in children if any(WORKER in word for word in child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def ended(out: Path) -> dict[str, Any]:
    """Return how the trials of a search ended, and its front."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{out / 'study.db'}")
    found = json.loads((out / "search.json").read_text())
    starts = [len(path.read_text().splitlines()) for path in out.glob("trials/[0-9]*/runs")]
    return {
        "trials": len(study.trials),
        "states": dict(Counter(trial.state.name for trial in study.trials)),
        "recipes": [trial.user_attrs["recipe"] for trial in study.trials if "recipe" in trial.user_attrs],
        "starts": sum(starts),
        "front": found["front"],
        "chosen": found["chosen"],
    }


def compare(found: dict[str, dict[str, Any]], trials: int) -> list[str]:
    """Return what is wrong with the disturbed search."""
    alone, killed = found["alone"], found["killed"]
    problems = [f"{killed['trials']} trials instead of {trials}"] if killed["trials"] != trials else []
    left = {"RUNNING", "WAITING"} & killed["states"].keys()
    problems += [f"trials are left: {sorted(left)}"] if left else []
    problems += [
        f"another {what}: {killed[what]}, not {alone[what]}"
        for what in ("recipes", "front", "chosen", "states")
        if killed[what] != alone[what]
    ]
    return problems


if __name__ == "__main__":
    main()
