"""A report for people: on a terminal with colour, and as report.txt without."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from pipeline.figures import compared, microseconds
from pipeline.report.against import against_tables
from pipeline.report.board import board_tables
from pipeline.report.breakdown import breakdown_tables
from pipeline.report.choices import choice_tables
from pipeline.report.compatibility import compatibility_tables
from pipeline.report.costs import device_table, host_lines, host_table
from pipeline.report.gates import gates_table, open_gates, verdict_line
from pipeline.report.parity import parity_tables
from pipeline.report.shift import shift_details, shift_summary
from pipeline.report.stability import stability_tables
from pipeline.report.steps import step_tables
from pipeline.report.tables import make_table
from pipeline.tasks.comparison import POINTS
from pipeline.terminal import FILE_WIDTH, Terminal
from pipeline.validation.gates.quality import change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.tasks.comparison import ClassScores, Comparison, Metric
    from pipeline.validation.model_under_test import ModelFile
    from pipeline.validation.report import DeviceResult, Report, RuntimeAccuracy

MAX_CLASSES = 50


def report_text(report: Report) -> str:
    """Return the whole report as plain text."""
    stream = io.StringIO()
    # Names come from the user's files: a bracket in one is a bracket, and no style.
    console = Terminal(file=stream, width=FILE_WIDTH, color_system=None, highlight=False, markup=False)
    console.print(verdict_line(report))
    for part in (*summary(report), *details(report)):
        console.print()
        console.print(part)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def report_parts(report: Report, *, full: bool) -> Iterator[RenderableType]:
    """Yield what a terminal shows of a report: its conclusions, or all of it."""
    if not full:
        yield from ending(report)
        return
    yield verdict_line(report)
    yield from summary(report)
    yield from details(report)


def summary(report: Report) -> tuple[RenderableType, ...]:
    """Return float next to int8, what was chosen, and every gate."""
    shift = (shift_summary(report.shift),) if report.shift else ()
    metrics = (_metrics(report, found) for found in report.accuracy)
    choices = choice_tables(report.baselines, report.candidates, report.repairs, report.precision)
    return (
        _figures(report),
        *metrics,
        *step_tables(report.steps),
        *choices,
        *shift,
        gates_table(report.verdicts),
    )


def ending(report: Report) -> Iterator[RenderableType]:
    """Yield the verdict, the gates that did not pass, float next to int8, and what was chosen and why."""
    yield verdict_line(report)
    if report.verdicts:
        yield open_gates(report)
    yield _figures(report)
    for found in report.accuracy:
        yield _metrics(report, found)
    yield from _chosen(report)
    yield from choice_tables(report.baselines, report.candidates, report.repairs, report.precision)


def _chosen(report: Report) -> Iterator[Table]:
    """Yield what was inferred or chosen, with its evidence; nothing for a file without any."""
    task = "; ".join(note.removeprefix("task: ") for note in report.notes if note.startswith("task"))
    task = task or "; ".join(f"{found.task} {found.output}".strip() for found in report.accuracy)
    rows = {"task": task, "preprocessing": report.preprocessing, "recipe": report.recipe}
    rows["format"] = f"{report.format}: {report.format_reason}" if report.degraded else ""
    if any(rows.values()):
        table = make_table("Chosen", "", "")
        table.show_header = False
        for name, value in rows.items():
            if value:
                table.add_row(name, value)
        yield table


def details(report: Report) -> Iterator[RenderableType]:
    """Return the part for the report only: classes, layers, nodes and runtimes."""
    if report.notes:
        yield Text("notes:\n" + "\n".join(f"  {line}" for line in report.notes))
    if report.recipe:
        yield Text(f"recipe: {report.recipe}")
    if report.preprocessing:
        yield Text(f"preprocessing: {report.preprocessing}")
    if report.rewrites:
        yield Text("graph preparation:\n" + "\n".join(f"  {line}" for line in report.rewrites))
    for found in report.accuracy:
        yield from _answers(report, found)
    if report.layers:
        yield _layers(report)
    yield _nodes(report)
    yield _runtimes(report)
    yield from parity_tables(report.parity)
    yield from compatibility_tables(report.compatibility)
    if report.shift is not None:
        yield from shift_details(report.shift)
    if report.stability is not None:
        yield from stability_tables(report.stability)
    if report.board is not None:
        yield from board_tables(report.board.run)
    if report.operators is not None:
        yield from breakdown_tables(report.operators)
    if report.against is not None:
        yield from against_tables(report.against)
    real = [device.latency for device in report.devices if device.latency is not None]
    if real:
        yield device_table(real)
    if report.times:
        yield host_table(report.times)
        # The lines of TFLite's benchmark_model, which other tools parse.
        yield Text("\n".join(line for row in report.times for line in host_lines(row)))


def _figures(report: Report) -> Table:
    ours = _format(report)
    table = make_table(f"Float beside {ours}", "", "float", ours, "", numbers=3)
    baseline = report.baseline
    for what, size in (("size, bytes", _size), ("compressed, bytes", _compressed)):
        got = size(report.quantized)
        ratio = compared(size(baseline) / got, "smaller", "larger", 1) if baseline else ""
        table.add_row(what, f"{size(baseline):,}" if baseline else "", f"{got:,}", ratio)
    if baseline is not None:
        download = baseline.size_bytes / report.quantized.compressed_bytes
        smaller = compared(download, "smaller", "larger", 1)
        table.add_row("download against float file", "", "", smaller)
    table.add_row(
        "weights that are zero",
        f"{baseline.sparsity:.1%}" if baseline else "",
        f"{report.quantized.sparsity:.1%}",
        "",
    )
    for device in report.devices:
        _device_row(table, device)
    if report.latency is not None:
        latency = report.latency
        speedup = f"{latency.speedup:.2f}x [{latency.low:.2f}, {latency.high:.2f}], {latency.verdict}"
        medians = (microseconds(found.p50) for found in (latency.baseline, latency.quantized))
        table.add_row("host latency, median µs", *medians, speedup)
    return table


def _size(file: ModelFile) -> int:
    return file.size_bytes


def _compressed(file: ModelFile) -> int:
    return file.compressed_bytes


def _device_row(table: Table, device: DeviceResult) -> None:
    if device.quantized is None:
        return
    baseline = f"{device.baseline.instructions:,}" if device.baseline else ""
    ratio = device.instruction_ratio
    comparison = "" if ratio is None else compared(ratio, "fewer", "more")
    table.add_row(
        f"emulated instructions, {device.device}", baseline, f"{device.quantized.instructions:,}", comparison
    )


def _format(report: Report) -> str:
    """Return the headings of the model's columns."""
    return "int8" if report.format.startswith("int8") else report.format


