"""The diagnosis of a calibration set for people: on a terminal, and as diagnosis.txt."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.gates import STYLES
from pipeline.report.tables import make_table
from pipeline.terminal import FILE_WIDTH, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from calibration.checks import Coverage
    from calibration.diagnosis import Diagnosis
    from calibration.tensor_checks import TensorChecks

MAX_CHANNELS = 16
MAX_STRATA = 30
MAX_TENSORS = 20


def diagnosis_text(found: Diagnosis) -> str:
    """Return the whole diagnosis as plain text."""
    stream = io.StringIO()
    console = Terminal(file=stream, width=FILE_WIDTH, color_system=None, highlight=False, markup=False)
    for part in diagnosis_parts(found):
        console.print(part, soft_wrap=isinstance(part, str))
        console.print()
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def diagnosis_parts(found: Diagnosis) -> Iterator[RenderableType]:
    """Return the parts of the diagnosis: the measurements, then the findings with their fixes."""
    yield title(found)
    for coverage in found.samples.coverage:
        yield _strata(coverage)
    yield _inputs(found)
    if found.ranges is not None and found.ranges.tensors:
        yield _tensors(found.ranges)
        yield _curve(found.ranges)
    yield _findings(found)


def title(found: Diagnosis) -> str:
    """Return what was checked, in one line."""
    samples = found.samples
    return (
        f"{samples.samples:,} of {samples.training_samples:,} training samples; "
        f"sampling: {samples.sampling}, seed {samples.seed}; ranges: {found.method}; "
        f"preprocessing {samples.fingerprint}"
    )


def _strata(coverage: Coverage) -> Table:
    more = len(coverage.strata) - MAX_STRATA
    caption = f"Strata by {coverage.trait}" + (f", the first {MAX_STRATA}" if more > 0 else "")
    table = make_table(caption, "stratum", "samples", "share", "training samples", "share", numbers=4)
    chosen = sum(each.samples for each in coverage.strata) or 1
    every = sum(each.training_samples for each in coverage.strata) or 1
    for each in coverage.strata[:MAX_STRATA]:
        table.add_row(
            each.name,
            f"{each.samples:,}",
            f"{each.samples / chosen:.1%}",
            f"{each.training_samples:,}",
            f"{each.training_samples / every:.1%}",
            style="" if each.samples else STYLES["failed"],
        )
    return table


def _inputs(found: Diagnosis) -> Table:
    table = make_table(
        "Inputs after preprocessing", "input", "channel", "mean", "std", "minimum", "maximum", numbers=5
    )
    for each in found.samples.inputs:
        table.add_row(f"{each.name}: {each.transform}")
        for index, channel in enumerate(each.channels[:MAX_CHANNELS]):
            values = (channel.mean, channel.std, channel.min, channel.max)
            table.add_row("", str(index), *(f"{value:.4g}" for value in values))
        if len(each.channels) > MAX_CHANNELS:
            table.add_row("", f"{len(each.channels) - MAX_CHANNELS} more")
    return table


def _tensors(ranges: TensorChecks) -> Table:
    """Return the tensors whose range depends most on one sample."""
    shown = sorted(ranges.tensors, key=lambda each: -each.influence)[:MAX_TENSORS]
    more = len(ranges.tensors) - len(shown)
    table = make_table(
        "Tensors: shares of the range due to one sample and to the 1 % most extreme ones, used by 99.9 % of "
        "the values, different between quarters of the samples; error above the best range"
        + (f"; {more} more tensors are in the JSON" if more else ""),
        *("tensor", "one sample", "row", "1 %", "99.9 % use", "subsets", "error, dB"),
        numbers=6,
    )
    for each in shown:
        table.add_row(
            each.name,
            f"{each.influence:.1%}",
            str(each.row),
            f"{each.trimmed:.1%}",
            f"{each.used:.1%}",
            "" if each.spread is None else f"{each.spread:.1%}",
            f"{each.error_db:.1f}",
        )
    return table


def _curve(ranges: TensorChecks) -> Table:
    table = make_table(
        "Min-max ranges of random subsets: errors of tensors above those of the best ranges, and widths",
        *("samples", "error, dB", "90 % interval", "width", "worst tensor", "twice as many"),
        numbers=6,
    )
    for point in ranges.curve:
        table.add_row(
            f"{point.samples:,}",
            f"{point.error_db:.2f}",
            f"{point.low_db:.2f} to {point.high_db:.2f}",
            f"{point.coverage:.1%}",
            f"{point.worst:.1%}",
            "" if point.growth is None else f"+{point.growth:.1%}",
        )
    return table


def _findings(found: Diagnosis) -> Table:
    table = make_table("Findings", "outcome", "check", "finding")
    for each in found.findings:
        text = Text(f"{each.subject}: {each.text}" if each.subject else each.text)
        if each.fix:
            text.append(f"\nfix: {each.fix}", style="bold")
        outcome = Text(each.outcome, STYLES[each.outcome])
        table.add_row(outcome, each.check, text)
    return table
