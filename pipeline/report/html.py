"""A report as one HTML file: nothing is fetched, so that it can be mailed and archived.

One script, which sorts tables, runs; its hash is in the page's policy, so that no other does.

Names of classes, layers and files come from users: the template escapes whatever it prints.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pipeline.flatbuffer import printable
from pipeline.report.choices import baselines_line, difference, more, note, points
from pipeline.report.compatibility import since_words
from pipeline.report.curves import latency_charts, soak_charts
from pipeline.report.graph import drawings
from pipeline.report.layers import device_costs, layer_rows, unnamed_inputs
from pipeline.report.mistakes import confidence_outlines, matrices, series_lines, severity_curves
from pipeline.report.steps import cells, headings
from pipeline.report.trainings import curve_points, distributions, outline_points
from pipeline.validation.gates.quality import change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jinja2 import Environment

    from pipeline.tasks.comparison import Metric
    from pipeline.validation.report import Outcome, Report

WIDTH, HEIGHT = 260, 22
"""Size of an interval's drawing, in CSS pixels."""
MAX_CLASSES = 50
MAX_OPERATORS = 400
HEAT = ((-4.0, "worse3"), (-2.0, "worse2"), (-1.0, "worse1"), (1.0, ""))
OUTCOMES: tuple[Outcome, ...] = ("failed", "inconclusive", "warning", "skipped", "passed")


@dataclass(frozen=True)
class Drawing:
    """An interval on an axis with 0 in the middle: where its parts are, in CSS pixels."""

    low: float
    estimate: float
    high: float
    reach: float
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class Bar:
    """An operator's share of the largest, 0..100, and what it is of in words."""

    percent: float
    share: str
    words: str


def write_html(report: Report, path: Path) -> None:
    """Write the page."""
    path.write_text(report_html(report), encoding="utf-8")


def report_html(report: Report, plots: Sequence[Any] = (), trial: str = "") -> str:
    """Return the whole report as a page of its own.

    Sections that the report has no data for are left out.

    Args:
        plots: of the search that the build is part of, as ``searching/plots.py`` makes them.
        trial: what the build is in that search, in words.
    """
    counts = Counter(verdict.outcome for verdict in report.verdicts)
    script = files("pipeline.report").joinpath("sort.js").read_text(encoding="utf-8")
    origin = report.provenance
    return render(
        "report.html.j2",
        report=report,
        plots=plots,
        trial=trial,
        counts=[(outcome, counts[outcome]) for outcome in OUTCOMES if counts[outcome]],
        verdicts=sorted(report.verdicts, key=lambda verdict: OUTCOMES.index(verdict.outcome)),
        classes={found.output: _worst_classes(found.classes) for found in report.accuracy},
        bars=_bars(getattr(report, "operators", None)),
        max_classes=MAX_CLASSES,
        max_operators=MAX_OPERATORS,
        layers_seen=distributions(report.trainings),
        layers=layer_rows(report),
        costs=device_costs(report.operators),
        graphs=drawings(report),
        latencies=latency_charts(report),
        soaks_drawn=soak_charts(report.stability.soaks) if report.stability else [],
        tools=sorted((report.tools | (origin.tools if origin else {})).items()),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render(template: str, **values: Any) -> str:
    """Render a template of this package; whatever it prints is escaped.

    Args:
        template: the name of its file.
        values: its variables.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    """Return what reads, compiles and keeps the templates."""
    import jinja2  # not at the start of every command

    folder = files("pipeline.report")
    # A string that is printed is escaped, and its control characters are shown as escapes.
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(
        thousands=lambda value: f"{value:,.0f}",
        percent=lambda value: "none" if value is None else f"{value:.1%}",
        number="{:.4g}".format,
        signed=lambda value: f"{value:+.2f}",
        shade=_shade,
        interval=_drawing,
        change=_change,
        since=since_words,
        curve=curve_points,
        outline=outline_points,
        headings=headings,
        cells=cells,
        difference=difference,
        choice=note,
        baselines=baselines_line,
        more=more,
        points=points,
        matrices=matrices,
        outlines=confidence_outlines,
        curves=severity_curves,
        lines=series_lines,
        inputs=unnamed_inputs,
    )
    return environment


def _finalize(value: Any) -> Any:
    # Markup of the template itself is a subclass of str, and stays.
    return printable(value) if type(value) is str else value


def _drawing(metrics: Sequence[Metric], index: int) -> Drawing | None:
    """Place one metric's interval on an axis that it shares with the others of its unit."""
    metric = metrics[index]
    if metric.low is None or metric.high is None:
        return None
    ends = [
        abs(end)
        for other in metrics
        if other.unit == metric.unit
        for end in (other.low, other.high)
        if end is not None
    ]
    reach = max(*ends, 1.0 if metric.unit == "points" else 1e-12) * 1.1

    def x(value: float) -> float:
        return round(WIDTH / 2 * (1 + value / reach), 1)

    return Drawing(x(metric.low), x(metric.difference), x(metric.high), reach)


def _change(metric: Metric) -> str:
    if metric.unit == "points":
        return change(metric)
    interval = "" if metric.low is None else f" [{metric.low:+.4g}, {metric.high:+.4g}]"
    return f"{metric.difference:+.4g} {metric.unit}{interval}"


def _shade(excess: float) -> str:
    return next((name for limit, name in HEAT if excess <= limit), "better")


def _worst_classes(classes: Sequence[Any]) -> list[Any]:
    """Return all classes, or those that lose most recall."""
    if len(classes) <= MAX_CLASSES:
        return list(classes)
    lost = sorted(classes, key=lambda row: (row.quantized.recall or 0) - (row.baseline.recall or 0))
    return lost[:MAX_CLASSES]


def _bars(breakdown: Any) -> list[Bar]:
    """A bar for each operator: of instructions where they were counted, else host time or MACs."""
    operators = breakdown.operators[:MAX_OPERATORS] if breakdown else ()
    device = next((name for row in operators for name in row.instructions), None)
    if device is not None:
        values = [float(row.instructions.get(device, 0)) for row in operators]
        unit = f"instructions, emulated {device}"
    elif any(row.host_us for row in operators):
        values, unit = [row.host_us or 0.0 for row in operators], "µs on this host"
    else:
        values, unit = [float(row.macs) for row in operators], "multiply-accumulates"
    most, total = max(values, default=0) or 1, sum(values) or 1
    return [
        Bar(round(100 * value / most, 1), f"{value / total:.1%}", f"{value:,.0f} {unit}") for value in values
    ]