def _metrics(report: Report, found: Comparison) -> Group:
    title = f"{found.task} on {found.samples:,} samples"
    title = f"{found.output}: {title}" if found.output else title.capitalize()
    table = make_table("", "", "float", _format(report), "difference [95 % interval]", numbers=3)
    for metric in found.metrics:
        name = metric.name if metric.unit == POINTS else f"{metric.name}, {metric.unit}"
        table.add_row(name, *_values(metric))
    return Group(Text(title, "bold"), table)


def _values(metric: Metric) -> tuple[str, str, str]:
    """Return both values and the difference, with the significant digits of the larger value."""
    if metric.unit == POINTS:
        return f"{metric.baseline:.2f}%", f"{metric.quantized:.2f}%", change(metric)
    largest = max(abs(metric.baseline), abs(metric.quantized))
    digits = max(3 - math.floor(math.log10(largest)), 0) if largest else 0
    difference = f"{metric.difference:+,.{digits}f}"
    if metric.low is not None:
        difference += f" [{metric.low:+,.{digits}f}, {metric.high:+,.{digits}f}]"
    return f"{metric.baseline:,.{digits}f}", f"{metric.quantized:,.{digits}f}", difference


def _answers(report: Report, found: Comparison) -> Iterator[RenderableType]:
    """Yield each class, and how the answers of both models differ."""
    if found.classes:
        yield _classes(report, found)
    if found.channels:
        yield _channels(report, found)
    lines = [f"note: {found.note}"] if found.note else []
    if found.flips is not None:
        flips = (
            f"{found.flips.right_to_wrong:,} right to wrong, {found.flips.wrong_to_right:,} wrong to right"
        )
        lines.append(f"{flips}, McNemar p = {found.flips.mcnemar_p:.3f}")
    if found.agreement is not None:
        drift = found.confidence_drift
        moved = "" if drift is None else f", confidence moved by {drift:.4f} on average"
        lines.append(f"{found.agreement:.2%} of the answers are the same{moved}")
    before, after = found.baseline_calibration_error, found.quantized_calibration_error
    if before is not None and after is not None:
        lines.append(f"calibration error: float {before:.4f}, {_format(report)} {after:.4f}")
    if lines:
        yield Text("\n".join(f"{found.output}: {line}" if found.output else line for line in lines))


