"""Fit what kernels cost to counted instructions of single operators."""

from __future__ import annotations

from collections import defaultdict
from itertools import product, starmap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from pipeline.costing.work import Product, Tile, kernel_of
from pipeline.flatbuffer import read_tflite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operator_cases import Measurable

    from pipeline.costing.work import Kernel

HEIGHTS = (
    (1,),
    (1, 2),
    (1, 4),
    (1, 5),
    (1, 6),
    (1, 8),
    (1, 4, 6),
    (1, 2, 4),
    (1, 2, 3, 4),
    (1, 2, 3, 4, 5, 6),
)
SIGNIFICANT = 4
"""Digits of a cost that are kept."""


class Counted(NamedTuple):
    """A kernel and what it took, the call left out."""

    kernel: Kernel
    instructions: float
    delegated: bool


def call_and_partition(found: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Return what a call costs without operators, and what handing over to a delegate adds.

    Both are the ends of lines through files of 1, 2 and 4 equal operators.
    """
    ends: dict[bool, list[float]] = {True: [], False: []}
    for chain in ("ADD int8", "ADD float32", "REVERSE_V2 int8", "REVERSE_V2 float32"):
        rows = [(n, found.get(f"chain of {chain} {n}", {})) for n in (1, 2, 4)]
        points = [(n, row["instructions"]) for n, row in rows if "instructions" in row]
        if len(points) > 1:
            delegated = rows[0][1]["placement"] != "builtin"
            ends[delegated].append(float(np.polyfit(*zip(*points, strict=True), 1)[1]))
    call = float(np.mean(ends[False]))
    return call, float(np.mean(ends[True])) - call if ends[True] else 0.0


def counted(wanted: Iterable[Measurable], found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Counted]]:
    """Return the kernels that were counted, by name."""
    call, partition = call_and_partition(found)
    kernels: dict[str, list[Counted]] = defaultdict(list)
    for each in wanted:
        row = found.get(each.name, {})
        if "instructions" not in row or each.repeat > 1:
            continue
        flat = read_tflite(each.file())
        kernel, delegated = kernel_of(flat.operators[0], flat), row["placement"] != "builtin"
        net = row["instructions"] - call - delegated * partition
        kernels[kernel.name].append(Counted(kernel, max(net, 1.0), delegated))
    return kernels


class Fit(NamedTuple):
    """The costs of a kernel, and how far they are off the counts: relative errors."""

    tile: Tile
    costs: dict[str, float]
    errors: Any
    delegated: bool


def fit(rows: list[Counted]) -> Fit:
    """Return the tile and the costs of its features that are nearest to the counts, none below 0.

    The square of the relative error is what is to be small.
    """
    tiles = _tiles(rows)
    return min((_fit(rows, tile) for tile in tiles), key=lambda fit: float(np.square(fit.errors).mean()))


def _tiles(rows: list[Counted]) -> list[Tile]:
    """Return the tiles to try: none where there are too few counts to tell them apart."""
    work = rows[0].kernel.work
    if len(rows) < 3:
        return [Tile()]
    if isinstance(work, Product) and len(rows) > 8:
        return list(starmap(Tile, product(HEIGHTS, (1, 2, 4, 8, 12, 16, 32), (1, 2, 4, 8, 16))))
    return [Tile(width=width) for width in (1, 2, 4, 8, 16, 32, 64)]


def _fit(rows: list[Counted], tile: Tile) -> Fit:
    features = [row.kernel.work.features(tile) for row in rows]
    names = list(features[0])
    counts = np.array([row.instructions for row in rows])
    matrix = np.array([[each[name] for name in names] for each in features]) / counts[:, np.newaxis]
    scale = matrix.max(axis=0)
    scale[scale == 0] = 1
    found, _ = nnls(matrix / scale, np.ones(len(rows)))
    costs = found / scale
    kept = {name: float(f"{cost:.{SIGNIFICANT}g}") for name, cost in zip(names, costs, strict=True) if cost}
    return Fit(tile, kept, matrix @ costs - 1, rows[0].delegated)
