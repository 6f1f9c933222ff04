"""Run all measurements on the emulated board, in one call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.emulation.board.bench import BoardBench, run_bench
from pipeline.emulation.board.faults import MemorySearch, find_min_memory, measure_limits, measure_quotas
from pipeline.emulation.board.machine import board_device
from pipeline.emulation.board.provisioning import find_image
from pipeline.fault import Fault
from pipeline.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.config import BoardConfig

BOOT_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """Results of one model on the emulated board.

    Attributes:
        device: the device whose core the board has.
        title: the runtime and the board in words.
        memory_mib: memory of the board, except in the search for the minimum.
        nanoseconds_per_instruction: what the deterministic time counts.
        board_memory: the minimum memory of the whole board.
        process_memory: the minimum memory of the model's process.
        faults: quotas of the processor, and SIGKILL with a restart.
    """

    device: str
    title: str
    memory_mib: int
    nanoseconds_per_instruction: int
    bench: BoardBench
    board_memory: MemorySearch
    process_memory: MemorySearch
    faults: tuple[Fault, ...]


def measure_board(
    model: Path, inputs: Sequence[NDArray[Any]], config: BoardConfig, *, timeout_s: float = BOOT_TIMEOUT_S
) -> tuple[BoardRun, list[NDArray[Any]]]:
    """Measure a model on the emulated board.

    Args:
        model: a .tflite file that passed ``pipeline.flatbuffer``.
        inputs: for each of its inputs an array (n, ...) of its own dtype, golden samples first.
        timeout_s: seconds of this machine that any one boot may take.

    Returns:
        The figures, and for each of the model's outputs an array (bench.samples, ...) of its own dtype.

    Raises:
        ConfigError: the configured core is not a 64-bit one.
        ToolchainError: the board is not provisioned.
        StageError: the board, with ``config.max_memory_mib``, did not get to the end.
    """
    image, device, max_mib = find_image(), board_device(config.core), config.max_memory_mib
    with track("board", total=4, unit="parts") as advance:
        bench, outputs = run_bench(
            image,
            device,
            model,
            inputs,
            memory_mib=max_mib,
            samples=config.samples,
            inferences=config.inferences,
            timeout_s=timeout_s,
        )
        advance(1, "memory and faults")
        # One boot at a time here, two at a time there: together they keep two cores busy.
        with ThreadPoolExecutor(1) as thread:
            limits = thread.submit(
                measure_limits, image, device, model, inputs, bench, memory_mib=max_mib, timeout_s=timeout_s
            )
            board_memory = find_min_memory(
                image,
                device,
                model,
                inputs,
                min_mib=config.min_memory_mib,
                max_mib=max_mib,
                resident_mib=bench.memory.resident_bytes >> 20,
                timeout_s=timeout_s,
            )
            advance(1)
            quotas = measure_quotas(
                image, device, model, inputs, bench, memory_mib=max_mib, timeout_s=timeout_s
            )
            advance(1)
            process_memory, restart = limits.result()
            advance(1)
    run = BoardRun(
        device=device.name,
        title=f"{device.runtime} on an emulated board with a {device.cpu}",
        memory_mib=max_mib,
        nanoseconds_per_instruction=2,
        bench=bench,
        board_memory=board_memory,
        process_memory=process_memory,
        faults=(*quotas, restart),
    )
    return run, outputs
