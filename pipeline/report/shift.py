"""The shift suite for people: verdicts, shift by severity in colour, and a sheet of what was done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from pipeline.report.tables import make_table
from pipeline.validate.corruptions import suite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image
    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.samples import Samples
    from pipeline.validate.excess import Excess
    from pipeline.validate.shift_results import SeverityResult, ShiftReport, ShiftResult

STYLES = {
    "int8 loses more": "bold red",
    "int8 loses less": "green",
    "as float does": "green",
    "inconclusive": "yellow",
    "not judged": "dim",
}
HEAT = ((-4.0, "white on red"), (-2.0, "red"), (-1.0, "yellow"), (1.0, ""), (math.inf, "green"))
"""Styles of an excess up to so many points."""
CELL, CAPTION = 72, 14
"""Pixels of the contact sheet: a picture's side, and the height of a line of text."""
LABEL = 120
MOST_LINES = 4
INK = ((200, 40, 40), (40, 90, 200), (30, 140, 60), (120, 60, 160))


def shift_summary(report: ShiftReport) -> Table:
    """What a terminal shows: how many shifts got each verdict, and those under which int8 loses more."""
    table = make_table(f"Distribution shift, {report.samples:,} samples", "verdict", "shifts", numbers=1)
    for verdict, style in STYLES.items():
        count = sum(shift.verdict == verdict for shift in report.shifts)
        if count:
            table.add_row(Text(verdict, style), str(count))
    for shift in report.losing:
        table.add_row(f"  {_name(shift)}: {_excess(shift.pooled)} points beyond its clean loss", "")
    return table


def shift_details(report: ShiftReport) -> Iterator[RenderableType]:
    """What the report shows: every shift, excess by severity, and what was left out."""
    if report.shifts:
        yield _shifts(report)
    heat = [shift for shift in report.shifts if len(shift.severities) > 1]
    if heat:
        yield _heat(heat)
    lines = [f"{_name(shift)}: {shift.note}" for shift in report.shifts if shift.note]
    lines += [
        f"{_name(shift)}, severity {level.severity}: {level.note}"
        for shift in report.shifts
        for level in shift.severities
        if level.note
    ]
    lines += [f"left out: {line}" for line in report.left_out]
    if lines:
        yield Text("shift notes:\n" + "\n".join(f"  {line}" for line in lines))


