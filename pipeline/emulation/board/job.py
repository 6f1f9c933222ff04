"""Runs on the emulated board: one model, its latencies, its outputs and a soak, as ``plan.json`` asks.

One file, run as a script beside ``worker.py``: the standard library, numpy and LiteRT, nothing of this
project. Its times are the board's own clock. Where that is deterministic the same plan gives the same times.

Usage: ``job.py PLAN RESULT``, both JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

BLOCKS = 50
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
MIN_RUNS = 16
MIN_SAMPLES = 64


def measure(plan: dict[str, Any]) -> dict[str, Any]:
    """Do what the plan asks, cheapest first.

    Args:
        plan: ``model``; ``first``, ``golden`` and ``samples``: the .npy file of each input; ``threads``;
            ``runs`` to time and ``inferences`` to soak, and these and the samples fewer where each would
            take more than ``budget_us`` of the board's time; ``outputs``: the folder of the samples' outputs,
            and ``ready``: a file to make after the first inference; both may be None; ``locked``: whether
            pages that were touched stay in memory, so that too little of it ends in a kill at once.
    """
    if plan["locked"]:
        ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)
    module = import_module("worker")  # beside this file on the board
    worker = module.Worker("litert")
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
    runs = min(plan["runs"], max(MIN_RUNS, affordable))
    found["latencies_us"] = worker.time(plan["golden"], runs, 3)["latencies_us"] if runs else []
    if plan["outputs"]:
        shorten(plan["samples"], max(MIN_SAMPLES, affordable))
        outputs = [f"{plan['outputs']}/output-{index:03}.npy" for index in range(len(loaded["outputs"]))]
        worker.run(plan["samples"], outputs)
    inferences = min(plan["inferences"], max(MIN_SAMPLES, affordable))  # all golden samples, once
    if inferences:
        began = time.perf_counter_ns()
        found["soak"] = soak(worker, plan["golden"], inferences)
        found["soak_us"] = (time.perf_counter_ns() - began) / 1e3
    found["inferences"] = inferences
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def soak(worker: Any, golden: list[str], inferences: int) -> dict[str, Any]:
    """Infer over and over, and look at the outputs, the memory and the open files between blocks."""
    size, blocks, memory = max(1, inferences // BLOCKS), [], []
    for start in range(0, inferences, size):
        blocks.append(worker.soak(golden, min(size, inferences - start), start))
        memory.append((start, blocks[-1]["memory_bytes"]))
    return {
        "mismatches": sum(block["mismatches"] for block in blocks),
        "output_sha256": blocks[-1]["output_sha256"],
        "resident_bytes": memory,
        "open_files": [blocks[0]["open_files"], blocks[-1]["open_files"]],
    }


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def shorten(files: list[str], count: int) -> None:
    """Leave the first ``count`` samples in the files."""
    import numpy as np

    for file in files:
        array = np.load(file, mmap_mode="r")
        if len(array) > count:
            np.save(f"{file}.short.npy", array[:count])
            Path(f"{file}.short.npy").replace(file)


def main() -> None:
    plan, result = sys.argv[1:]
    found = measure(json.loads(Path(plan).read_text(encoding="utf-8")))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
