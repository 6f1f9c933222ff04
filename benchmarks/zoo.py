"""Build every model of the zoo from nothing: what each keeps, saves and costs.

Usage: python benchmarks/zoo.py [NAME ...] [--out FOLDER]

Prints a Markdown table. The metric is in points (0 to 100); instructions are those of one inference on the
emulated core of a Raspberry Pi 5; seconds are of the whole command.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.zoo.catalogue import ZOO

COMMAND = str(Path(sys.executable).with_name("pipeline"))
DEVICE = "rpi5"
COLUMNS = (
    *("model", "task", "metric", "float", "int8", "difference [95 %]", "float bytes", "int8 bytes"),
    *("compressed", "zeros", "instructions, float", "int8", "released", "shifts int8 loses more under"),
    "seconds",
)


def build(name: str, out: Path) -> tuple[int, dict[str, Any] | None, str, float]:
    """Run one build.

    Returns:
        The exit code, the report where there is one, the last line of the errors, and the seconds.
    """
    began = time.perf_counter()
    arguments = [COMMAND, "build", "--model", f"zoo:{name}", "--target", "arm64", "--out", str(out), "--json"]
    arguments += ["--store", str(out / "store")]
    run = subprocess.run(arguments, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    try:
        report = json.loads(run.stdout)["report"]
    except (ValueError, KeyError, TypeError):
        report = None
    return run.returncode, report, (run.stderr.strip().splitlines() or [""])[-1], seconds


def row(name: str, report: dict[str, Any], seconds: float) -> str:
    """One line of the table, of ``report.json``'s values."""
    float_file, int8_file = report["baseline"], report["quantized"]
    device: dict[str, Any] = next((each for each in report["devices"] if each["device"] == DEVICE), {})
    cells = [
        name,
        *accuracy(report),
        f"{float_file['size_bytes']:,}",
        f"{int8_file['size_bytes']:,}",
        f"{int8_file['compressed_bytes']:,}",
        f"{int8_file['sparsity']:.0%}",
        *(instructions(device.get(kind)) for kind in ("baseline", "quantized")),
        next((each["name"] for each in report["candidates"] if each["chosen"]), "the only one"),
        losing(report["shift"]),
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def accuracy(report: dict[str, Any]) -> list[str]:
    """The task and its first metric: name, float, int8, and the difference with its interval."""
    if not report["accuracy"]:
        return ["", "", "", "", ""]
    comparison = report["accuracy"][0]
    metric = comparison["metrics"][0]
    values = [f"{metric[key]:.2f}" for key in ("baseline", "quantized")]
    interval = "" if metric["low"] is None else f" [{metric['low']:+.2f}, {metric['high']:+.2f}]"
    return [comparison["task"], metric["name"], *values, f"{metric['difference']:+.2f}{interval}"]


def instructions(count: dict[str, Any] | None) -> str:
    return "" if count is None else f"{count['instructions']:,}"


def losing(shift: dict[str, Any] | None) -> str:
    """How many of the judged shifts int8 loses more under than float, beyond the margin, and their names."""
    verdicts = {each["name"]: each["verdict"] for each in (shift or {"shifts": ()})["shifts"]}
    judged = {name: verdict for name, verdict in verdicts.items() if verdict != "skipped"}
    lost = [name for name, verdict in judged.items() if verdict == "int8 loses more"]
    return "".join([f"{len(lost)} of {len(judged)}", *(f", {name}" for name in lost)]) if judged else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ZOO)}; default all")
    parser.add_argument("--out", type=Path, help="keep the builds here, one folder a model; must be new")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ZOO):
        parser.error(f"not in the zoo: {', '.join(sorted(unknown))}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
        out = options.out or Path(folder)
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        for name in options.names or ZOO:
            code, report, message, seconds = build(name, out / name)
            if report is not None:
                print(row(name, report, seconds), flush=True)
            if code:
                failed.append(f"{name}: exit code {code}: {message}")
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"\n{machine}, {datetime.now(UTC):%Y-%m-%d}, load at the end {os.getloadavg()[0]:.1f}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
