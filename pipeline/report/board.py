"""Results on the emulated board, as tables for the terminal and report.txt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.tables import make_table
from pipeline.validation.latency import summarize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from pipeline.emulation.board.faults import MemorySearch
    from pipeline.emulation.board.run import BoardRun


def board_tables(run: BoardRun) -> Iterator[Table]:
    """Yield the tables: latency and memory, then every fault."""
    latency, memory, soak = run.bench.latency, run.bench.memory, run.bench.soak
    clock = f"{run.nanoseconds_per_instruction} ns an instruction: no hardware's time"
    table = make_table(f"board: {run.title}, {run.memory_mib} MiB; {clock}", "measured", "value", numbers=1)
    steady = summarize(latency.latencies_us)
    table.add_row("boot to first inference", f"{latency.boot_to_first_inference_ms:,.1f} ms")
    table.add_row("load the model", f"{latency.init_ms:,.2f} ms")
    table.add_row("first inference", f"{latency.first_us:,.1f} µs")
    for name, value in (("p50", steady.p50), ("p90", steady.p90), ("p99", steady.p99)):
        if value is not None:
            table.add_row(f"steady inference, {name} of {steady.count}", f"{value:,.1f} µs")
    table.add_row(f"largest difference of {latency.boots} boots", f"{latency.largest_difference:.4%}")
    table.add_row("resident memory of the process", _mib(memory.resident_bytes))
    table.add_row("  of it Python and the runtime", _mib(memory.runtime_bytes))
    table.add_row("minimum memory of the process", _least(run.process_memory))
    table.add_row("minimum memory of the board", _least(run.board_memory))
    table.add_row(f"changed outputs in {soak.inferences} inferences", f"{soak.changed_outputs}")
    table.add_row("memory growth", f"{soak.growth_bytes_per_inference:,.1f} bytes/inference")
    yield table
    faults = make_table("board: faults", "environment", "action", "outcome")
    for fault in (*run.board_memory.steps, *run.process_memory.steps, *run.faults):
        faults.add_row(fault.environment, fault.action, fault.outcome)
    yield faults


def _least(search: MemorySearch) -> str:
    if search.min_mib is None:
        return "more than was tried"
    return f"{search.min_mib} MiB (to {search.resolution_mib})"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MiB"