def contact_sheet(samples: Samples, names: Sequence[str], severities: Sequence[int], *, seed: int) -> Image:
    """Draw the first sample clean and under each corruption: what was done to the data, to be looked at.

    Args:
        samples: some clean ones; the first is drawn, all of them tell what is usual.
        names: of the corruptions, a row each.
        severities: a column each.
        seed: of what is random.

    Returns:
        An RGB picture; series are drawn as lines over the steps, vectors as bars over the features.
    """
    from PIL import Image, ImageDraw

    raws = [samples.raw(index) for index in range(len(samples.inputs))]
    given = suite.describe(raws, samples.preprocessing)
    one = [raw[:1] for raw in raws]
    size = (LABEL + CELL * (1 + len(severities)), CAPTION + max(CELL * len(names), CELL))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(["clean", *map(str, severities)]):
        draw.text((LABEL + CELL * column + 4, 1), title, fill="black")
    for row, name in enumerate(names):
        top = CAPTION + CELL * row
        draw.text((4, top + CELL // 2 - 6), name.replace("_", " "), fill="black")
        kinds = [index for index, kind in enumerate(given) if suite.suits(name, kind)]
        index = kinds[0] if kinds else 0
        drawn = [one, *(suite.corrupt(one, given, name, level, (seed, 0)) for level in severities)]
        for column, values in enumerate(drawn):
            cell = _picture(values[index][0], given[index], one[index][0])
            sheet.paste(cell, (LABEL + CELL * column, top))
    return sheet


def _shifts(report: ShiftReport) -> Table:
    title = f"Distribution shift: points beyond the clean difference, of {report.tests} verdicts together"
    columns = ("shift", "verdict", "samples", "float", "int8", "int8 - float", "excess [95 % interval]")
    table = make_table(title, *columns, numbers=5)
    for shift in report.shifts:
        verdict = Text(shift.verdict, STYLES[shift.verdict])
        found = shift.pooled
        if found is None:
            table.add_row(_name(shift), verdict, f"{shift.samples:,}", "", "", "", "")
            continue
        table.add_row(
            _name(shift),
            verdict,
            f"{shift.samples:,}",
            f"{found.baseline:.2f}%",
            f"{found.quantized:.2f}%",
            f"{found.difference:+.2f}",
            _excess(found),
        )
    return table


def _heat(shifts: Sequence[ShiftResult]) -> Table:
    """Excess of every shift by severity."""
    levels = sorted({level.severity for shift in shifts for level in shift.severities})
    columns = (*(f"severity {level}" for level in levels), "all")
    title = "Excess by severity, points; (in brackets: the float model itself is of no use)"
    table = make_table(title, "shift", *columns, numbers=len(columns))
    for shift in shifts:
        by_level = {level.severity: level for level in shift.severities}
        cells = [_severity(by_level.get(level)) for level in levels]
        table.add_row(_name(shift), *cells, _coloured(shift.pooled))
    return table


def _severity(found: SeverityResult | None) -> Text:
    if found is None:
        return Text("")
    return _coloured(found.found) if found.of_use else Text(f"({found.found.excess:+.2f})", "dim")


def _coloured(found: Excess | None) -> Text:
    if found is None:
        return Text("")
    style = next(style for most, style in HEAT if found.excess <= most)
    return Text(f"{found.excess:+.2f}", style)


def _excess(found: Excess | None) -> str:
    if found is None:
        return ""
    return f"{found.excess:+.2f} [{found.excess_low:+.2f}, {found.excess_high:+.2f}]"


def _name(shift: ShiftResult) -> str:
    # Classes and sources have names of the user's: only ours are written in words.
    name = shift.name.replace("_", " ") if shift.source == "corruption" else shift.name
    return f"{shift.output}: {name}" if shift.output else name


def _picture(values: NDArray[Any], given: suite.Given, clean: NDArray[Any]) -> Image:
    """Draw one sample of an input, (CELL, CELL)."""
    from PIL import Image

    if given.kind != "image":
        return _chart(values, clean)
    low, high = given.limits
    shown = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    shown = shown if shown.ndim == 3 else shown[..., None]
    shown = shown if shown.shape[2] == 3 else np.repeat(shown.mean(axis=2, keepdims=True), 3, axis=2)
    image = Image.fromarray(np.rint(shown * 255).astype(np.uint8))
    scale = min((CELL - 2) / image.width, (CELL - 2) / image.height)
    sides = (max(int(image.width * scale), 1), max(int(image.height * scale), 1))
    cell = Image.new("RGB", (CELL, CELL), "white")
    cell.paste(image.resize(sides, Image.Resampling.NEAREST), (1, 1))
    return cell


def _chart(values: NDArray[Any], clean: NDArray[Any]) -> Image:
    """Draw a series' first features as lines, or a vector as bars; the clean sample sets the scale."""
    from PIL import Image, ImageDraw

    cell = Image.new("RGB", (CELL, CELL), "white")
    draw = ImageDraw.Draw(cell)
    middle, reach = float(np.mean(clean)), max(float(np.ptp(clean)), 1e-12)
    heights = CELL / 2 - (np.asarray(values, np.float64) - middle) / (1.5 * reach) * CELL
    heights = np.clip(heights, 2, CELL - 3)
    across = np.linspace(3, CELL - 4, len(heights))
    if heights.ndim == 1:
        for x, y in zip(across, heights, strict=True):
            draw.line([(x, CELL / 2), (x, y)], fill=INK[0])
        return cell
    for feature in range(min(heights.shape[1], MOST_LINES)):
        points = list(zip(across.tolist(), heights[:, feature].tolist(), strict=True))
        draw.line(points, fill=INK[feature])
    return cell
