"""A report for people: on a terminal with colour, and as report.txt without."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from pipeline.validate.latency import Timings
    from pipeline.validate.report import DeviceResult, ModelFile, Report, RuntimeAccuracy

TEXT_WIDTH = 110
STYLES = {
    "passed": "green",
    "failed": "bold red",
    "warning": "yellow",
    "inconclusive": "yellow",
    "not judged": "dim",
}


def report_text(report: Report) -> str:
    """The whole report as plain text."""
    stream = io.StringIO()
    # Names come from the user's files: a bracket in one is a bracket, and no style.
    console = Console(file=stream, width=TEXT_WIDTH, color_system=None, highlight=False, markup=False)
    console.print(Text(f"{report.name}: {'passed' if report.passed else 'FAILED'}"))
    for part in (*summary(report), *details(report)):
        console.print()
        console.print(part)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def summary(report: Report) -> tuple[RenderableType, ...]:
    """What a terminal shows: float beside int8, and every gate."""
    return (_figures(report), _gates(report))


def details(report: Report) -> Iterator[RenderableType]:
    """What only the report shows: classes, layers, nodes and runtimes."""
    if report.preprocessing:
        yield Text(f"preprocessing: {report.preprocessing}")
    if report.rewrites:
        yield Text("graph preparation:\n" + "\n".join(f"  {line}" for line in report.rewrites))
    if report.accuracy is not None:
        yield _classes(report)
    if report.layers:
        yield _layers(report)
    yield _nodes(report)
    yield _runtimes(report)
    if report.latency is not None:
        # The lines of TFLite's benchmark_model, which other tools parse.
        yield Text(f"host latency, float\n{report.latency.baseline}")
        yield Text(f"host latency, int8\n{report.latency.quantized}")


def _table(title: str, *columns: str, numbers: int = 0) -> Table:
    """A table whose last ``numbers`` columns are right-aligned."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, column in enumerate(columns):
        table.add_column(
            column, justify="right" if index >= len(columns) - numbers else "left", overflow="fold"
        )
    return table


def _figures(report: Report) -> Table:
    table = _table("Float beside int8", "", "float", "int8", "", numbers=3)
    found, baseline = report.accuracy, report.baseline
    if found is not None:
        interval = (
            f"{found.difference_points:+.2f} points [{found.low_points:+.2f}, {found.high_points:+.2f}]"
        )
        table.add_row(
            f"accuracy, {found.samples:,} samples",
            f"{found.baseline_accuracy:.2%}",
            f"{found.quantized_accuracy:.2%}",
            interval,
        )
    for what, size in (("size, bytes", _size), ("compressed, bytes", _compressed)):
        got = size(report.quantized)
        ratio = f"{size(baseline) / got:.1f}x smaller" if baseline else ""
        table.add_row(what, f"{size(baseline):,}" if baseline else "", f"{got:,}", ratio)
    if baseline is not None:
        download = baseline.size_bytes / report.quantized.compressed_bytes
        table.add_row("download against float file", "", "", f"{download:.1f}x smaller")
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
        table.add_row(
            "host latency, median µs", _median(latency.baseline), _median(latency.quantized), speedup
        )
    return table


def _size(file: ModelFile) -> int:
    return file.size_bytes


def _compressed(file: ModelFile) -> int:
    return file.compressed_bytes


def _median(timings: Timings) -> str:
    return f"{timings.p50:,.0f}"


def _device_row(table: Table, device: DeviceResult) -> None:
    if device.quantized is None:
        return
    baseline = f"{device.baseline.instructions:,}" if device.baseline else ""
    ratio = device.instruction_ratio
    comparison = "" if ratio is None else f"{ratio:.2f}x fewer" if ratio >= 1 else f"{1 / ratio:.2f}x more"
    table.add_row(
        f"emulated instructions, {device.device}", baseline, f"{device.quantized.instructions:,}", comparison
    )


def _gates(report: Report) -> Table:
    table = _table("Gates", "gate", "outcome", "got", "allowed")
    for verdict in report.verdicts:
        table.add_row(
            verdict.gate, Text(verdict.outcome, STYLES[verdict.outcome]), verdict.got, verdict.allowed
        )
    return table


def _classes(report: Report) -> Group:
    found = report.accuracy
    assert found is not None
    flips = f"{found.right_to_wrong} right to wrong, {found.wrong_to_right} wrong to right"
    flips += f", McNemar p = {found.mcnemar_p:.3f}"
    table = _table("Recall per class", "class", "float", "int8", numbers=2)
    for name, before, after in zip(
        report.classes, found.baseline_recall, found.quantized_recall, strict=False
    ):
        table.add_row(name, _share(before), _share(after))
    return Group(table, Text(flips))


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _layers(report: Report) -> Table:
    table = _table("Keras layers", "layer", "kind", "treatment", "reason")
    for layer in report.layers:
        table.add_row(layer.name, layer.kind, layer.treatment, layer.reason)
    return table


def _nodes(report: Report) -> Table:
    """Where every node runs, a column for each runtime."""
    places = report.delegation
    table = _table("Nodes and where they run", "node", "operator", *(place.runtime for place in places))
    for index, node in enumerate(places[0].nodes):
        table.add_row(str(index), node.op, *(place.nodes[index].placement for place in places))
    table.add_row(
        "",
        "multiply-accumulates in XNNPACK int8",
        *(f"{place.share('xnnpack-int8'):.1%}" for place in places),
    )
    table.add_row("", "partitions", *(str(place.partitions) for place in places))
    return table


def _runtimes(report: Report) -> Table:
    columns = ("runtime", "golden samples", "differing", "by up to", "accuracy")
    table = _table("The same file on every runtime, against the host's LiteRT", *columns, numbers=4)
    for host in report.runtimes:
        if host.problem:
            table.add_row(host.runtime, "", "", "", "cannot run it")
            continue
        accuracy = "" if host.accuracy is None else f"{host.accuracy:.2%} of {host.samples:,}"
        table.add_row(host.runtime, *_bits(host), accuracy)
    for device in report.devices:
        accuracy = "" if report.accuracy is None or device.differing_samples else "the host's"
        if device.accuracy is not None:
            accuracy = f"{device.accuracy.quantized_accuracy:.2%} of {device.accuracy.samples:,}"
        table.add_row(device.title, *_bits(device), accuracy)
    return table


def _bits(found: RuntimeAccuracy | DeviceResult) -> tuple[str, str, str]:
    return f"{found.golden_samples:,}", f"{found.differing_samples:,}", f"{found.largest_difference:g} steps"
