"""How often a soak cries wolf: the same sound model, many times, on a machine as it is.

    python benchmarks/validation/soaks.py A.tflite --runs 100

Nothing ages here, so every latency interval above zero is a false alarm (2.5 % are to be expected), and so
is every leak. The gates judge the lower ends against what is allowed, which are alarmed less often still.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from pipeline.config import StabilityConfig
from pipeline.runtimes.runtime import host_runtime
from pipeline.validate.stability import soak
from pipeline.validate.subject import Golden


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    arguments = parser.parse_args()
    inputs = Golden(None, 64, 0).inputs
    latencies, leaks, changed = [], [], 0
    for _ in range(arguments.runs):
        found = soak(host_runtime("litert"), arguments.model, inputs, StabilityConfig())
        assert found.latency is not None
        latencies.append(found.latency)
        leaks.append(found.leak_bytes_per_inference)
        changed += found.changed_outputs
    lows = np.array([each.low for each in latencies])
    print(f"{arguments.model.name}: {arguments.runs} soaks, load {os.getloadavg()[1]:.1f} at the end")
    print(f"latency: interval above 0 in {(lows > 0).sum()}, above +5 % in {(lows > 0.05).sum()}")
    print(f"width of the interval, median: {np.median([each.high - each.low for each in latencies]):.3f}")
    print(f"leak above 0 in {sum(leak > 0 for leak in leaks)}, most {max(leaks):.0f} bytes an inference")
    print(f"changed outputs: {changed}")


if __name__ == "__main__":
    main()
