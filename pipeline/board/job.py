"""Runs on the emulated board: one model, its latencies, its outputs and a soak, as ``plan.json`` asks.

One file, run as a script beside ``worker.py``: the standard library, numpy and LiteRT, nothing of this
project. Its times are the board's own clock. Where that is deterministic the same plan gives the same times.

Usage: ``job.py PLAN RESULT``, both JSON.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.runtimes.worker import Worker, resident_bytes
else:
    from worker import Worker, resident_bytes  # the same file, beside this one on the board

LEAST_RUNS = 16


def measure(plan: dict[str, Any]) -> dict[str, Any]:
    """Do what the plan asks, cheapest first.

    Args:
        plan: ``model``; ``first``, ``golden`` and ``samples``: the .npy file of each input; ``threads``;
            ``runs`` to time and ``inferences`` to soak, fewer where they would take more than ``budget_us``
            of the board's time; ``outputs``: the folder that the samples' outputs go to, and ``ready``: a
            file to make after the first inference; both may be None.
    """
    worker = Worker("litert")
    idle = resident_bytes()
    loaded = worker.load(plan["model"], plan["threads"])
    first = worker.time(plan["first"], 0, 0)
    found = {
        "boot_to_first_inference_us": time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e3,
        "init_us": loaded["init_us"],
        "first_us": first["first_us"],
        "runtime_bytes": idle,
        "resident_bytes": resident_bytes(),
    }
    if plan["ready"]:
        Path(plan["ready"]).touch()
    gc.collect()
    gc.freeze()
    affordable = int(plan["budget_us"] / max(1.0, first["first_us"]))
    runs = min(plan["runs"], max(LEAST_RUNS, affordable))
    found["latencies_us"] = worker.time(plan["golden"], runs, 3)["latencies_us"] if runs else []
    if plan["outputs"]:
        outputs = [f"{plan['outputs']}/output-{index:03}.npy" for index in range(len(loaded["outputs"]))]
        worker.run(plan["samples"], outputs)
    inferences = min(plan["inferences"], max(LEAST_RUNS, affordable))
    if inferences:
        began = time.perf_counter_ns()
        found["soak"] = worker.soak(plan["golden"], inferences)
        found["soak_us"] = (time.perf_counter_ns() - began) / 1e3
    found["inferences"] = inferences
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def main() -> None:
    plan, result = sys.argv[1:]
    found = measure(json.loads(Path(plan).read_text(encoding="utf-8")))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
