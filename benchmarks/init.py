"""Start ten pairs of a model and data with ``pipeline init``, and build each without an edit.

Usage: python benchmarks/init.py [NAME ...] [--out FOLDER] [--method ptq] [--only-init]

The pairs are cases of benchmarks/corpus. In the folder of each, ``pipeline init MODEL DATA`` runs, and then
``pipeline build --target host`` with short trainings, which are flags. A pair passes if the build releases,
and if its float metric is what the model's author measures. Results are kept in FOLDER, and a finished pair
is not run again. Prints a Markdown table; exit code 1 if a pair fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).with_name("corpus")
COMMAND = str(Path(sys.executable).with_name("pipeline"))
PAIRS = (
    "unit_range",
    "cats_and_dogs",
    "labels_in_another_order",
    "floats_of_another_range",
    "masks",
    "iris",
    "wine_quality",
    "heart",
    "gestures",
    "anomalies",
)
SHORT = [
    *("--set", "calibration.samples=128"),
    *("--set", "validate.operators=false"),
    *("--set", "validate.threads=[1]"),
    *("--set", "validate.stability.faults=false"),
    *("--set", "validate.shift.samples=0"),
]
TRAININGS = [
    *("--epochs", "2"),
    *("--set", "compress.0.training.min_steps=200"),
    *("--set", "quantize.training.min_steps=200"),
]
TIMEOUT_S = 1800


def run(name: str, folder: Path, method: str, *, only_init: bool) -> dict[str, Any]:
    """Return how a pair went, from its folder if it is there already."""
    kept = folder / ("init.json" if only_init else f"built-{method}.json")
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "expected.json").exists():
        make = [sys.executable, CORPUS / "run.py", "--make", name, folder]
        subprocess.run(make, check=True, capture_output=True)
    began = time.perf_counter()
    expected = json.loads((folder / "expected.json").read_text())
    found = {"name": name, "ended": "failed", "seconds": 0, **start(folder, expected)}
    if found["ended"] == "started" and not only_init:
        found |= build(folder, expected, method)
    found["seconds"] = round(time.perf_counter() - began)
    kept.write_text(json.dumps(found))
    return found


def start(folder: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """Run ``pipeline init`` as a user would; return what it inferred."""
    words = [COMMAND, "init", expected["model"], expected["data"], "--force", "--store", "store", "--json"]
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    if ran.returncode:
        return {"note": ran.stderr.strip().splitlines()[-1]}
    written = tomllib.loads((folder / "pipeline.toml").read_text())
    keys = {key: value for key, value in written["data"].items() if key != "source"}
    return {"ended": "started", "note": f"{keys | written.get('preprocessing', {})}"}


def build(folder: Path, expected: dict[str, Any], method: str) -> dict[str, Any]:
    """Build with the written settings; return whether the release is the author's model."""
    words = [COMMAND, "build", "--target", "host", "--store", "store", "--json", *SHORT]
    words += TRAININGS if method == "auto" else ["--method", method]
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    if ran.returncode:
        return {"ended": "failed", "note": ran.stderr.strip().splitlines()[-1]}
    metrics = json.loads(ran.stdout)["report"]["accuracy"][0]["metrics"]
    metric = next((one for one in metrics if one["name"] == expected["name"]), metrics[0])
    scores = f"{metric['name']} {metric['baseline']:.2f} -> {metric['quantized']:.2f}"
    is_right = abs(metric["baseline"] - expected["metric"]) <= expected["tolerance"]
    return {
        "ended": "built" if is_right else "WRONG",
        "scores": f"{scores} ({expected['metric']:.2f})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of benchmarks/corpus; default: ten of them")
    parser.add_argument("--out", type=Path, help="keep everything here, and go on from what is there")
    parser.add_argument("--only-init", action="store_true", help="do not build")
    parser.add_argument("--method", choices=("auto", "ptq"), default="auto", help="ptq does not train")
    options = parser.parse_args()
    names = options.names or PAIRS
    with tempfile.TemporaryDirectory() as scratch:
        out = (options.out or Path(scratch)).absolute()
        print("| pair | ended | inferred | float -> int8 (the author's) | seconds |\n|---|---|---|---|---|")
        results = []
        for name in names:
            found = run(name, out / name, options.method, only_init=options.only_init)
            results.append(found["ended"])
            note = found["note"].replace("|", "\\|")
            print(
                f"| {name} | {found['ended']} | {note} | {found.get('scores', '')} | {found['seconds']} |",
                flush=True,
            )
    wanted = "started" if options.only_init else "built"
    count = results.count(wanted)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"\n{count} of {len(results)} {wanted} without an edit; {machine}, {datetime.now(UTC):%Y-%m-%d}")
    if count < len(results):
        sys.exit(1)


if __name__ == "__main__":
    main()
