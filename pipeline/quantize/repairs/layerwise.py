"""Repair the kernels of a float .tflite file one after the other, as its int8 file computes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Weights, extract, stands_alone, with_weights
from pipeline.quantize.repairs.bias_correction import correct_bias
from pipeline.quantize.repairs.kernels import INT8_LIMIT, Kernel, find_kernels
from pipeline.quantize.repairs.moments import moments
from pipeline.quantize.repairs.rounding import round_weights
from pipeline.quantize.repairs.running import ordered_inputs, run_batched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Tensor, TfliteModel

LIVE_BYTES = 256 << 20
"""Of the activations that later operators still read."""

Values = dict[int, "NDArray[Any]"]
"""By the tensor's index in the main subgraph: (n, *shape), n samples."""


@dataclass(frozen=True)
class Layerwise:
    """Which repairs each kernel gets."""

    rounding: bool = False
    bias_correction: bool = False


class Grid(NamedTuple):
    """The real numbers that a tensor of int8 can have: ``scale * (integer - zero point)``."""

    scale: float
    zero_point: int

    def nearest(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the nearest of these numbers for values of any shape."""
        scale, low, high = np.float32(self.scale), -128 - self.zero_point, 127 - self.zero_point
        steps: NDArray[np.float32] = np.clip(np.rint(values / scale), low, high) * scale
        return steps


def unrepairable(model: TfliteModel) -> str:
    """Return why the operators of a file cannot run one after the other; "" if they can."""
    for operator in model.operators:
        if not stands_alone(model, operator):
            return f"operator {operator.name} does not run alone"
    return ""


def repair_kernels(content: bytes, int8: bytes, inputs: Sequence[NDArray[Any]], repairs: Layerwise) -> bytes:
    """Return a float file with repaired kernels.

    The operators run one after the other, twice: as they are, and as the int8 file has them, with activations
    and weights on its grids. So each kernel is repaired on the inputs that it gets once all before it were
    repaired, and its repair makes up for errors of what it reads, too.

    Args:
        content: the float file; see ``unrepairable``.
        int8: what a quantizer made of it; gives the widths of steps.
        inputs: calibration samples in the order of the model's inputs, (n, ...) each. As many are used as
            there is memory for.
        repairs: what to do.
    """
    model, quantized = read_tflite(content), read_tflite(int8)
    on_grid, kernels, steps = grids(model, quantized), find_kernels(model), weight_steps(model, quantized)
    count = max(1, min(len(inputs[0]), LIVE_BYTES // _live_bytes(model)))
    taken = np.linspace(0, len(inputs[0]) - 1, count).astype(int)
    first = ordered_inputs(model, [each[taken] for each in inputs])
    exact: Values = dict(zip(model.subgraphs[0].inputs, first, strict=True))
    rounded = _on_grids(exact, on_grid)
    last = {index: each.index for each in model.operators for index in each.inputs}
    last |= dict.fromkeys(model.subgraphs[0].outputs, len(model.operators))
    changed = {}
    alone = extract(model, [[each.index] for each in model.operators])
    for operator, part in zip(model.operators, alone, strict=True):
        as_int8 = part
        if operator.index in kernels and operator.index in steps and operator.inputs[0] in exact:
            kernel, widths, source = kernels[operator.index], steps[operator.index], operator.inputs[0]
            new = _repair(kernel, widths, exact[source], rounded[source], repairs)
            changed[operator.index] = new
            on_steps = kernel.weights_of(_nearest(kernel, new.weights, widths))
            as_int8 = with_weights(part, {0: Weights(on_steps, new.bias)})
        given = [index for index in dict.fromkeys(operator.inputs) if index in exact]
        made = [index for index in operator.outputs if index in last] or list(operator.outputs)
        exact |= zip(made, run_batched(part, [exact[index] for index in given]), strict=True)
        found = zip(made, run_batched(as_int8, [rounded[index] for index in given]), strict=True)
        rounded |= _on_grids(dict(found), on_grid)
        for index in given:
            if last[index] == operator.index:
                del exact[index], rounded[index]
    return with_weights(content, changed)


def _repair(
    kernel: Kernel,
    steps: NDArray[np.float32],
    exact: NDArray[np.float32],
    rounded: NDArray[np.float32],
    repairs: Layerwise,
) -> Weights:
    found = moments(kernel, exact, rounded, squares=repairs.rounding)
    weights, bias = kernel.weights, kernel.bias
    if repairs.rounding:
        weights = round_weights(kernel, steps, found, free_bias=repairs.bias_correction)
    if repairs.bias_correction:
        bias = correct_bias(kernel, _nearest(kernel, weights, steps), found)
    return Weights(weights, bias)


def _nearest(kernel: Kernel, weights: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a kernel's new weights as the int8 file has them, (groups, channels, products)."""
    matrix = replace(kernel, weights=weights).matrix()
    integers = np.clip(np.rint(matrix / steps), -INT8_LIMIT, INT8_LIMIT)
    nearest: NDArray[np.float32] = (integers * steps).astype(np.float32)
    return nearest


def grids(model: TfliteModel, int8: TfliteModel) -> dict[int, Grid]:
    """Return tensor of the float file's main subgraph -> its grid in the int8 file, found by its name."""
    named = {
        name: Grid(tensor.scales[0], tensor.zero_points[0])
        for name, tensor in _by_name(int8).items()
        if tensor.dtype == "int8" and not tensor.is_constant and len(tensor.scales) == 1
    }
    return {tensor.index: named[name] for name, tensor in _by_name(model).items() if name in named}


def weight_steps(model: TfliteModel, int8: TfliteModel) -> dict[int, NDArray[np.float32]]:
    """Return kernel's operator -> real widths of its weights' steps in the int8 file.

    The operator there is found by the name of its output. Quantizers give weights one width for each output
    channel, or one for all.

    Returns:
        Float32 (groups, channels, 1) for each kernel whose weights are int8 and symmetric there.
    """
    writers = {int8.tensors[each.outputs[0]].name: each for each in int8.operators if each.outputs}
    unique, found = _by_name(int8), {}
    for index, kernel in find_kernels(model).items():
        name = model.tensors[kernel.operator.outputs[0]].name
        writer = writers.get(name)
        if writer is None or name not in unique or writer.name != kernel.operator.name:
            continue
        weights = int8.tensors[writer.inputs[1]]
        if weights.dtype == "int8" and weights.scales and not any(weights.zero_points):
            widths = np.broadcast_to(np.array(weights.scales, np.float32), kernel.bias.shape)
            found[index] = widths.reshape(kernel.groups, -1, 1)
    return found


def _by_name(model: TfliteModel) -> dict[str, Tensor]:
    """Return the tensors of the main subgraph whose name no other has."""
    count = Counter(tensor.name for tensor in model.tensors)
    return {tensor.name: tensor for tensor in model.tensors if count[tensor.name] == 1}


def _on_grids(values: Values, on_grid: dict[int, Grid]) -> Values:
    return {
        index: on_grid[index].nearest(each) if index in on_grid else each for index, each in values.items()
    }


def _live_bytes(model: TfliteModel) -> int:
    """Return the most bytes that one sample's activations take at the same time, exact and rounded."""
    last = {index: each.index for each in model.operators for index in each.inputs}
    live = {index: model.tensors[index].elements for index in model.subgraphs[0].inputs}
    most = sum(live.values())
    for operator in model.operators:
        live |= {index: model.tensors[index].elements for index in operator.outputs}
        most = max(most, sum(live.values()))
        live = {index: size for index, size in live.items() if last.get(index, 0) > operator.index}
    return 8 * max(most, 1)
