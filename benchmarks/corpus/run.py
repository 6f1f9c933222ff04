"""Build the pipeline's way what users bring: is the released model right, or is the refusal helpful?

Usage: python benchmarks/corpus/run.py [NAME ...] [--out FOLDER] [--jobs N] [--check] [--list]

Each case trains a small model in the style of a tutorial, a competition or a data archive, and writes its
data in that style. Then ``pipeline build`` runs, with short training and for the host. Its answer is compared
with what the model's author measures. A case ends as

    right      released, and the float metric is the author's; int8 is close to it
    advised    refused as it should be, and the line says what to do
    refused    refused, although it could be built
    lost       the build failed: a gate or a stage
    WRONG      released, and the model is not the author's

With --check only the stages before training run, in this process, in a few seconds a case: what is read and
inferred, how inputs are scaled, and whether the float model then scores what its author measures.

Results are kept in FOLDER, and a finished case is not run again. Prints a Markdown table; exit code 1 if a
case is wrong, or if less than 90 % of those that can be built are right.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import images
import numpy as np
import others
import series
import tables
from case import Expected

CASES = images.CASES | tables.CASES | series.CASES | others.CASES
COMMAND = str(Path(sys.executable).with_name("pipeline"))
SETTINGS = """
[[compress]]
method = "weights"
training = { epochs = 2, min_steps = 200 }
[quantize]
training = { epochs = 2, min_steps = 200 }
[calibration]
samples = 128
[validate]
operators = false
threads = [1]
[validate.stability]
faults = false
[validate.shift]
samples = 0
"""
BUILT_SHARE = 0.9
CHECK_TOLERANCE = 1.5  # points: of at most 1,000 samples, and R2 by its median
TIMEOUT_S = 1200


def make(name: str, folder: Path) -> None:
    """Write a case's model, data and what is right, in this process."""
    seed = int.from_bytes(name.encode(), "big") % 2**32
    expected = CASES[name](folder, np.random.default_rng(seed))
    (folder / "expected.json").write_text(json.dumps(asdict(expected)))


def run(name: str, out: Path, *, only_check: bool) -> dict[str, Any]:
    """Return a case's result, from the folder if it is there already."""
    folder = out / name
    kept = folder / ("checked.json" if only_check else "result.json")
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "expected.json").exists():
        making = subprocess.run(
            [sys.executable, __file__, "--make", name, str(folder)], capture_output=True, text=True
        )
        if making.returncode:
            return {"name": name, "ended": "lost", "note": f"not made: {making.stderr.splitlines()[-1:]}"}
    expected = Expected(**json.loads((folder / "expected.json").read_text()))
    began = time.perf_counter()
    if only_check:
        from checking import check

        code, line, score = check(folder, expected)
        ended, note = judge_check(expected, code, line, score)
    else:
        code, line, report = build(folder, expected)
        ended, note = judge(expected, code, line, report)
    found = {"name": name, "ended": ended, "code": code, "note": note, "config": expected.config}
    found["seconds"] = round(time.perf_counter() - began)
    kept.write_text(json.dumps(found))
    return found


def build(folder: Path, expected: Expected) -> tuple[int, str, dict[str, Any] | None]:
    """Run the command as a user would, in the case's folder; return its code, last line and report."""
    (folder / "pipeline.toml").write_text(f"{expected.config}\n{SETTINGS}")
    arguments = [
        COMMAND,
        "build",
        "--target",
        "host",
        "--config",
        "pipeline.toml",
        "--store",
        "store",
        "--json",
    ]
    arguments += ["--model", expected.model, "--data", expected.data]
    log = folder / "log.txt"
    with log.open("w") as stream:
        done = subprocess.run(
            arguments, cwd=folder, stdout=subprocess.PIPE, stderr=stream, text=True, timeout=TIMEOUT_S
        )
    lines = log.read_text().strip().splitlines() or [""]
    try:
        report = json.loads(done.stdout)["report"]
    except (ValueError, KeyError):
        report = None
    return done.returncode, lines[-1], report


def judge_check(expected: Expected, code: int, line: str, score: float | None) -> tuple[str, str]:
    """Return how a checked case ended, and what to say of it."""
    if code:
        return judge(expected, code, line, None)
    if expected.metric is None:
        return "WRONG", f"would be built; {line}"
    if score is None or expected.name:  # another metric than the author's
        return "right", line
    is_right = abs(score - expected.metric) <= max(expected.tolerance, CHECK_TOLERANCE)
    return ("right" if is_right else "WRONG"), f"{score:.2f}, the author's {expected.metric:.2f}; {line}"


def judge(expected: Expected, code: int, line: str, report: dict[str, Any] | None) -> tuple[str, str]:
    """Return how a case ended, and what to say of it."""
    if code or report is None:
        if expected.metric is None:
            helpful = code == 3 and re.search(expected.advice, line)
            return ("advised", line) if helpful else ("refused", f"code {code}, without the advice: {line}")
        return ("lost" if code == 1 else "refused"), f"code {code}: {line}"
    metrics = report["accuracy"][0]["metrics"]
    metric = next((one for one in metrics if one["name"] == expected.name), metrics[0])
    said = f"{metric['name']} {metric['baseline']:.2f} -> {metric['quantized']:.2f}"
    if expected.metric is None:
        return "WRONG", f"released; {said}"
    said += f", the author's {expected.metric:.2f}"
    is_right = (
        abs(metric["baseline"] - expected.metric) <= expected.tolerance
        and metric["quantized"] >= metric["baseline"] - expected.loss
    )
    return ("right" if is_right else "WRONG"), said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of --list; default all")
    parser.add_argument("--out", type=Path, help="keep everything here, and go on from what is there")
    parser.add_argument("--jobs", type=int, default=1, help="cases at once")
    parser.add_argument("--check", action="store_true", help="stop before training")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.names[0], Path(options.names[1]))
    if options.list:
        return print("\n".join(f"{name:26} {case.__doc__}" for name, case in CASES.items()))
    if unknown := set(options.names) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        out = (options.out or Path(scratch)).absolute()
        print("| case | ended | what | one line of configuration | seconds |\n|---|---|---|---|---|")
        results = []
        finish = partial(run, out=out, only_check=options.check)
        for found in pool.map(finish, options.names or CASES):
            results.append(found)
            note = found["note"].replace("|", "\\|")
            line = f"`{found['config']}`" if found.get("config") else ""
            print(
                f"| {found['name']} | {found['ended']} | {note} | {line} | {found.get('seconds')} |",
                flush=True,
            )
    return summarize(results)


def summarize(results: list[dict[str, Any]]) -> None:
    count = {ended: sum(found["ended"] == ended for found in results) for ended in
             ("right", "advised", "refused", "lost", "WRONG")}  # fmt: skip
    buildable = len(results) - count["advised"]
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"\n{len(results)} cases: {', '.join(f'{n} {ended}' for ended, n in count.items())}")
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}")
    if count["WRONG"] or count["right"] < BUILT_SHARE * buildable:
        sys.exit(1)


if __name__ == "__main__":
    main()
