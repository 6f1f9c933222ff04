"""How often a soak cries wolf: the same sound model, many times, on a machine as it is or a busy one.

    python benchmarks/validation/soaks.py A.tflite --runs 100 [--busy 2]

Nothing ages here, so every latency interval above zero is a false alarm (2.5 % are to be expected), and so
is every leak. The gates judge the lower ends against what is allowed, which are alarmed less often still.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.busy import busy
from pipeline.config import GatesConfig, StabilityConfig
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.model_under_test import Golden
from pipeline.validation.stability import soak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument(
        "--busy", type=int, default=0, help="processes that keep a core busy beside the soaks"
    )
    arguments = parser.parse_args()
    inputs = Golden(None, 64, 0).inputs
    latencies, reaches, leaks, changed = [], [], [], 0
    with busy(arguments.busy):
        for _ in range(arguments.runs):
            found = soak(host_runtime("litert"), arguments.model, inputs, StabilityConfig().inferences)
            assert found.latency is not None
            latencies.append(found.latency)
            reaches.append(found.control_reach)
            leaks.append(found.leak_bytes_per_inference)
            changed += found.changed_outputs
    lows = np.array([each.low for each in latencies])
    limit = GatesConfig().latency_growth
    beyond = lows > limit + np.array(reaches)
    print(f"{arguments.model.name}: {arguments.runs} soaks, load {os.getloadavg()[1]:.1f} at the end")
    print(f"processor time: interval above 0 in {(lows > 0).sum()}")
    print(f"inconclusive or failed, because above {limit:+.0%}: {(lows > limit).sum()}")
    print(f"failed, because beyond the control as well: {beyond.sum()}")
    print(f"how far the control moves, median: {np.median(reaches):.3f}")
    print(f"width of the interval, median: {np.median([each.high - each.low for each in latencies]):.3f}")
    print(f"leak above 0 in {sum(leak > 0 for leak in leaks)}, most {max(leaks):.0f} bytes an inference")
    print(f"changed outputs: {changed}")


if __name__ == "__main__":
    main()
