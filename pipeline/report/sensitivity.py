"""Which layers lose accuracy in int8, as tables and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.html import render
from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from pipeline.tasks.comparison import Metric
    from pipeline.validation.sensitivity import Effect, LayerSensitivity, Sensitivity

EXACT = "exact"
WIDTH, ROW, LEFT, RIGHT = 900, 24, 250, 170
"""Size of the plot, of a row and of the margins for names and metrics, in CSS pixels."""
MAX_DB = 80.0
TICK_DB = 10


def sensitivity_parts(name: str, found: Sensitivity) -> Iterator[RenderableType]:
    """Return the tables for a terminal: the effects of layers, then their errors in order of execution."""
    yield summary(name, found)
    yield _effects(found)
    yield _errors(found)
    yield "\n".join(notes(found))


def summary(name: str, found: Sensitivity) -> str:
    """Return the model's own loss in a line or two."""
    lines = [f"{name}: {decibels(found.int8.sqnr_db)} dB at the outputs, on {found.samples:,} samples"]
    lines += [f"{_named(metric)}: {_change(metric)}" for metric in found.int8.metrics]
    return "\n".join(lines)


def notes(found: Sensitivity) -> Iterator[str]:
    """Return what the figures mean and rest on."""
    yield (
        "Each layer is rounded or left in float alone, in a simulation; channel: the median channel; input: "
        "the worst input; added: the output if all inputs were exact."
    )
    yield (
        f"The simulation of all layers and the int8 file agree in {found.equal:.2%} of the outputs; "
        f"they differ by at most {found.largest_steps:.3g} steps."
    )
    if not found.float_weights:
        yield (
            "The float weights are unknown: the rounding of weights is not part of these errors. "
            "Pass the float file of the same weights with --baseline."
        )


def decibels(value: float | None) -> str:
    """Return a ratio in dB as text."""
    return EXACT if value is None else f"{value:.1f}"


def span(low: float, high: float) -> str:
    """Return a range as text; an end that is next to nothing is 0."""
    return "..".join("0" if abs(end) < (high - low) / 1000 else f"{end:.3g}" for end in (low, high))


def worst(effect: Effect) -> Metric | None:
    """Return the metric of the output that loses most, or None without targets."""
    return min(effect.metrics, key=lambda metric: metric.gain[0], default=None)


def _named(metric: Metric) -> str:
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name


def _change(metric: Metric) -> str:
    interval = "" if metric.low is None else f" [{metric.low:+.3g}, {metric.high:+.3g}]"
    return f"float {metric.baseline:.4g}, int8 {metric.quantized:.4g}, {metric.difference:+.3g}{interval}"


def _difference(effect: Effect) -> str:
    metric = worst(effect)
    return "" if metric is None else f"{metric.difference:+.3g}"


def _effects(found: Sensitivity) -> RenderableType:
    metric = worst(found.int8)
    unit = _named(metric) if metric else ""
    titles = ("only int8, dB", "only float, dB")
    columns = [each for title in titles for each in ((title, unit) if unit else (title,))]
    table = make_table(
        "Effect of each layer on the outputs, the worst first", "layer", *columns, numbers=len(columns)
    )
    for row in found.layers:
        cells = []
        for effect in (row.only_rounded, row.only_float):
            cells += [decibels(effect.sqnr_db), *([_difference(effect)] if unit else [])]
        table.add_row(Text(row.layer), *cells)
    return table


def _errors(found: Sensitivity) -> RenderableType:
    table = make_table(
        "Errors in dB (signal to quantization noise), and ranges, in order of execution",
        "layer", "output", "channel", "input", "added", "saturated", "float", "int8",
        numbers=7,
    )  # fmt: skip
    for row in in_order(found.layers):
        if row.error is None:
            table.add_row(Text(row.layer), "", "", "", "", "", "not in steps", "")
            continue
        output = row.error.output
        table.add_row(
            Text(row.layer),
            decibels(output.sqnr_db),
            decibels(output.channel_sqnr_db),
            decibels(row.error.input_sqnr_db),
            decibels(row.error.added_sqnr_db),
            f"{output.saturated:.2%}",
            span(output.low, output.high),
            span(output.int8_low, output.int8_high),
        )
    return table


def in_order(layers: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    """Return the layers in order of execution."""
    return sorted(layers, key=lambda row: row.place)


@dataclass(frozen=True)
class Point:
    """A layer in the plot: places in CSS pixels."""

    row: LayerSensitivity
    y: int
    rounded: float
    kept: float
    metric: str


def sensitivity_html(name: str, found: Sensitivity, rewrites: Sequence[str]) -> str:
    """Return a page with the ranked plot and all figures, which fetches nothing and runs no script."""
    points = [
        Point(
            row=row,
            y=ROW * place + ROW // 2,
            rounded=_x(row.only_rounded.sqnr_db),
            kept=_x(row.only_float.sqnr_db),
            metric=_difference(row.only_rounded),
        )
        for place, row in enumerate(found.layers)
    ]
    metric = worst(found.int8)
    return render(
        "sensitivity.html.j2",
        name=name,
        found=found,
        summary=summary(name, found).splitlines(),
        notes=list(notes(found)),
        rewrites=rewrites,
        points=points,
        whole=_x(found.int8.sqnr_db),
        ticks=[(_x(float(db)), db) for db in range(0, int(MAX_DB) + 1, TICK_DB)],
        unit=_named(metric) if metric else "",
        layers=in_order(found.layers),
        size=(WIDTH, ROW * len(points), LEFT, RIGHT, ROW),
        decibels=decibels,
        span=span,
        change=_difference,
    )


def _x(db: float | None) -> float:
    """Return where a ratio is in the plot; exact values and those out of reach are at its ends."""
    share = 1.0 if db is None else min(max(db / MAX_DB, 0.0), 1.0)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)
