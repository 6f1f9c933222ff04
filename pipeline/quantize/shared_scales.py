"""One range for all tensors that share a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calibration.errors import CalibrationError
from calibration.ranges import choose_range
from pipeline.errors import StageError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from calibration.histogram import Statistics
    from pipeline.flatbuffer import Operator, TfliteModel

SHARED_SCALE = frozenset(
    {"AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS"}
    | {"GATHER", "GATHER_ND", "MAX_POOL_2D", "MAXIMUM", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2"}
    | {"REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2"}
    | {"SELECT", "SELECT_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE"}
    | {"STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"}
)
"""Operators whose int8 kernels need one scale for what they read and what they write."""


def scale_groups(flat: TfliteModel, tensors: Iterable[int]) -> dict[int, int]:
    """Return for each activation the first of those that need its range.

    These are what an operator of one scale reads and writes, and the same activation in several steps of an
    unrolled recurrent layer. A bias has the scale of the input times that of the kernel, so that the file
    has one bias, and one description of each activation, instead of one per step.
    """
    group = {index: index for index in tensors}
    for indices in (*_of_one_scale(flat), *_in_all_steps(flat)):
        merged = {group[index] for index in indices if index in group}
        group = {index: min(merged) if of in merged else of for index, of in group.items()}
    return group


def ranges_from(
    content: bytes, found: Mapping[int, Statistics], method: str, percentile: float
) -> list[Range]:
    """Return a range for each activation of a float .tflite, the union for all that share a scale.

    The same activation of an unrolled recurrent layer has one range in all steps, too.

    Args:
        content: the file.
        found: statistics of its activations, by the tensor's index.
        method: a key of ``calibration.ranges.METHODS``.
        percentile: for the method "percentile".

    Raises:
        StageError: a tensor has no finite value.
    """
    flat = read_tflite(content)
    lows, highs = {}, {}
    for index, each in found.items():
        try:
            lows[index], highs[index] = choose_range(each, method, percentile)
        except CalibrationError as error:
            stage, hint = "find_ranges", "check the model and the calibration samples"
            raise StageError(stage, f"tensor {flat.tensors[index].name!r}: {error}", hint) from error
    group = scale_groups(flat, found)
    for index, of in group.items():
        lows[of], highs[of] = min(lows[of], lows[index]), max(highs[of], highs[index])
    return [Range(0, index, flat.tensors[index].name, lows[of], highs[of]) for index, of in group.items()]


def _of_one_scale(flat: TfliteModel) -> Iterator[set[int]]:
    for operator in flat.operators:
        if operator.name in SHARED_SCALE:
            yield {*operator.inputs, *operator.outputs}


def _in_all_steps(flat: TfliteModel) -> Iterator[set[int]]:
    """Yield the activations that are read with the same kernel, and those that are computed alike."""
    kernels: dict[int, list[Operator]] = {}
    for operator in flat.operators:
        if operator.name == "FULLY_CONNECTED" and flat.tensors[operator.inputs[1]].is_constant:
            kernels.setdefault(operator.inputs[1], []).append(operator)
    steps: dict[int, Any] = {
        each.index: kernel for kernel, found in kernels.items() for each in found if len(found) > 1
    }
    yield from ({each.inputs[0] for each in found} for found in kernels.values())
    numbers: dict[Any, int] = {}
    made: dict[int, int] = {}  # tensors that are computed alike have the same number
    for operator in flat.operators:
        inputs = tuple(made.get(index, -1 - index) for index in operator.inputs)
        known = steps.get(operator.index, (operator.name, inputs))
        for place, index in enumerate(operator.outputs):
            made[index] = numbers.setdefault((known, place), len(numbers))
    alike: dict[int, set[int]] = {}
    for index, number in made.items():
        alike.setdefault(number, set()).add(index)
    yield from alike.values()
