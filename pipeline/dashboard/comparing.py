"""Two builds, figure by figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.dashboard.drawing import figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.validation.report import Report, Verdict

SAME = 0.0005
"""Relative differences below this are not shown."""


@dataclass(frozen=True)
class Change:
    """A figure or a fact of two builds; ``kind`` is "better", "worse" or ""."""

    name: str
    first: str
    second: str
    change: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Comparison:
    """All that can be compared; a part without rows is left out."""

    figures: tuple[Change, ...]
    gates: tuple[Change, ...]
    facts: tuple[Change, ...]


def compare(first: Report, second: Report) -> Comparison:
    """Compare two builds; changes are those from the first to the second."""
    return Comparison(
        tuple(_figures(first, second)), tuple(_gates(first, second)), tuple(_facts(first, second))
    )


def _figures(first: Report, second: Report) -> Iterator[Change]:
    before, after = _values(first), _values(second)
    for name in dict.fromkeys([*before, *after]):
        yield _change(name, before.get(name), after.get(name))


def _values(report: Report) -> dict[str, tuple[float, str]]:
    """Return value and direction ("higher", "lower" or "" is better) of each figure by its name."""
    found: dict[str, tuple[float, str]] = {}
    for output in report.accuracy:
        for metric in output.metrics:
            name = f"{output.output}: {metric.name}" if output.output else metric.name
            found[f"{name}, {metric.unit}"] = (metric.quantized, metric.better)
    found["file, bytes"] = (report.quantized.size_bytes, "lower")
    found["download, bytes"] = (report.quantized.compressed_bytes, "lower")
    found["zero weights, %"] = (100 * report.quantized.sparsity, "")
    for device in report.devices:
        if device.quantized is not None:
            found[f"{device.device} instructions"] = (device.quantized.instructions, "lower")
            found[f"{device.device} loaded bytes"] = (device.quantized.load_bytes, "lower")
            found[f"{device.device} stored bytes"] = (device.quantized.store_bytes, "lower")
    return found


def _change(name: str, before: tuple[float, str] | None, after: tuple[float, str] | None) -> Change:
    first, second = ("" if each is None else figure(name, each[0]) for each in (before, after))
    if before is None or after is None:
        return Change(name, first, second)
    old, new, better = before[0], after[0], after[1]
    is_count = name.endswith(("bytes", "instructions"))
    difference = new - old
    if abs(difference) <= SAME * max(abs(old), 1e-9):
        return Change(name, first, second, "equal")
    text = f"{100 * difference / old:+,.1f} %" if is_count and old else f"{difference:+.2f}"
    if not better:
        return Change(name, first, second, text)
    kind = "better" if (difference > 0) == (better == "higher") else "worse"
    return Change(name, first, second, text, kind)


def _gates(first: Report, second: Report) -> Iterator[Change]:
    before = {str(each): each for each in first.verdicts}
    after = {str(each): each for each in second.verdicts}
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        has_changed = one is not None and other is not None and one.outcome != other.outcome
        kind = {"passed": "better", "failed": "worse"}.get(other.outcome, "") if has_changed and other else ""
        yield Change(name, _outcome(one), _outcome(other), "changed" if has_changed else "", kind)


def _outcome(verdict: Verdict | None) -> str:
    return "" if verdict is None else f"{verdict.outcome}: {verdict.got}"


def _facts(first: Report, second: Report) -> Iterator[Change]:
    rows = [
        ("target", first.target, second.target),
        ("runtime", first.runtime, second.runtime),
        ("format", first.format, second.format),
        ("recipe", first.recipe, second.recipe),
        ("preprocessing", first.preprocessing, second.preprocessing),
        ("classes", f"{len(first.classes)}", f"{len(second.classes)}"),
    ]
    tools = sorted(first.tools.keys() | second.tools.keys())
    rows += [(tool, first.tools.get(tool, ""), second.tools.get(tool, "")) for tool in tools]
    for name, one, other in rows:
        if one != other:
            yield Change(name, one, other, "changed")
