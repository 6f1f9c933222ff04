"""Charts over time and of times: soaks, and the latencies of inferences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.figures import microseconds
from pipeline.report.drawing import Chart, Series, chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.validation.latency import Timings
    from pipeline.validation.report import Report
    from pipeline.validation.stability import SoakResult

MIB = 1 << 20
KINDS = ("line", "line second", "line third", "line fourth")
"""CSS classes of the lines of a chart."""


def soak_charts(soaks: Sequence[SoakResult]) -> list[Chart]:
    """Return the memory and the time of an inference over each soak; none of reports without the curves."""
    drawn = [run for run in soaks if len(run.curve) > 1]
    if not drawn:
        return []
    memory, times = [], []
    for place, run in enumerate(drawn):
        name, kind = _threads(run.threads), KINDS[place % len(KINDS)]
        memory.append(
            Series(
                name,
                kind,
                [
                    (
                        at.inferences,
                        at.memory_bytes / MIB,
                        f"{name}, {at.inferences:,} inferences: {at.memory_bytes / MIB:.2f} MiB",
                    )
                    for at in run.curve
                ],
            )
        )
        times.append(
            Series(
                name,
                kind,
                [
                    (
                        at.inferences,
                        at.cpu_us,
                        f"{name}, {at.inferences:,} inferences: {microseconds(at.cpu_us)} µs",
                    )
                    for at in run.curve
                ],
            )
        )
        fresh = [(at.inferences, at.fresh_cpu_us, "") for at in run.curve if at.fresh_cpu_us is not None]
        if fresh:
            times.append(Series("fresh interpreter", "base", fresh))
    return [
        chart("Memory of the process", "inferences", "MiB", memory),
        chart("Processor time of an inference", "inferences", "µs", times),
    ]


def latency_charts(report: Report) -> list[Chart]:
    """Return how many inferences take at most how long; none of reports without the latencies."""
    groups: list[tuple[str, list[tuple[str, str, Timings]]]] = []
    if report.latency:
        pair = [("float", "base", report.latency.baseline), (report.format, "line", report.latency.quantized)]
        groups.append(("Latency on this host, side by side", pair))
    if report.times:
        rows = [
            (_threads(row.threads), KINDS[place % len(KINDS)], row.steady)
            for place, row in enumerate(report.times)
        ]
        groups.append((f"Latency of {report.format} on this host", rows))
    real = [each.latency for each in report.devices if each.latency is not None]
    if real:
        rows = [(each.device, KINDS[place % len(KINDS)], each.steady) for place, each in enumerate(real)]
        groups.append((f"Latency of {report.format} on devices", rows))
    return [
        chart(title, "µs", "% of inferences", [_ranked(*row) for row in rows], may_be_log=True)
        for title, rows in groups
        if all(len(times.ranked) > 1 for *_, times in rows)
    ]


def _ranked(name: str, kind: str, times: Timings) -> Series:
    last = len(times.ranked) - 1
    named = {round(last * share) for share in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)}
    return Series(
        name,
        kind,
        [
            (
                value,
                100 * place / last,
                f"{name}: {100 * place / last:.0f} % within {microseconds(value)} µs"
                if place in named
                else "",
            )
            for place, value in enumerate(times.ranked)
        ],
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
