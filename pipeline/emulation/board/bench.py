"""Benchmark a model on the emulated board in deterministic time: two boots of the same job.

The board's clock counts what its core executes, at 2 ns an instruction. A figure in it is comparable with
another one of the same kind; it is no time of any hardware.
"""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.emulation.board.machine import VirtualMachine, required, run_job
from pipeline.npy import read_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.emulation.board.image import BoardImage
    from pipeline.targets import Device

RUNS = 700
"""Timed inferences, enough for a 99th percentile (662)."""

GOLDEN_SAMPLES = 64
BOOTS = 2
BUDGET_US = 10e6
"""The board's time for the timed inferences, for the samples and for the soak; a large model does fewer."""

FOLDER = Path(__file__).parent
WORKER = FOLDER.parents[1] / "runtimes/worker.py"
START = """\
/usr/bin/python3.11 -S -s -B job.py plan.json /run/results/result.json 2> /run/results/log
status=$?
[ $status = 0 ] || /bin/busybox tail -n 3 /run/results/log > /dev/console
exit $status
"""


@dataclass(frozen=True, kw_only=True)
class BoardLatency:
    """Latencies in the board's deterministic time, one thread.

    Attributes:
        boot_to_first_inference_ms: from the kernel's start, through Python's and the runtime's, to the end of
            the first inference; the root is in memory, so no disk is waited for.
        init_ms: to load the model.
        first_us: the first inference, in microseconds.
        latencies_us: the steady ones, in the order they came; summarise them for percentiles.
        boots: how many boots were compared.
        largest_difference: between the boots, of any of the above, as a share of it; 0 if they are alike.
    """

    boot_to_first_inference_ms: float
    init_ms: float
    first_us: float
    latencies_us: tuple[float, ...]
    boots: int
    largest_difference: float
    kind: Literal["board"] = "board"


@dataclass(frozen=True, kw_only=True)
class BoardMemory:
    """Resident memory of the process that runs the model, in bytes.

    Attributes:
        runtime_bytes: with Python, numpy and the runtime, and no model.
        resident_bytes: after the first inference.
        peak_bytes: the most in the whole job, which also holds the samples that it was given.
    """

    runtime_bytes: int
    resident_bytes: int
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class BoardSoak:
    """Results of many inferences on the board.

    Attributes:
        changed_outputs: inferences whose output was not the first one of the same sample, in both boots.
        output_sha256: of the first outputs of all samples.
        hashes_equal: whether both boots gave the same.
        growth_bytes_per_inference: slope of the resident memory, without the first fifth of the run.
        leaked_files: files open at the end and not at the start.
    """

    inferences: int
    changed_outputs: int
    output_sha256: str
    hashes_equal: bool
    growth_bytes_per_inference: float
    leaked_files: int


@dataclass(frozen=True, kw_only=True)
class BoardBench:
    """One model in deterministic time on the board."""

    latency: BoardLatency
    memory: BoardMemory
    soak: BoardSoak
    samples: int


def run_bench(
    image: BoardImage,
    device: Device,
    model: Path,
    inputs: Sequence[NDArray[Any]],
    *,
    memory_mib: int,
    samples: int,
    inferences: int,
    timeout_s: float,
) -> tuple[BoardBench, list[NDArray[Any]]]:
    """Boot the board twice, side by side, for the same job; returns the figures and the outputs.

    Args:
        inputs: for each of the model's inputs an array (n, ...) of its own dtype, golden samples first.
        samples: how many of them are inferred for their outputs.
        inferences: of the soak.
        timeout_s: seconds of this machine for a boot.

    Returns:
        The bench, and for each of the model's outputs an array (bench.samples, ...) of its own dtype; fewer
        than asked for where the model is large.

    Raises:
        StageError: the board did not get to the end.
    """
    machine = VirtualMachine(device=device, memory_mib=memory_mib, deterministic=True)
    taken = [array[:samples] for array in inputs]
    plan = {"runs": RUNS, "inferences": inferences, "outputs": "/run/results", "budget_us": BUDGET_US}
    files = job_files(model, taken, plan)
    with ThreadPoolExecutor(BOOTS) as threads:
        waiting = [threads.submit(run_job, image, machine, files, timeout_s=timeout_s) for _ in range(BOOTS)]
        runs = [required(future.result(), "board bench") for future in waiting]
    found: list[dict[str, Any]] = [json.loads(run.results["result.json"]) for run in runs]
    outputs = [_array(data) for name, data in sorted(runs[0].results.items()) if name.startswith("output-")]
    return _bench(found, len(outputs[0])), outputs


def job_files(model: Path, inputs: Sequence[NDArray[Any]], plan: dict[str, Any]) -> dict[str, Path | bytes]:
    """Return the files of a job for ``job.py``, which explains ``plan``."""
    files: dict[str, Path | bytes] = {
        "start": START.encode(),
        "job.py": FOLDER / "job.py",
        "worker.py": WORKER,
        "model.tflite": model,
    }
    whole = {
        "model": "model.tflite",
        "threads": 1,
        "runs": 0,
        "inferences": 0,
        "outputs": None,
        "ready": None,
        "locked": False,
    }
    whole |= plan
    for name, count in (("first", 1), ("golden", GOLDEN_SAMPLES), ("samples", len(inputs[0]))):
        names = [f"{name}-{index}.npy" for index in range(len(inputs))]
        files |= {file: _bytes(array[:count]) for file, array in zip(names, inputs, strict=True)}
        whole[name] = names
    files["plan.json"] = json.dumps(whole).encode()
    return files


def _bench(found: Sequence[dict[str, Any]], samples: int) -> BoardBench:
    """Summarise what the boots measured; the first one's figures stand for all."""
    first = found[0]
    times = [
        np.array([row["boot_to_first_inference_us"], row["init_us"], row["first_us"], *row["latencies_us"]])
        for row in found
    ]
    difference = max(float(np.max(np.abs(other - times[0]) / times[0])) for other in times)
    soaks = [row["soak"] for row in found]
    open_files = soaks[0]["open_files"]
    return BoardBench(
        latency=BoardLatency(
            boot_to_first_inference_ms=first["boot_to_first_inference_us"] / 1e3,
            init_ms=first["init_us"] / 1e3,
            first_us=first["first_us"],
            latencies_us=tuple(first["latencies_us"]),
            boots=len(found),
            largest_difference=difference,
        ),
        memory=BoardMemory(
            **{name: first[name] for name in ("runtime_bytes", "resident_bytes", "peak_bytes")}
        ),
        soak=BoardSoak(
            inferences=first["inferences"],
            changed_outputs=sum(soak["mismatches"] for soak in soaks),
            output_sha256=soaks[0]["output_sha256"],
            hashes_equal=len({soak["output_sha256"] for soak in soaks}) == 1,
            growth_bytes_per_inference=_slope(soaks[0]["resident_bytes"], first["inferences"]),
            leaked_files=open_files[1] - open_files[0],
        ),
        samples=samples,
    )


def _slope(resident: Sequence[tuple[int, int]], inferences: int) -> float:
    """Return bytes per inference, of (inference, resident bytes), without the first fifth."""
    at, size = np.array(resident, np.float64).T
    settled = at >= inferences / 5
    return float(np.polyfit(at[settled], size[settled], 1)[0]) if settled.sum() > 1 else 0.0


def _bytes(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _array(data: bytes) -> NDArray[Any]:
    return read_array(io.BytesIO(data))