def _classes(report: Report, found: Comparison) -> Table:
    """Recall, precision and F1 of every class; of many those that lose most recall."""
    rows, title = list(found.classes), "Classes"
    if len(rows) > MAX_CLASSES:
        rows = sorted(rows, key=_recall_change)[:MAX_CLASSES]
        title = f"The {MAX_CLASSES} of {len(found.classes):,} classes that lose most recall"
    unit = found.counted
    columns = [
        f"{score}\n{model}" for score in ("recall", "precision", "F1") for model in ("float", _format(report))
    ]
    table = make_table(
        f"{found.output}: {title}" if found.output else title, "class", unit, *columns, numbers=7
    )
    for row in rows:
        before, after = row.baseline, row.quantized
        shares = (before.recall, after.recall, before.precision, after.precision, before.f1, after.f1)
        table.add_row(row.name, f"{row.support:,}", *map(_share, shares))
    return table


def _channels(report: Report, found: Comparison) -> Table:
    """R2 of every number or channel; of many those that lose most."""
    rows = found.channels[:MAX_CLASSES]
    title = "Channels of the output"
    if len(rows) < found.channel_count:
        title = f"The {len(rows)} of {found.channel_count:,} channels of the output that lose most"
    columns = ("channel", "targets vary by", "R2, float", f"R2, {_format(report)}")
    table = make_table(
        f"{found.output}: {title}" if found.output else title,
        *columns,
        "difference [95 % interval]",
        numbers=4,
    )
    for row in rows:
        table.add_row(row.name, f"{row.spread:.4g}", *_values(row.explained))
    return table


def _recall_change(row: ClassScores) -> float:
    return row.recall_change


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _layers(report: Report) -> Table:
    table = make_table("Keras layers", "layer", "kind", "treatment", "reason")
    for layer in report.layers:
        table.add_row(layer.name, layer.kind, layer.treatment, layer.reason)
    return table


def _nodes(report: Report) -> Table:
    """Return a table of the placement of every node, one column per runtime."""
    places = report.delegation
    table = make_table("Nodes and where they run", "node", "operator", *(place.runtime for place in places))
    for index, node in enumerate(places[0].nodes):
        table.add_row(str(index), node.op, *(place.nodes[index].placement for place in places))
    table.add_row(
        "",
        "multiply-accumulates in XNNPACK int8",
        *(f"{place.share('xnnpack-int8'):.1%}" for place in places),
    )
    if report.degraded:
        shares = (f"{place.share('xnnpack-float'):.1%}" for place in places)
        table.add_row("", "multiply-accumulates in XNNPACK float", *shares)
    table.add_row("", "partitions", *(str(place.partitions) for place in places))
    return table


def _runtimes(report: Report) -> Table:
    columns = ("runtime", "golden samples", "differing", "by up to", "accuracy")
    table = make_table("The same file on every runtime, against the host's LiteRT", *columns, numbers=4)
    for host in report.runtimes:
        if host.problem:
            table.add_row(host.runtime, "", "", "", "cannot run it")
            continue
        accuracy = "" if host.value is None else f"{host.metric} {host.value:.2f}% of {host.samples:,}"
        table.add_row(host.runtime, *_bits(host), accuracy)
    for device in report.devices:
        accuracy = "" if not report.accuracy or device.differing_samples else "the host's"
        if device.accuracy:
            primary, samples = device.accuracy[0].primary, device.accuracy[0].samples
            accuracy = f"{primary.name} {primary.quantized:.2f}% of {samples:,}"
        table.add_row(device.title, *_bits(device), accuracy)
    return table


def _bits(found: RuntimeAccuracy | DeviceResult) -> tuple[str, str, str]:
    return f"{found.golden_samples:,}", f"{found.differing_samples:,}", f"{found.largest_difference:g} steps"
