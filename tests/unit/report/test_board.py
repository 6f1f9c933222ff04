"""The board's tables, and the record they are made from."""

from __future__ import annotations

import io

from pydantic import TypeAdapter
from rich.console import Console

from pipeline.emulation.board.bench import BoardBench, BoardLatency, BoardMemory, BoardSoak
from pipeline.emulation.board.faults import MemorySearch
from pipeline.emulation.board.run import BoardRun
from pipeline.fault import Fault
from pipeline.report.board import board_tables

FAULT = Fault(
    environment="emulated board", action="memory.max 8 MiB", outcome="killed by the kernel", passed=False
)
RUN = BoardRun(
    device="rpi4",
    title="litert on an emulated board with a cortex-a72",
    memory_mib=512,
    nanoseconds_per_instruction=2,
    bench=BoardBench(
        latency=BoardLatency(
            boot_to_first_inference_ms=2759.0,
            init_ms=9.7,
            first_us=6723.7,
            latencies_us=tuple(float(value) for value in range(100)),
            boots=2,
            largest_difference=0.0,
        ),
        memory=BoardMemory(runtime_bytes=38 << 20, resident_bytes=44 << 20, peak_bytes=45 << 20),
        soak=BoardSoak(
            inferences=1000,
            changed_outputs=0,
            output_sha256="0" * 64,
            hashes_equal=True,
            growth_bytes_per_inference=0.0,
            leaked_files=0,
        ),
        samples=256,
    ),
    board_memory=MemorySearch(of="board", min_mib=80, resolution_mib=8, steps=()),
    process_memory=MemorySearch(of="process", min_mib=None, resolution_mib=4, steps=(FAULT,)),
    faults=(),
)


def _text() -> str:
    console = Console(file=io.StringIO(), width=110)
    for table in board_tables(RUN):
        console.print(table)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_percentile_is_shown_only_where_there_are_enough_samples():
    text = _text()
    assert "p90 of 100" in text
    assert "p99" not in text


def test_the_clock_is_named_with_the_times_and_every_fault_has_its_row():
    text = _text()
    assert "2 ns an instruction: no hardware's time" in " ".join(text.split())
    assert "80 MiB (to 8)" in text
    assert "more than was tried" in text
    assert "memory.max 8 MiB" in text


def test_the_record_goes_through_json():
    adapter = TypeAdapter(BoardRun)
    assert adapter.validate_json(adapter.dump_json(RUN)) == RUN
