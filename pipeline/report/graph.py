"""The graph of a model as a drawing: one row for each operator or for several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.validation.graph import GIVEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.validation.delegation import Delegation
    from pipeline.validation.graph import GraphNode
    from pipeline.validation.report import Report

WIDTH, HEIGHT, GAP_X, GAP_Y = 250, 38, 18, 20
"""Of a box and between boxes, in CSS pixels."""
MARGIN, LANE = 10, 14
"""Around the drawing, and between lines that pass boxes."""
SIDE = 200
"""From the left edge of a box to where such lines begin and end."""
MAX_OPERATORS = 400
NAME_LENGTH = 36
KINDS = {"xnnpack-int8": "XNNPACK, int8", "xnnpack-float": "XNNPACK, float", "builtin": "builtin kernels"}
"""What runs an operator, in words."""


@dataclass(frozen=True)
class Box:
    """An operator: its place, what runs it, and its words."""

    x: int
    y: int
    kind: str
    op: str
    layer: str
    title: str


@dataclass(frozen=True)
class Drawing:
    """A graph as its runtimes run it; ``paths`` are those of SVG, sizes are in CSS pixels."""

    runtimes: tuple[str, ...]
    counts: tuple[tuple[str, str, int], ...]
    boxes: tuple[Box, ...]
    paths: tuple[str, ...]
    width: int
    height: int
    box: tuple[int, int] = (WIDTH, HEIGHT)


def drawings(report: Report) -> list[Drawing]:
    """Return a drawing for each way in which runtimes place the operators; none without the graph."""
    nodes = report.graph[:MAX_OPERATORS]
    ways: dict[tuple[str, ...], list[str]] = {}
    for each in report.delegation if nodes else ():
        if len(each.nodes) == len(report.graph):
            ways.setdefault(_placements(each), []).append(each.runtime)
    if not ways:
        return []
    places = _places(nodes)
    paths, width = _paths(nodes, places)
    height = max(y for _, y in places) + HEIGHT + MARGIN
    return [
        Drawing(
            runtimes=tuple(dict.fromkeys(runtimes)),
            counts=tuple(
                (kind, words, placements.count(kind)) for kind, words in KINDS.items() if kind in placements
            ),
            boxes=tuple(
                _box(node, place, kind) for node, place, kind in zip(nodes, places, placements, strict=False)
            ),
            paths=paths,
            width=width,
            height=height,
        )
        for placements, runtimes in ways.items()
    ]


def _placements(of: Delegation) -> tuple[str, ...]:
    return tuple(node.placement for node in of.nodes)


def _box(node: GraphNode, place: tuple[int, int], kind: str) -> Box:
    shape = "x".join(map(str, node.shape))
    stored = f"; {node.constant_bytes:,} bytes of constants" if node.constant_bytes else ""
    zeros = f", {node.zeros / node.weights:.1%} of its weights are zero" if node.weights else ""
    return Box(
        x=place[0],
        y=place[1],
        kind=kind,
        op=f"{node.index} {node.op}",
        layer=_short(" ".join(filter(None, [node.layer, shape]))),
        title=f"{node.index} {node.op} {node.layer}: {node.dtype} {shape}{stored}{zeros}; {KINDS[kind]}",
    )


def _short(text: str) -> str:
    return text if len(text) <= NAME_LENGTH else f"…{text[1 - NAME_LENGTH :]}"


def _ranks(nodes: Sequence[GraphNode]) -> list[int]:
    """Return the row of each operator: below all that it reads."""
    ranks: list[int] = []
    for node in nodes:
        ranks.append(1 + max((ranks[index] for index in node.reads if index != GIVEN), default=-1))
    return ranks


def _places(nodes: Sequence[GraphNode]) -> list[tuple[int, int]]:
    """Return the upper left corner of each box; below the first that the operator reads if that is free."""
    columns: list[int] = []
    taken: dict[int, set[int]] = {}
    ranks = _ranks(nodes)
    for node, rank in zip(nodes, ranks, strict=True):
        used = taken.setdefault(rank, set())
        wanted = [columns[index] for index in node.reads if index != GIVEN]
        column = min(wanted, default=0)
        while column in used:
            column += 1
        used.add(column)
        columns.append(column)
    return [
        (MARGIN + column * (WIDTH + GAP_X), MARGIN + rank * (HEIGHT + GAP_Y))
        for column, rank in zip(columns, ranks, strict=True)
    ]


def _paths(nodes: Sequence[GraphNode], places: Sequence[tuple[int, int]]) -> tuple[tuple[str, ...], int]:
    """Return the connections, and the width of the drawing.

    One that skips rows goes through a lane at the right, past all boxes.
    """
    right = max(x for x, _ in places) + WIDTH
    lanes: list[int] = []
    paths = []
    for node, (x, y) in zip(nodes, places, strict=True):
        for index in node.reads:
            if index == GIVEN:
                continue
            from_x, from_y = places[index]
            if y - from_y <= HEIGHT + GAP_Y:
                paths.append(_straight(from_x, from_y + HEIGHT, x, y))
                continue
            lane = next((at for at, free_from in enumerate(lanes) if free_from <= from_y), len(lanes))
            lanes[lane : lane + 1] = [y]
            paths.append(_around(from_x, from_y + HEIGHT, right + (lane + 1) * LANE, x, y))
    return tuple(paths), right + (len(lanes) + 1) * LANE + MARGIN


def _straight(from_x: int, from_y: int, x: int, y: int) -> str:
    start, end, middle = from_x + WIDTH // 2, x + WIDTH // 2, (from_y + y) // 2
    return f"M{start},{from_y} C{start},{middle} {end},{middle} {end},{y}"


def _around(from_x: int, from_y: int, lane: int, x: int, y: int) -> str:
    """Go between two rows to the lane, down, and between two rows to the top of the box."""
    start, end, bend, half = from_x + SIDE, x + SIDE, GAP_Y // 2, GAP_Y // 2
    return (
        f"M{start},{from_y} q0,{half} {bend},{half} H{lane - bend} q{bend},0 {bend},{bend} "
        f"V{y - half - bend} q0,{bend} -{bend},{bend} H{end + bend} q-{bend},0 -{bend},{half}"
    )
