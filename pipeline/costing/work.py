"""What an operator of a .tflite file has to do: the kernel that does it, and how often by its shapes."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pipeline.flatbuffer import Operator, Tensor, TfliteModel

Features = dict[str, float]
"""How often each thing is done that has a cost, by its name."""

BINARY = frozenset({"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW"})
NARROW = 7
"""Fewer columns than the kernels of XNNPACK compute at once, so that it takes narrower ones."""
WINDOWS = (3, 4, 9, 25)
"""Positions for which XNNPACK has depthwise kernels; one of them takes all smaller windows, too."""


OVERHEAD = 3
"""What a tile costs besides its rows, in rows."""


class Tile(NamedTuple):
    """The block of its output that a kernel computes at once.

    Attributes:
        heights: rows of it; of several kernels the one is taken that needs the least for all rows.
        width: columns of it.
        step: how deep into the product one step of its inner loop goes.
    """

    heights: tuple[int, ...] = (1,)
    width: int = 1
    step: int = 1

    def height(self, rows: int) -> int:
        return min(self.heights, key=lambda height: ceil(rows / height) * (height + OVERHEAD))


class Product(NamedTuple):
    """A matrix product: a convolution, a fully connected layer.

    Attributes:
        rows: positions of the output.
        columns: its channels.
        depth: channels of the input that each of them reads.
        taps: positions of the window.
    """

    rows: int
    columns: int
    depth: int
    taps: int = 1

    def features(self, tile: Tile) -> Features:
        height = tile.height(self.rows)
        bands = ceil(self.rows / height)
        tiles = bands * ceil(self.columns / tile.width)
        steps, rest = divmod(self.depth, tile.step)
        often = {
            "tile": tiles,
            "tap": tiles * self.taps,
            "step": tiles * self.taps * steps,
            "rest": tiles * self.taps * rest,
            "partial": tiles * self.taps * (rest > 0),
        }
        return {
            "operator": 1,
            **often,
            **{f"{name} row": count * height for name, count in often.items()},
            "edge": bands * (self.columns % tile.width > 0),
            "edge step": bands * (self.columns % tile.width > 0) * self.taps * self.depth,
            "tail": bands * (self.columns % tile.width) * self.taps * self.depth,
            "row": self.rows,
            "output": self.rows * self.columns,
            "gathered": self.rows * self.taps * self.depth,
            "weight": self.columns * self.taps * self.depth,
        }


class Depthwise(NamedTuple):
    """A depthwise convolution: channels, each with a window of its own."""

    rows: int
    channels: int
    taps: int

    @property
    def variant(self) -> str:
        """Return "wide" of a window for which XNNPACK has no fast kernel."""
        return "wide" if self.taps > WINDOWS[-1] else ""

    def features(self, tile: Tile) -> Features:
        whole, rest = divmod(self.channels, tile.width)
        tiles, half = self.rows * whole, self.rows * ceil(rest / max(tile.width // 2, 1))
        slots = next((taps for taps in WINDOWS if taps >= self.taps), self.taps)
        return {
            "operator": 1,
            "row": self.rows,
            "window": self.rows * self.taps,
            "tile": tiles,
            "tap": tiles * slots,
            "half": half,
            "half tap": half * slots,
            "output": self.rows * self.channels,
            "product": self.rows * self.channels * self.taps,
            "weight": self.channels * self.taps,
        }


class Pass(NamedTuple):
    """A pass over elements: arithmetic on each of them, reductions, moves.

    Attributes:
        outputs: elements of all outputs.
        inputs: those of all inputs.
        rows: positions, each with all channels, of the larger side.
        tensors: inputs and outputs that are computed.
        taps: positions of a window; 1 if there is none.
    """

    outputs: int
    inputs: int
    rows: int
    tensors: int
    taps: int = 1

    def features(self, tile: Tile) -> Features:
        width = max(self.outputs, self.inputs) / self.rows
        return {
            "operator": 1,
            "tensor": self.tensors,
            "row": self.rows,
            "lane": self.rows * ceil(width / tile.width),
            "output": self.outputs,
            "input": self.inputs,
            "tap": self.outputs * self.taps if self.taps > 1 else 0,
            "window": self.outputs // max(round(width), 1) * self.taps if self.taps > 1 else 0,
        }


Work = Product | Depthwise | Pass


class Kernel(NamedTuple):
    """The kernel of an operator, by the name that the table of costs has for it, and its work."""

    name: str
    work: Work


def kernel_of(operator: Operator, flat: TfliteModel) -> Kernel:
    """Return what an operator of the main subgraph has to do; it has at least one output."""
    given = [flat.tensors[index] for index in operator.inputs if index >= 0]
    made = [flat.tensors[index] for index in operator.outputs]
    variant, work = _work(operator, given, made)
    if operator.name == "STRIDED_SLICE" and len(given) > 3 and given[3].is_readable:
        variant = "stepping" if (abs(flat.constant(given[3])) != 1).any() else ""
    computed = [tensor for tensor in given if not tensor.is_constant] or given or made
    dtype = computed[0].dtype
    if made[0].dtype != dtype:
        dtype += f" to {made[0].dtype}"
    return Kernel(" ".join(filter(None, (operator.name, variant, dtype))), work)


def _work(operator: Operator, given: list[Tensor], made: list[Tensor]) -> tuple[str, Work]:
    """Return which of its kernels an operator needs, "" if there is one, and the work."""
    name, output = operator.name, made[0]
    if name == "CONV_2D":
        filters, height, width, depth = given[1].shape
        product = Product(output.elements // filters, filters, depth, height * width)
        is_strided = max(operator.options.get("StrideH", 1), operator.options.get("StrideW", 1)) > 1
        return convolution_variant(product, is_strided=is_strided), product
    if name == "FULLY_CONNECTED":
        filters, depth = given[1].shape
        product = Product(output.elements // filters, filters, depth)
        return dense_variant(product), product
    if name == "TRANSPOSE_CONV":
        filters, height, width, depth = given[1].shape
        stride = operator.options.get("StrideH", 1) * operator.options.get("StrideW", 1)
        return "", Product(output.elements // filters, filters, depth, ceil(height * width / stride))
    if name == "BATCH_MATMUL":
        depth = given[0].shape[-2 if operator.options.get("AdjX") else -1]
        return "", Product(prod(output.shape[:-1]), output.shape[-1], depth)
    if name == "DEPTHWISE_CONV_2D":
        _, height, width, channels = given[1].shape
        depthwise = Depthwise(output.elements // channels, channels, height * width)
        return depthwise.variant, depthwise
    return _pass(operator, given, made)


def convolution_variant(product: Product, *, is_strided: bool) -> str:
    """Return which kernel a convolution needs: "1x1" has no window and no stride."""
    return f"{'window' if product.taps > 1 or is_strided else '1x1'} {dense_variant(product)}".strip()


def dense_variant(product: Product) -> str:
    """Return "narrow" of few columns, which have kernels of another width."""
    return "narrow" if product.columns <= NARROW else ""


def _pass(operator: Operator, given: list[Tensor], made: list[Tensor]) -> tuple[str, Pass]:
    name = operator.name
    computed = [tensor for tensor in given if not tensor.is_constant]
    outputs, inputs = (sum(tensor.elements for tensor in each) for each in (made, computed))
    largest = max((*made, *computed), key=lambda tensor: tensor.elements)
    rows = max(prod(largest.shape[:-1]), 1)
    tensors = len(made) + len(computed)
    variant, taps = "", 1
    if name in BINARY:
        sizes = [tensor.elements for tensor in given[:2]]
        variant = "" if sizes[0] == sizes[-1] else "scalar" if min(sizes) == 1 else "broadcast"
    elif name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        taps = operator.options.get("FilterHeight", 1) * operator.options.get("FilterWidth", 1)
    return variant, Pass(outputs, inputs, rows, tensors, taps)
