"""A against A on a loaded machine: how often does the latency gate say that a model is slower than itself?

Usage: python benchmarks/validation/control.py FILE.tflite [--runs 200] [--load 2] [--record FILE.jsonl]

Each run is what a validation does: nine pairs and their control, every measurement in a fresh process. Beside
it, ``--load`` processes use a core each in bursts of random length, which is harder to see through than even
load. A false alarm is a verdict "slower" or "faster"; the bar is 5 % of the runs. ``--record`` keeps the
medians of every run, so that another rule can be tried on them: ``--judge FILE.jsonl`` does that alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.runtimes.runtime import host_runtime
from pipeline.validation import latency
from pipeline.validation.model_under_test import Golden, ModelUnderTest

BAR = 0.05
BURST = """
import os, random, sys, time
dice, parent = random.Random(int(sys.argv[1])), os.getppid()
while os.getppid() == parent:
    until = time.monotonic() + dice.expovariate(1 / 0.3)
    while time.monotonic() < until:
        pass
    time.sleep(dice.expovariate(1 / 0.15))
"""


def main() -> None:
    """Run A against A and count the verdicts."""
    parser = argparse.ArgumentParser(description="False alarms of the latency gate.")
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--load", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--inferences", type=int, default=100)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--judge", type=Path)
    options = parser.parse_args()
    if options.judge:
        rows = [json.loads(line) for line in options.judge.read_text().splitlines()]
        say([judged(row, seed) for seed, row in enumerate(rows)])
        return
    if options.file is None:
        parser.error("name a .tflite file")
    load = [subprocess.Popen([sys.executable, "-c", BURST, str(seed)]) for seed in range(options.load)]
    try:
        say([one_run(options, seed) for seed in range(options.runs)])
    finally:
        for process in load:
            process.kill()
            process.wait()


def one_run(options: argparse.Namespace, seed: int) -> str:
    """Compare the model with itself as a validation would, and return the verdict."""
    began, kept = time.monotonic(), []
    files = dict.fromkeys(("baseline", "quantized"), ModelUnderTest.open(options.file))
    golden = Golden(None, 64, seed)
    timed = latency.time_fresh(host_runtime("litert"), files, golden, inferences=options.inferences)

    def measure(which: str) -> tuple[float, ...]:
        taken = timed(which)
        kept.append(float(np.median(taken)))
        return taken

    found = latency.compare(measure, seed=seed)
    if options.record:
        with options.record.open("a") as record:
            record.write(json.dumps({"seed": seed, "medians": kept}) + "\n")
    print(
        f"{seed + 1}: {found.speedup:.3f} [{found.low:.3f}, {found.high:.3f}], "
        f"control {found.control:.3f} [{found.control_low:.3f}, {found.control_high:.3f}], "
        f"{found.verdict}, {time.monotonic() - began:.1f} s, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return found.verdict


def judged(row: dict[str, list[float]], seed: int) -> str:
    """What the rule of today says of a recorded run."""
    medians = iter(row["medians"])
    return latency.compare(lambda _: [next(medians)], seed=seed).verdict


def say(verdicts: list[str]) -> None:
    """Print how often each verdict was given, and whether the bar is kept."""
    count = Counter(verdicts)
    alarms = count["slower"] + count["faster"]
    share = alarms / len(verdicts)
    print(dict(count))
    print(f"false alarms: {alarms} of {len(verdicts)} ({share:.1%}), at most {BAR:.0%} are allowed")
    sys.exit(share > BAR)


if __name__ == "__main__":
    main()
