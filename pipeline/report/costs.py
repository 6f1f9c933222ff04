"""Costs for people: every row begins with its kind, and each kind has a function of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.figures import microseconds
from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from pipeline.validation.costs import DeviceLatency, EmulatedCost, HostLatency
    from pipeline.validation.latency import LatencyComparison, Timings

TOO_FEW = "-"
STEADY = ("p50", "p90", "p99")


def host_table(rows: Sequence[HostLatency]) -> Table:
    """Host times by number of threads; the caption says what they depend on."""
    table = make_table(
        "Latency on this host, µs", "kind", *("threads", "cold start", "init", "first"), *STEADY
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        starts = (row.cold_start_us, row.init_us, row.first_us)
        table.add_row(row.kind, str(row.threads), *map(_us, starts), *_percentiles(row.steady))
    if rows:
        last = rows[-1]
        table.caption = (
            f"{last.runtime}, {last.xnnpack_share:.1%} of the arithmetic in XNNPACK; {last.machine}; "
            f"{last.processes} processes each, {last.steady.count} inferences"
        )
        table.caption_justify = "left"
    return table


def host_lines(row: HostLatency) -> tuple[str, ...]:
    """Return lines like those of TFLite's ``benchmark_model``, each prefixed with its kind."""
    warmup = "" if row.warmup is None else f"Warmup (avg): {row.warmup.avg:g}, "
    return _benchmark_lines(row, row.kind, warmup)


def device_lines(row: DeviceLatency) -> tuple[str, ...]:
    """Return the same lines of a device."""
    return _benchmark_lines(row, f"{row.kind} {row.device}", "")


def _benchmark_lines(row: HostLatency | DeviceLatency, where: str, warmup: str) -> tuple[str, ...]:
    head = f"{where}, {_threads(row.threads)}: "
    parts = f"Init: {row.init_us:.0f}, First inference: {row.first_us:.0f}, {warmup}"
    return (
        f"{head}{row.steady}",
        f"{head}Inference timings in us: {parts}Inference (avg): {row.steady.avg:g}",
    )


def ratio_table(title: str, found: LatencyComparison, *, names: tuple[str, str]) -> Table:
    """Return the paired ratio of two models on the host, and the control; ``names`` are of both."""
    reference, candidate = names
    table = make_table(title, "kind", "compared", "ratio", "95 % interval", "verdict")
    table.add_row(
        found.kind,
        f"{reference} / {candidate}, {found.pairs} pairs",
        f"{found.speedup:.3f}x",
        f"[{found.low:.3f}, {found.high:.3f}]",
        found.verdict,
    )
    table.add_row(
        found.kind,
        f"control: {reference} / {reference}",
        f"{found.control:.3f}x",
        f"[{found.control_low:.3f}, {found.control_high:.3f}]",
        "",
    )
    return table


def emulated_table(rows: Sequence[EmulatedCost]) -> Table:
    """Instructions and bytes of one inference by device; they say nothing of time."""
    columns = ("kind", "device", "instructions", "bytes loaded", "bytes stored")
    table = make_table("One inference on emulated cores: no time", *columns, numbers=3)
    table.columns[0].no_wrap = True
    for row in rows:
        counts = (row.instructions, row.load_bytes, row.store_bytes)
        table.add_row(row.kind, row.device, *(f"{count:,}" for count in counts))
    table.caption = "\n".join(
        f"{row.device}: {row.runtime}, {row.xnnpack_share:.1%} of the arithmetic in XNNPACK" for row in rows
    )
    table.caption_justify = "left"
    return table


def device_table(rows: Sequence[DeviceLatency]) -> Table:
    """Times on real hardware."""
    columns = ("kind", "device", "threads", "cold start", "init", "first", *STEADY)
    table = make_table("Latency on real devices, µs", *columns, numbers=7)
    table.columns[1].overflow = "fold"
    for row in rows:
        starts = (row.cold_start_us, row.init_us, row.first_us)
        table.add_row(row.kind, row.device, str(row.threads), *map(_us, starts), *_percentiles(row.steady))
    table.caption = "\n".join(
        f"{row.device}, {_threads(row.threads)}: {row.runtime}, {row.xnnpack_share:.1%} of the arithmetic in "
        f"XNNPACK; {row.machine}; {row.steady.count} inferences"
        for row in rows
    )
    table.caption_justify = "left"
    return table


def _percentiles(timings: Timings) -> tuple[str, ...]:
    return tuple(_us(value) for value in (timings.p50, timings.p90, timings.p99))


def _us(value: float | None) -> str:
    return TOO_FEW if value is None else microseconds(value)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
