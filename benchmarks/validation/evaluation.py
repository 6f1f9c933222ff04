"""Wall time of evaluating many samples, against the time that the kernels alone take on all cores.

    python benchmarks/validation/evaluation.py A.tflite B.tflite --samples 10000

A shared machine slows both, so both are measured in turn, several times: all samples through ``infer_all``,
then as many inferences, timed one by one, by as many processes as there are cores. The ratio is that of the
wall time to the sum of the kernels' times in one process; its median counts. Starting the processes, which
does not grow with the samples, is measured on one sample and taken off; it is printed beside.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.runtimes.evaluation import infer_all
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.model_under_test import Golden

if TYPE_CHECKING:
    from numpy.typing import NDArray

LITERT = host_runtime("litert")
CHUNK = 2000


def kernel_seconds(model: Path, samples: list[NDArray[Any]]) -> float:
    """Time in ``invoke`` of one process, where all cores infer their share of the samples at once."""
    cores = len(os.sched_getaffinity(0))
    ready = threading.Barrier(cores)

    def share(_: int) -> float:
        with Session(LITERT, model) as session:
            ready.wait()
            timing = session.time([array[:64] for array in samples], runs=len(samples[0]) // cores)
        return sum(timing.latencies_us) / 1e6

    with ThreadPoolExecutor(cores) as pool:
        return float(np.mean(list(pool.map(share, range(cores)))))


def wall_seconds(model: Path, samples: list[NDArray[Any]]) -> float:
    began = time.monotonic()
    infer_all(
        LITERT,
        model,
        lambda _: (
            [array[start : start + CHUNK] for array in samples] for start in range(0, len(samples[0]), CHUNK)
        ),
    )
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for model in arguments.models:
        with Session(LITERT, model) as session:
            samples = Golden(None, arguments.samples, 0).inputs(session.describe())
        kernels, walls, starts = [], [], []
        for _ in range(arguments.rounds):
            kernels.append(kernel_seconds(model, samples))
            walls.append(wall_seconds(model, samples))
            starts.append(wall_seconds(model, [array[:1] for array in samples]))
        start = float(np.median(starts))
        ratios = (np.array(walls) - start) / np.array(kernels)
        print(
            f"{model.name}: {arguments.samples:,} samples, wall {np.median(walls):.2f} s, of that start "
            f"{start:.2f} s; kernels {np.median(kernels):.2f} s on each core; ratio {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f} in {arguments.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
