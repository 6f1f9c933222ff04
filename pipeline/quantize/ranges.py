"""Ranges for post-training quantization: what each activation of a float model reaches on samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import CalibrationError
from calibration.ranges import choose_range
from pipeline.artifacts import Ranges
from pipeline.errors import StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Range
from pipeline.isolation import sandbox
from pipeline.quantize.activations import statistics
from pipeline.quantize.tflite import float_file
from pipeline.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from calibration.histogram import Statistics
    from pipeline.artifacts import CalibrationSet, Dataset, ModelArtifact
    from pipeline.config import CalibrationConfig
    from pipeline.flatbuffer import Operator, TfliteModel

STAGE = "find_ranges"
SHARED_SCALE = frozenset(
    {"AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS"}
    | {"GATHER", "GATHER_ND", "MAX_POOL_2D", "MAXIMUM", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2"}
    | {"REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2"}
    | {"SELECT", "SELECT_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE"}
    | {"STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"}
)
"""Operators whose int8 kernels need one scale for what they read and what they write."""


def find_ranges(
    model: ModelArtifact,
    samples: CalibrationSet,
    data: Dataset,
    *,
    config: CalibrationConfig,
    timeout_s: float,
    out: Path,
) -> Ranges:
    """Convert the model to float32, and find the range of each activation on the calibration samples.

    A model that does not convert has no ranges; the conversion then tries the formats that need none.

    Args:
        model: a ``KerasModel``, or an opaque ``PreparedModel``.
        config: how ranges are chosen.
        timeout_s: seconds after which the process that does it is killed.

    Raises:
        StageTimeoutError: it took too long, which says nothing of the model.
        StageKilledError: it was killed, as where memory runs out, which says as little.
    """
    made = Ranges(folder=out)
    chosen = Samples.of(data, "train", model.preprocessing).take(np.load(samples.indices))
    try:
        sandbox.run(STAGE, write_ranges, model, chosen, config, made, timeout_s=timeout_s)
    except (StageKilledError, StageTimeoutError):
        raise
    except StageError as error:
        return Ranges(problem=error.cause)
    return made


def write_ranges(model: ModelArtifact, samples: Samples, config: CalibrationConfig, made: Ranges) -> None:
    """Write the files of ``made``; runs in a child process."""
    content, unseen = float_file(model, samples)
    found = ranges_from(content, statistics(content, samples), config.ranges, config.percentile)
    made.tflite.write_bytes(content)
    table = [each._asdict() for each in (*found, *unseen)]
    made.table.write_text(json.dumps(table, indent=1), encoding="utf-8")


def read_ranges(made: Ranges) -> list[Range]:
    """Return the table of ranges."""
    return [Range(**entry) for entry in json.loads(made.table.read_text(encoding="utf-8"))]


def ranges_from(
    content: bytes, found: Mapping[int, Statistics], method: str, percentile: float
) -> list[Range]:
    """Return a range for each activation of a float .tflite, one for all that share a scale.

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
    chosen = {}
    for index, each in found.items():
        try:
            chosen[index] = choose_range(each, method, percentile)
        except CalibrationError as error:
            hint = "check the model and the calibration samples"
            raise StageError(STAGE, f"tensor {flat.tensors[index].name!r}: {error}", hint) from error
    group = _groups(flat, chosen)
    ends = {
        place: [chosen[index] for index, of in group.items() if of == place] for place in set(group.values())
    }
    return [
        Range(
            0,
            index,
            flat.tensors[index].name,
            min(low for low, _ in ends[group[index]]),
            max(high for _, high in ends[group[index]]),
        )
        for index in chosen
    ]


def _groups(flat: TfliteModel, chosen: Iterable[int]) -> dict[int, int]:
    """Return for each activation the first of those that need its range.

    These are what an operator of one scale reads and writes, and the same activation in several steps of an
    unrolled recurrent layer. A bias has the scale of the input times that of the kernel, so that the file
    has one bias, and one description of each activation, instead of one per step.
    """
    group = {index: index for index in chosen}
    for indices in (*_of_one_scale(flat), *_in_all_steps(flat)):
        merged = {group[index] for index in indices if index in group}
        group = {index: min(merged) if of in merged else of for index, of in group.items()}
    return group


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
