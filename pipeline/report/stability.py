"""Stability as tables: the long runs, and what was done to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.validation.stability import StabilityReport
    from pipeline.validation.trend import Trend


def stability_tables(found: StabilityReport) -> tuple[RenderableType, ...]:
    """Return the soaks, and the faults if any were made."""
    tables = []
    runs = make_table(
        "Long runs",
        "threads",
        "outputs",
        "files",
        "inferences",
        "processor time",
        "control",
        "bytes/inference",
        numbers=4,
    )
    for run in found.soaks:
        same = run.changed_outputs == 0 and run.output_sha256 == found.soaks[0].output_sha256
        runs.add_row(
            str(run.threads),
            "constant" if same else f"{run.changed_outputs or 'all'} changed",
            f"{run.leaked_files} left open" if run.leaked_files else "all closed",
            f"{run.inferences:,}",
            _interval(run.latency, 100, "%"),
            _interval(run.control, 100, "%"),
            _interval(run.growth, 1, ""),
        )
    if found.soaks:
        tables.append(runs)
    if not found.faults:
        return tuple(tables)
    faults = make_table("Faults", "environment", "action", "outcome", "")
    for fault in found.faults:
        faults.add_row(fault.environment, fault.action, fault.outcome, "passed" if fault.passed else "FAILED")
    return (*tables, faults)


def _interval(trend: Trend | None, factor: float, unit: str) -> str:
    if trend is None:
        return "skipped"
    value, low, high = (end * factor for end in (trend.value, trend.low, trend.high))
    return f"{value:+.1f}{unit} ({low:+.1f} to {high:+.1f})"
