"""Drift as text for a terminal: every comparison with both histograms, and what to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from deploy.monitor.advice import Advice
    from deploy.monitor.compare import Drift, Item
    from deploy.monitor.statistics import Statistics
    from pipeline.monitoring import Device

STYLES = {"same": "green", "drifted": "bold red", "not enough samples": "yellow"}
BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 16


def drift_table(drift: Drift, baseline: Statistics, seen: Statistics) -> Table:
    """Return a table of all comparisons with their histograms; a bar is as high as the root of its share."""
    table = make_table("Drift", "", "statistic", "test", "field", "change", "threshold", "p-value", "verdict")
    for column in table.columns[4:7]:
        column.justify = "right"
    tested, field = histograms(baseline), histograms(seen)
    for item in drift.items:
        bars = ("", "")
        if item.side != "latency":
            key = (item.side, item.tensor, item.what)
            bars = sparklines(tested[key], field[key])
        table.add_row(
            f"{item.side} {item.tensor}" if item.side != "latency" else "latency",
            item.what,
            *bars,
            f"{item.measure} {item.size:.3f}",
            f"{item.floor:g}",
            _chance(item),
            Text(_verdict(item), STYLES[item.verdict]),
        )
    table.caption = (
        f"{drift.samples:,} samples compared with {drift.baseline_samples:,} test samples; "
        f"false-alarm probability: {drift.alpha:.2%} per comparison, 5 % overall"
    )
    table.caption_justify = "left"
    return table


def device_table(devices: Sequence[Device]) -> Table:
    """Return a table of the devices: latency, its median against that of the first, and the drift verdict."""
    from deploy.monitor.measures import quantile_of

    columns = ("device", "samples", "inferences", "p50 µs", "p95 µs", "p99 µs", "vs. first", "drift")
    table = make_table("Devices", *columns)
    for column in table.columns[1:7]:
        column.justify = "right"
    for device in devices:
        latency, ratio = device.seen.latency_us, device.ratio
        cells = [
            f"{quantile_of(latency.counts, share, latency.lowest, latency.ratio):,.0f}"
            if sum(latency.counts)
            else "-"
            for share in (0.5, 0.95, 0.99)
        ]
        shown = "" if ratio is None else f"{ratio.size:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        verdict = device.drift.verdict if device.drift else ""
        counts = (f"{device.seen.observed:,}", f"{device.seen.inferences:,}")
        table.add_row(device.address, *counts, *cells, shown, Text(verdict, STYLES.get(verdict, "")))
    return table


def drift_lines(drift: Drift, advice: Sequence[Advice], where: str = "") -> RenderableType:
    """Return the estimated accuracy and the advice; each line begins with ``where``."""
    lines = Text()
    # The confidence means nothing if the sensor is broken.
    blind = any(item.action == "check the sensor" for item in advice)
    for one in () if blind else drift.estimates:
        low, high = sorted((one.thresholded, one.averaged))
        lines.append(
            f"{where}{one.output}: accuracy {one.tested:.1%} in the test; estimated from the confidence, "
            f"without labels: {low:.1%} to {high:.1%} now. With strong drift the estimate is too high.\n"
        )
    for item in advice:
        lines.append(f"{where}{item.action}: ", "bold")
        lines.append(f"{item.why}. Next: {item.then}.\n")
    lines.rstrip()
    return lines


def histograms(found: Statistics) -> dict[tuple[str, str, str], tuple[int, ...]]:
    """Return all histograms by side, tensor and statistic."""
    rows: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for one in found.inputs:
        rows |= {("input", one.name, what): getattr(one, what) for what in ("values", "means", "spreads")}
        rows |= {("input", one.name, f"channel {at}"): counts for at, counts in enumerate(one.channels)}
    for out in found.outputs:
        rows |= {
            ("output", out.name, what): getattr(out, what) or ()
            for what in ("values", "confidence", "classes")
        }
    return rows


def sparklines(before: Sequence[int], now: Sequence[int]) -> tuple[str, str]:
    """Return two histograms as bars with a common scale, each at most 16 characters wide."""
    rows = []
    for counts in (before, now):
        parts = np.array_split(np.asarray(counts, np.float64), min(COLUMNS, len(counts)))
        sums = np.array([part.sum() for part in parts])
        rows.append(np.sqrt(sums / max(sums.sum(), 1.0)))
    top = max(row.max() for row in rows) or 1.0
    first, second = ("".join(_bar(height / top) for height in row) for row in rows)
    return first, second


def _bar(share: float) -> str:
    return " " if share == 0 else BARS[min(math.ceil(share * len(BARS)), len(BARS)) - 1]


def _chance(item: Item) -> str:
    if item.p_value is None:
        return f"{item.low:.2f} to {item.high:.2f}"
    return "< 0.01 %" if item.p_value < 1e-4 else f"{item.p_value:.2%}"


def _verdict(item: Item) -> str:
    if item.verdict == "drifted":
        return "large drift" if item.size >= item.large else "drifted"
    if item.verdict == "same":
        return "same"
    return "test set too small" if item.needed is None else f"needs {item.needed:,}"
