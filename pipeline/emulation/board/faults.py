"""Inject faults on the emulated board: memory limits, quotas, SIGKILL."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.emulation.board.bench import GOLDEN_SAMPLES, BoardBench, job_files
from pipeline.emulation.board.machine import JobRun, VirtualMachine, required, run_job
from pipeline.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.emulation.board.image import BoardImage
    from pipeline.targets import Device

PROBE = {"runs": 64, "inferences": 64, "budget_us": 5e6}
MEMORY_PROBE = {"inferences": 64, "budget_us": 5e6, "locked": True}
ENDLESS = {"inferences": 1 << 40, "budget_us": 1e15, "ready": "/run/ready"}

QUOTAS = (50, 20)
"""Percent of one core."""

PROCESS_MIN_MIB = 8
PROCESS_STEP_MIB = 4
BOARD_STEP_MIB = 8
ABOVE_RESIDENT_MIB = (24, 56)
"""First value of the search for the minimum memory: the kernel needs about as much."""

PATIENCE = 6
"""An attempt that takes this many times as long as one with enough memory reads its pages over and over; what
else this machine does may make it two or three times as long."""

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class MemorySearch:
    """Minimum memory in which the model runs without reading a page twice, found by bisection.

    Attributes:
        of: ``"board"``: the board's whole memory, kernel and all; ``"process"``: what the control group of
            the model's process may use (``memory.max``), page cache included.
        min_mib: the least that was enough; None if the most was not.
        resolution_mib: how far above the most that was too little it may lie.
        steps: every attempt.
    """

    of: str
    min_mib: int | None
    resolution_mib: int
    steps: tuple[Fault, ...]


def measure_quotas(
    image: BoardImage,
    device: Device,
    model: Path,
    inputs: Sequence[NDArray[Any]],
    bench: BoardBench,
    *,
    memory_mib: int,
    timeout_s: float,
) -> tuple[Fault, ...]:
    """Run the model with a share of the core's time: same outputs, and how much longer an inference takes.

    Args:
        inputs: as for ``run_bench``.
        bench: what ``run_bench`` found without a quota.
        timeout_s: seconds of this machine.

    Raises:
        StageError: the board did not get to the end.
    """
    files = job_files(model, [array[:GOLDEN_SAMPLES] for array in inputs], PROBE)
    files |= {"start": FOLDER / "quota.sh", "settings": f'PERCENTS="{" ".join(map(str, QUOTAS))}"\n'.encode()}
    machine = VirtualMachine(device=device, memory_mib=memory_mib, deterministic=True)
    run = required(run_job(image, machine, files, timeout_s=timeout_s), "board faults")
    faults = []
    for percent in QUOTAS:
        found = json.loads(run.results[f"quota-{percent}.json"])
        same = found["soak"]["output_sha256"] == bench.soak.output_sha256
        ratio = fmean(found["latencies_us"]) / fmean(bench.latency.latencies_us)
        faults.append(
            Fault(
                environment=_board(device, memory_mib, 1),
                action=f"{percent} % of one core (cpu.max)",
                outcome=f"{ratio:.2f}x the time of an inference, {_outputs(same)}",
                passed=same,
            )
        )
    return tuple(faults)


def measure_limits(
    image: BoardImage,
    device: Device,
    model: Path,
    inputs: Sequence[NDArray[Any]],
    bench: BoardBench,
    *,
    memory_mib: int,
    timeout_s: float,
) -> tuple[MemorySearch, Fault]:
    """Find the minimum memory of the model's process, then kill it with SIGKILL and restart it.

    Args:
        inputs: as for ``run_bench``.
        bench: what ``run_bench`` found, whose outputs have to come out again.
        timeout_s: seconds of this machine.

    Raises:
        StageError: the board did not get to the end.
    """
    settings = f"MIN_MIB={PROCESS_MIN_MIB} STEP_MIB={PROCESS_STEP_MIB} PATIENCE={PATIENCE}\n"
    taken = [array[:GOLDEN_SAMPLES] for array in inputs]
    files = job_files(model, taken, MEMORY_PROBE)
    probe = files.pop("plan.json")
    endless = job_files(model, taken, ENDLESS)["plan.json"]
    files |= {"start": FOLDER / "limits.sh", "settings": settings.encode()}
    files |= {"probe.json": probe, "endless.json": endless}
    machine = VirtualMachine(device=device, memory_mib=memory_mib, cores=2)
    run = required(run_job(image, machine, files, timeout_s=timeout_s), "board faults")
    return _limits(run, bench.soak.output_sha256, _board(device, memory_mib, 2))


def _limits(run: JobRun, expected: str, environment: str) -> tuple[MemorySearch, Fault]:
    """Read what limits.sh left."""
    attempts = [line.split() for line in run.results["attempts"].decode().splitlines()]
    steps = []
    min_mib = None
    for name, status, kills in attempts:
        if not name.startswith("memory-"):
            continue
        mib = int(name.removeprefix("memory-"))
        same = status == "0" and _hash(run, name) == expected
        if status == "0":
            min_mib = mib if min_mib is None else min(min_mib, mib)
            outcome = f"ran to the end, {_outputs(same)}"
        elif int(kills):
            outcome = "killed by the kernel for memory"
        elif status == str(128 + SIGKILL):
            outcome = f"did not end in {PATIENCE} times the time: reads its pages over and over"
        else:
            outcome = f"ended with status {status}"
        steps.append(
            Fault(environment=environment, action=f"memory.max {mib} MiB", outcome=outcome, passed=same)
        )
    same = _hash(run, "restarted") == expected
    restart = Fault(
        environment=environment,
        action="SIGKILL while it infers, then started again",
        outcome=f"ran to the end, {_outputs(same)}",
        passed=same,
    )
    search = MemorySearch(of="process", min_mib=min_mib, resolution_mib=PROCESS_STEP_MIB, steps=tuple(steps))
    return search, restart


def find_min_memory(
    image: BoardImage,
    device: Device,
    model: Path,
    inputs: Sequence[NDArray[Any]],
    *,
    min_mib: int,
    max_mib: int,
    resident_mib: int,
    timeout_s: float,
) -> MemorySearch:
    """Find the minimum memory with which the board boots and the model runs; two boots at a time.

    Args:
        inputs: for each of the model's inputs an array (n, ...) of its own dtype.
        min_mib: where the search ends at the latest, downwards.
        max_mib: where it begins.
        resident_mib: what the model's process is known to occupy: the search looks a little above it first.
        timeout_s: seconds of this machine for a boot.
    """
    files = job_files(model, [array[:GOLDEN_SAMPLES] for array in inputs], MEMORY_PROBE)
    steps: dict[int, Fault] = {}

    def attempt(mib: int, patience_s: float = timeout_s) -> None:
        run = run_job(image, VirtualMachine(device=device, memory_mib=mib), files, timeout_s=patience_s)
        fits = run.outcome == "ended" and run.status == 0
        outcome = "ran to the end" if fits else _problem(run)
        environment = _board(device, mib, 1)
        steps[mib] = Fault(
            environment=environment, action="boot, and run the model", outcome=outcome, passed=fits
        )

    began = time.monotonic()
    attempt(max_mib)
    patience_s = min(timeout_s, PATIENCE * (time.monotonic() - began))
    low, high = min_mib - BOARD_STEP_MIB, max_mib
    pair = {_stepped(resident_mib + above, low, high) for above in ABOVE_RESIDENT_MIB}
    with ThreadPoolExecutor(2) as threads:
        while steps[max_mib].passed and pair - steps.keys():
            list(threads.map(attempt, sorted(pair - steps.keys()), (patience_s, patience_s)))
            high = min(mib for mib, step in steps.items() if step.passed)
            low = max((mib for mib, step in steps.items() if not step.passed and mib < high), default=low)
            third = (high - low) / 3
            pair = {_stepped(low + third, low, high), _stepped(high - third, low, high)}
            if high - low <= BOARD_STEP_MIB:
                break
    return MemorySearch(
        of="board",
        min_mib=high if steps[max_mib].passed else None,
        resolution_mib=BOARD_STEP_MIB,
        steps=tuple(steps[mib] for mib in sorted(steps)),
    )


def _stepped(mib: float, low: int, high: int) -> int:
    """Return the step nearest to ``mib`` that is between the two, or half way where none is."""
    steps = round((mib - low) / BOARD_STEP_MIB)
    return min(max(low + BOARD_STEP_MIB * steps, low + BOARD_STEP_MIB), max(high - 1, low + 1))


def _problem(run: JobRun) -> str:
    """Return how a boot failed for want of memory."""
    known = {
        "out of memory": "killed by the kernel for memory",
        "panicked": "the kernel panicked",
        "did not boot": "did not boot",
        "no end": "did not come to its end in time",
    }
    return known.get(run.outcome, f"the model ended with status {run.status}")


def _hash(run: JobRun, name: str) -> str | None:
    found = run.results.get(f"{name}.json")
    return json.loads(found)["soak"]["output_sha256"] if found else None


def _outputs(same: bool) -> str:
    return "outputs the same" if same else "OUTPUTS DIFFER"


def _board(device: Device, memory_mib: int, cores: int) -> str:
    return f"emulated board, {device.cpu}, {cores} core{'s' if cores > 1 else ''}, {memory_mib} MiB"
