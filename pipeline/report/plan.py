"""A plan in the terminal: what each recipe would leave, and what that buys and does not buy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from pipeline.planning.goal import Goal
    from pipeline.planning.plan import Plan, Recommendation, Row

SAME = 0.01
"""Of a figure: what differs by less is the same."""


def plan_parts(plan: Plan, goal: Goal | None, command: str) -> Iterator[RenderableType]:
    """Yield the table, one statement for each recipe, and the recommendation.

    Args:
        command: that builds, without its recipe.
    """
    devices = " and ".join(plan.devices)
    title = f"Predicted: instructions on {devices}, bytes of the int8 file"
    columns = ("", "parameters", "MACs", *plan.devices, "file", "download")
    table = make_table(title, *columns, numbers=len(columns) - 1)
    table.columns[0].no_wrap = True
    plain = plan.plain
    floats = [short(plain.float_instructions[device]) for device in plan.devices]
    table.add_row("float32", short(plain.parameters), short(plain.macs), *floats, "", "")
    for row in (plain, *plan.rows):
        counts = [short(row.instructions[device]) for device in plan.devices]
        sizes = (row.size_bytes, row.download_bytes)
        table.add_row(row.recipe, short(row.parameters), short(row.macs), *counts, *map(short, sizes))
    yield table
    lines = [f"{plain.recipe}: {', '.join(_against_float(plain, plan.devices))} than float32"]
    lines += [f"{row.recipe}: {statement(row, plain)}" for row in plan.rows]
    lines += [f"{recipe}: {reason}" for recipe, reason in plan.refused.items()]
    yield "\n".join(lines)
    if plan.unknown:
        yield f"Not counted, because their cost is not known: {', '.join(plan.unknown)}"
    yield (
        "Instructions are predicted from shapes and measured costs of kernels, and are not a time. "
        "What a recipe costs in accuracy only a build can tell."
    )
    if plan.recommendation is not None and goal is not None:
        yield recommendation_text(plan.recommendation, goal, command)


def statement(row: Row, plain: Row) -> str:
    """Say what a recipe buys against int8 without compression, and what it does not buy."""
    parts = [
        _size("download", plain.download_bytes, row.download_bytes),
        _size("file", plain.size_bytes, row.size_bytes),
    ]
    same = []
    for device, count in row.instructions.items():
        ratio = plain.instructions[device] / max(count, 1)
        if abs(ratio - 1) < SAME:
            same.append(device)
        else:
            parts.append(f"{_times(ratio, 'fewer', 'more')} instructions on {device}")
    if same:
        parts.append(f"0 % faster on {' and '.join(same)}")
    return ", ".join(parts)


def _against_float(plain: Row, devices: tuple[str, ...]) -> list[str]:
    ratios = {device: plain.float_instructions[device] / plain.instructions[device] for device in devices}
    return [f"{_times(ratio, 'fewer', 'more')} instructions on {device}" for device, ratio in ratios.items()]


def short(number: int) -> str:
    """Return e.g. "1.32M", as a goal takes it: three digits and a multiple of a thousand."""
    for multiple, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= multiple:
            share = number / multiple
            return f"{share:.{max(2 - len(str(int(share))) + 1, 0)}f}{letter}"
    return str(number)


def _size(what: str, before: int, after: int) -> str:
    ratio = before / max(after, 1)
    return f"{what} as large" if abs(ratio - 1) < SAME else f"{what} {_times(ratio, 'smaller', 'larger')}"


def _times(ratio: float, less: str, more: str) -> str:
    """Return e.g. "2.5x fewer" or "5 % more"."""
    if ratio < 0.5:
        return f"{1 / ratio:.{0 if ratio <= 0.1 else 1}f}x {more}"
    if ratio < 1:
        return f"{1 / ratio - 1:.0%} {more}".replace("%", " %")
    return f"{ratio:.1f}x {less}" if ratio >= 1.1 else f"{1 - 1 / ratio:.0%} {less}".replace("%", " %")


def recommendation_text(found: Recommendation, goal: Goal, command: str) -> str:
    """Name the recipe with its command, or say that none was found."""
    if found.row is None:
        assert found.nearest is not None
        figures = found.nearest.figures()
        missed = ", ".join(f"{name} {figures[name]:,}" for name in found.missed)
        return (
            f"No recipe reaches the goal: {found.nearest.recipe}, the smallest that was tried, has {missed}."
        )
    figures = found.row.figures()
    predicted = ", ".join(f"{limit.name} {figures[limit.name]:,}" for limit in goal.limits)
    gates = "" if goal.drop_points is None else f" --set gates.accuracy_drop_points={goal.drop_points:g}"
    gates += "".join(
        f" --set gates.download_bytes={limit.most:.0f}" for limit in goal.limits if limit.what == "download"
    )
    lines = [f"Recommended: {found.row.recipe}"]
    lines += [f"predicted: {predicted}"] if predicted else []
    if goal.drop_points is not None:
        lines.append(f"only the build can tell the drop: its gate allows {goal.drop_points:g} points")
    return "\n".join([*lines, f"{command} --recipe {found.row.recipe}{gates}"])
