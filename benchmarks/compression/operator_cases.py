"""Single operators of many shapes, whose instructions tell what a kernel costs by shape."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from single_operators import STRIDES, Case, ints, single_operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_MACS, MIN_MACS = 5_000_000, 2_000
UNARY = (
    *("RELU6", "LEAKY_RELU", "ELU", "EXP", "NEG", "ABS", "SQUARE"),
    *("SQRT", "RSQRT", "GELU", "DEQUANTIZE"),
)
BINARY = ("SUB", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
ELEMENTS = ((1, 1, 1, 8), (1, 3, 3, 100), (1, 15, 16, 50))
"""Shapes for operators that go through elements, small and large."""


class Measurable(NamedTuple):
    """An operator of one shape.

    Attributes:
        name: unique; what its measurement is stored under.
        dtype: of what is computed.
        repeat: how many of them follow each other in the file.
    """

    name: str
    operator: str
    dtype: str
    case: Case
    repeat: int = 1

    def file(self) -> bytes:
        return single_operator(self.operator, self.dtype, self.case, self.repeat)


def measurables(*, few: bool = False) -> Iterator[Measurable]:
    """Yield all of them, the same ones every time.

    Args:
        few: the chains, and one of the kinds with a kernel, in int8 only.
    """
    dtypes = ("int8",) if few else ("int8", "float32")
    for dtype in dtypes:
        yield from _chains(dtype)
    for operator, cases in list(KINDS.items())[:3] if few else KINDS.items():
        for number, case in enumerate(list(cases(operator))[: 1 if few else None]):
            for dtype in dtypes:
                if operator in ("DEQUANTIZE", "GELU") and dtype != "int8":
                    continue
                if operator in ("SQRT", "ELU", "SQUARE") and dtype == "int8":
                    continue
                if operator == "QUANTIZE" and dtype == "float32":
                    case = replace(case, output_dtype="int8")
                yield Measurable(f"{operator} {dtype} {number}", operator, dtype, case)


def _chains(dtype: str) -> Iterator[Measurable]:
    """Yield files of 1, 2 and 4 operators: what is left without an operator is the call."""
    for repeat in (1, 2, 4):
        case = Case(((1, 4, 4, 8), (1, 4, 4, 8)), (1, 4, 4, 8))
        yield Measurable(f"chain of ADD {dtype} {repeat}", "ADD", dtype, case, repeat)
        # XNNPACK takes no cumulative sum, so that this chain is of builtin kernels on every device.
        case = Case(((1, 4, 4, 8),), (1, 4, 4, 8), (ints(3),))
        yield Measurable(f"chain of REVERSE_V2 {dtype} {repeat}", "REVERSE_V2", dtype, case, repeat)


def _lengths(seed: int) -> Callable[[int, int], int]:
    """Return a function that draws lengths between two, as often below as above their geometric mean.

    Half of the long ones are multiples of 8, as in most architectures.
    """
    rng = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        length = round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))
        return 8 * round(length / 8) if length > 12 and rng.random() < 0.6 else length

    return draw


def convolutions(_: str) -> Iterator[Case]:
    draw, rng, made = _lengths(1), np.random.default_rng(2), 0
    windows = ((1, 1), (1, 1), (3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (1, 5), (7, 7), (2, 2), (4, 1))
    while made < 44:
        height, width = windows[made % len(windows)]
        size, given, filters = draw(1, 40), draw(1, 640), draw(1, 640)
        stride = int(rng.choice([1, 1, 1, 2]))
        side = -(-size // stride)
        if MIN_MACS <= side**2 * height * width * given * filters <= MAX_MACS:
            made += 1
            yield Case(
                ((1, size, size, given),),
                (1, side, side, filters),
                (("weights", (filters, height, width, given)), ("bias", (filters,))),
                options={"strideH": stride, "strideW": stride},
                channels=filters,
            )

    yield from _pointwise()


def _pointwise() -> Iterator[Case]:
    """Yield convolutions without a window, which have a kernel of their own, and those of few filters."""
    draw, rng, made = _lengths(8), np.random.default_rng(9), 0
    while made < 34:
        size, given, filters = draw(1, 40), draw(1, 960), draw(1, 960)
        window = 1
        if made >= 16:
            filters, window = 1 + made % 2, int(rng.choice([1, 3]))
        if made >= 22:
            given, filters, window = draw(1, 24), 3 + made % 5, (3, 5, 1)[made % 3]
        if MIN_MACS <= (size * window) ** 2 * given * filters <= MAX_MACS:
            made += 1
            yield Case(
                ((1, size, size, given),),
                (1, size, size, filters),
                (("weights", (filters, window, window, given)), ("bias", (filters,))),
                options={**STRIDES},
                channels=filters,
            )


def depthwise(_: str) -> Iterator[Case]:
    draw, rng, made = _lengths(3), np.random.default_rng(4), 0
    windows = ((3, 3), (3, 3), (5, 5), (3, 3), (10, 4), (1, 3), (7, 7), (5, 5), (2, 2), (9, 1))
    while made < 32:
        height, width = windows[made % len(windows)]
        size, filters, stride = draw(1, 40), draw(2, 640), int(rng.choice([1, 1, 2]))
        side = -(-size // stride)
        if MIN_MACS <= side**2 * height * width * filters <= MAX_MACS / 4:
            made += 1
            yield Case(
                ((1, size, size, filters),),
                (1, side, side, filters),
                (("weights", (1, height, width, filters)), ("bias", (filters,))),
                options={"strideH": stride, "strideW": stride, "depthMultiplier": 1},
                channels=filters,
            )


def transposed(_: str) -> Iterator[Case]:
    draw, made = _lengths(5), 0
    while made < 6:
        size, given, filters, window = draw(2, 16), draw(2, 128), draw(2, 128), (2, 3, 4)[made % 3]
        if size**2 * window**2 * given * filters <= MAX_MACS:
            made += 1
            shape = (1, 2 * size, 2 * size, filters)
            yield Case(
                ((1, size, size, given),),
                shape,
                first=(ints(*shape), ("weights", (filters, window, window, given))),
                options={"strideH": 2, "strideW": 2},
                channels=filters,
            )


FEW_CLASSES = ((64, 10), (256, 10), (1024, 12), (32, 5), (128, 7), (500, 3), (100, 20))


def dense(_: str) -> Iterator[Case]:
    draw = _lengths(6)
    for number in range(18):
        rows = 1 if number % 3 else draw(2, 64)
        given, filters = draw(2, 1600 if rows == 1 else 300), draw(1, 1000 if rows == 1 else 300)
        yield Case(
            ((1, given) if rows == 1 else (1, rows, given),),
            (1, filters) if rows == 1 else (1, rows, filters),
            (("weights", (filters, given)), ("bias", (filters,))),
            options={"keepNumDims": rows > 1},
            channels=filters,
        )
    for given, filters in ((3, 1), (64, 2), (100, 1), (1000, 2), *FEW_CLASSES):
        weights = (("weights", (filters, given)), ("bias", (filters,)))
        yield Case(((1, given),), (1, filters), weights, channels=filters)


def unary(operator: str) -> Iterator[Case]:
    made = "float32" if operator == "DEQUANTIZE" else ""
    options = {"LEAKY_RELU": {"alpha": 0.1}}.get(operator, {})
    for shape in ELEMENTS:
        yield Case((shape,), shape, options=options, output_dtype=made)


def binary(_: str) -> Iterator[Case]:
    for shape in ELEMENTS:
        yield Case((shape, shape), shape)
    for shape in ELEMENTS[1:]:
        yield Case((shape, (1, 1, 1, shape[-1])), shape)
        yield Case((shape,), shape, (("weights", (1,)),))


def pools(_: str) -> Iterator[Case]:
    draw = _lengths(7)
    for number in range(6):
        window = (2, 3, 2, 7)[number % 4]
        stride = (2, 2, 1, 7)[number % 4]
        side, filters = draw(1, 12), draw(2, 256)
        size = (side - 1) * stride + window
        yield Case(
            ((1, size, size, filters),),
            (1, side, side, filters),
            options={
                "strideH": stride, "strideW": stride, "filterHeight": window, "filterWidth": window,
                "padding": 1,
            },
        )  # fmt: skip


def means(_: str) -> Iterator[Case]:
    for size, filters in ((1, 64), (2, 300), (3, 37), (4, 1000), (7, 64), (12, 16), (24, 100)):
        yield Case(((1, size, size, filters),), (1, filters), (ints(1, 2),))


def softmaxes(_: str) -> Iterator[Case]:
    for shape in ((1, 2), (1, 10), (1, 1000), (1, 16, 40)):
        yield Case((shape,), shape, options={"beta": 1.0})


def concatenations(_: str) -> Iterator[Case]:
    for size, *widths in ((1, 8, 8), (4, 32, 100), (8, 64, 64), (12, 24, 12), (6, 16, 8, 40)):
        shapes = tuple((1, size, size, width) for width in widths)
        yield Case(shapes, (1, size, size, sum(widths)), options={"axis": 3})


def paddings(_: str) -> Iterator[Case]:
    for size, filters in ((1, 8), (4, 33), (8, 64), (24, 3)):
        shape = (1, size + 2, size + 2, filters)
        yield Case(((1, size, size, filters),), shape, (ints([0, 0], [1, 1], [1, 1], [0, 0]),))


def transposes(_: str) -> Iterator[Case]:
    for size, filters in ((2, 8), (4, 33), (8, 64), (24, 3)):
        yield Case(((1, size, size, filters),), (1, filters, size, size), (ints(0, 3, 1, 2),))


def reshapes(_: str) -> Iterator[Case]:
    for shape in ELEMENTS:
        count = int(np.prod(shape))
        yield Case((shape,), (1, count), (ints(1, count),))


def slices(operator: str) -> Iterator[Case]:
    for size, filters in ((2, 8), (4, 33), (8, 64), (24, 3)):
        shape, half = (1, size, size, filters), (1, size // 2, size // 2, filters)
        if operator == "SLICE":
            yield Case((shape,), half, (ints(0, 0, 0, 0), ints(*half)))
        else:
            yield Case((shape,), half, (ints(0, 0, 0, 0), ints(*shape), ints(1, 2, 2, 1)))
            yield Case((shape,), half, (ints(0, 0, 0, 0), ints(*half), ints(1, 1, 1, 1)))


def splits(_: str) -> Iterator[Case]:
    for size, filters, parts in ((1, 8, 2), (1, 128, 4), (4, 32, 2), (8, 64, 4)):
        part = (1, size, size, filters // parts)
        yield Case(
            ((1, size, size, filters),),
            part,
            first=(ints(3)[0],),
            options={"numSplits": parts},
            outputs=parts,
        )


def packs(operator: str) -> Iterator[Case]:
    for count, length in ((2, 8), (4, 32), (24, 3), (24, 32)):
        if operator == "PACK":
            shapes = ((1, length),) * count
            yield Case(shapes, (1, count, length), options={"valuesCount": count, "axis": 1})
        else:
            yield Case(((1, count, length),), (1, length), options={"num": count, "axis": 1}, outputs=count)


def gathers(_: str) -> Iterator[Case]:
    for rows, length, taken in ((4, 8, 2), (20, 32, 16), (100, 16, 24), (30, 100, 10)):
        yield Case(((rows, length),), (taken, length), (ints(*[0] * taken),))


def resizes(_: str) -> Iterator[Case]:
    for size, filters in ((2, 8), (4, 33), (8, 32), (12, 3)):
        yield Case(((1, size, size, filters),), (1, 2 * size, 2 * size, filters), (ints(2 * size, 2 * size),))


def products(_: str) -> Iterator[Case]:
    for rows, depth, columns in ((2, 3, 4), (16, 16, 16), (24, 32, 24), (49, 64, 49), (8, 100, 30)):
        yield Case(((1, rows, depth), (1, depth, columns)), (1, rows, columns))


KINDS: dict[str, Callable[[str], Iterator[Case]]] = {
    "CONV_2D": convolutions,
    "DEPTHWISE_CONV_2D": depthwise,
    "FULLY_CONNECTED": dense,
    **dict.fromkeys(("ADD", "MUL"), binary),
    **dict.fromkeys(("LOGISTIC", "TANH", "QUANTIZE", "RELU", "HARD_SWISH"), unary),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), pools),
    "MEAN": means,
    "SOFTMAX": softmaxes,
    "CONCATENATION": concatenations,
    "PAD": paddings,
    "TRANSPOSE": transposes,
    "RESHAPE": reshapes,
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), slices),
    "SPLIT": splits,
    **dict.fromkeys(("PACK", "UNPACK"), packs),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(UNARY, unary),
    "SUM": means,
    "GATHER": gathers,
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), resizes),
    "TRANSPOSE_CONV": transposed,
    "BATCH_MATMUL": products,
}
