"""Few levels in the converted file: ranges that give outputs theirs, and the proof that none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StageError
from pipeline.flatbuffer import kernels, read_tflite
from pipeline.formats import has_integers
from pipeline.quantize.layers import is_of_layer
from pipeline.training.kernels import distinct_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Operator, Tensor, TfliteModel
    from pipeline.flatbuffer.edit import Range
    from pipeline.formats import Format
    from pipeline.layer_records import LayerRecord

# Operators whose output has the scale of their input, and one input that is not a constant.
SAME_SCALE = frozenset(
    {
        "MAX_POOL_2D",
        "RESHAPE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "TRANSPOSE",
        "STRIDED_SLICE",
        "SLICE",
        "PAD",
        "GATHER",
    }
    | {"RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "TILE", "SPLIT", "UNPACK"}
)
_RECTIFIED = frozenset({1, 3})  # the schema's ActivationFunctionType RELU and RELU6
_CHANNELS_LAST = frozenset({"DEPTHWISE_CONV_2D", "CONV_3D"})  # others have output channels first
STAGE = "convert"
_REPORT = "report this model: the few values of weights must survive quantization"


def int8_range(high: float, bits: int) -> tuple[float, float]:
    """Return the range that gives an int8 tensor ``2**bits`` levels from 0 to ``high``.

    The scale is the step between two levels, and 127 stands for ``high``. Zero is at ``128 - 2**bits``, so an
    output that is never negative has ``2**bits`` codes, and int8's own limit clips it at ``high``.
    """
    return high - 255 * high / (2**bits - 1), high


def with_output_levels(ranges: Iterable[Range], content: bytes, layers: Sequence[LayerRecord]) -> list[Range]:
    """Replace the ranges of rounded outputs, and of what only moves or selects their values.

    Args:
        ranges: of the activations.
        content: the float file that they are of.
        layers: records of the model that it was converted from.
    """
    rounded = [layer for layer in layers if layer.output_bits]
    if not rounded:
        return list(ranges)
    flat, fixed = read_tflite(content), {}
    for layer in rounded:
        for tensor in _rounded(flat, layer):
            for index in (tensor.index, *_moved(flat, tensor.index)):
                fixed[index] = int8_range(layer.output_high, layer.output_bits)
    return [
        each if each.subgraph or each.tensor not in fixed
        else each._replace(low=fixed[each.tensor][0], high=fixed[each.tensor][1])
        for each in ranges
    ]  # fmt: skip


def require_levels(flat: TfliteModel, layers: Iterable[LayerRecord], written: Format) -> None:
    """Check that the levels of weights and outputs are in the file.

    Raises:
        StageError: weights of a layer have more values than before, or fewer unless they are clustered, or
            its output another step.
    """
    for layer in layers:
        if layer.levels:
            _require_weights(flat, layer)
        if layer.output_bits and has_integers(written):
            _require_output(flat, layer)


def _require_weights(flat: TfliteModel, layer: LayerRecord) -> None:
    constants = {
        tensor.data: (operator, tensor)
        for operator, tensor in _kernels_of(flat, layer.name)
        if tensor.is_readable  # a kernel that is used in each step is stored once
    }
    columns = [_columns(flat, *each) for each in constants.values()]
    found = sum(map(distinct_values, columns))
    # A batch normalization with gamma 0 makes a channel zero.
    zero = sum(int((~each.any(axis=0)).sum()) for each in columns)
    # int8 may merge clusters, which are not evenly spaced; it never separates equal weights of a channel.
    least = 1 if layer.clusters else layer.distinct - zero * (layer.levels - 1)
    most = max((distinct_values(channel[:, None]) for each in columns for channel in each.T), default=0)
    if not (least <= found <= layer.distinct and most <= layer.levels):
        cause = (
            f"the weights of layer {layer.name!r} had {layer.distinct:,} distinct values, added up over its "
            f"output channels, before the conversion and have {found:,} after"
        )
        raise StageError(STAGE, cause, _REPORT)


def _require_output(flat: TfliteModel, layer: LayerRecord) -> None:
    step, zero = layer.output_high / (2**layer.output_bits - 1), 128 - 2**layer.output_bits
    tensors = _rounded(flat, layer)
    if not tensors or any(
        len(each.scales) != 1 or not np.isclose(each.scales[0], step, 1e-3) or each.zero_points[0] != zero
        for each in tensors
    ):
        cause = (
            f"the output of layer {layer.name!r} does not have its {2**layer.output_bits} levels in the file"
        )
        raise StageError(STAGE, cause, "give it 8 bits: [[compress]] layers")


def _kernels_of(flat: TfliteModel, layer: str) -> Iterator[tuple[Operator, Tensor]]:
    for index, tensor in kernels(flat.subgraphs[0]).items():
        operator = flat.operators[index]
        names = [tensor.name, *(flat.tensors[output].name for output in operator.outputs)]
        if any(is_of_layer(name, layer) for name in names):
            yield operator, tensor


def _columns(flat: TfliteModel, operator: Operator, tensor: Tensor) -> NDArray[Any]:
    """Return a kernel as (n, output channels)."""
    values = flat.constant(tensor)
    axis = values.ndim - 1 if operator.name in _CHANNELS_LAST else 0
    return np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])


def _rounded(flat: TfliteModel, layer: LayerRecord) -> list[Tensor]:
    """Return the tensors that a layer's ReLU writes."""
    return [
        flat.tensors[operator.outputs[0]]
        for operator in flat.operators
        if _rectifies(operator) and is_of_layer(flat.tensors[operator.outputs[0]].name, layer.name)
    ]


def _rectifies(operator: Operator) -> bool:
    fused = operator.options.get("FusedActivationFunction")
    return operator.name in {"RELU", "RELU6"} or fused in _RECTIFIED


def _moved(flat: TfliteModel, tensor: int) -> Iterator[int]:
    """Yield the tensors whose values are those of ``tensor``."""
    for operator in flat.operators:
        if operator.name in SAME_SCALE and tensor in operator.inputs:
            for output in operator.outputs:
                yield output
                yield from _moved(flat, output)
