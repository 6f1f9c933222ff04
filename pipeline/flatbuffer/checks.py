"""Check a well-formed .tflite file: shapes, quantization, order of execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

import numpy as np

from pipeline.flatbuffer import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pipeline.flatbuffer.model import Operator, Subgraph, Tensor, TfliteModel
    from pipeline.flatbuffer.reader import Table

MAX_INT32 = 2**31 - 1
MAX_RANK = 32
MAX_SUBGRAPHS = 1000
# A scale far from its neighbours' aborts a kernel that prepares its fixed-point multiplier. A bias has the
# product of two scales, and converters give a dead channel 4e-9, so constants get twice the room.
MAX_SCALE_EXPONENT = 30
# Strides, windows and counts, which kernels divide by and multiply with unchecked.
MAX_STEP = 2**15
_STEP_OPTIONS = frozenset(
    {
        "StrideW", "StrideH", "StrideD", "FilterWidth", "FilterHeight", "BlockSize", "NumSplits",
        "DilationWFactor", "DilationHFactor", "DilationDFactor",
    }
)  # fmt: skip
# Kernels that read the scale of an 8-bit tensor without looking whether there is one.
_SCALED_OPERATORS = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED", "HARD_SWISH",
        "LEAKY_RELU", "LOGISTIC", "LOG_SOFTMAX", "MAX_POOL_2D", "MEAN", "MUL", "PRELU", "RELU", "RELU6",
        "SOFTMAX", "SQUARED_DIFFERENCE", "SUB", "TANH", "TRANSPOSE_CONV",
    }
)  # fmt: skip
# From which input on -1 may say that there is none, as for a bias; recurrent kernels have it anywhere.
_FIRST_OPTIONAL_INPUT = {
    "CONV_2D": 2, "CONV_3D": 2, "CONV_3D_TRANSPOSE": 3, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
}  # fmt: skip
_RECURRENT = ("LSTM", "RNN", "SVDF")
# Operators that make their output from nothing, or from what they call.
_SOURCES = (
    "VAR_HANDLE",
    "HASHTABLE",
    "CALL_ONCE",
    "CALL",
    "WHILE",
    "STABLEHLO_COMPOSITE",
    "STABLEHLO_CUSTOM_CALL",
)


class Fail(Protocol):
    """Raises an InputError that names the file."""

    def __call__(self, message: str, hint: str = ...) -> NoReturn: ...


def check_model(model: TfliteModel, root: Table, fail: Fail, allowed_custom: Collection[str] | None) -> None:
    """Refuse a model that a runtime would crash on, hang on, or misread.

    Args:
        model: the decoded file.
        root: its ``Model`` table.
        fail: raises the InputError.
        allowed_custom: names of custom operators that may occur; None for any.
    """
    for what, indices in (("inputs", model.subgraphs[0].inputs), ("outputs", model.subgraphs[0].outputs)):
        if not indices:
            fail(f"the model has no {what}", "convert it again, with its inputs and outputs")
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _check_shape(tensor, fail)
            _check_quantization(tensor, fail)
        for operator in graph.operators:
            _check_operator(operator, graph.tensors, fail, allowed_custom)
        _check_order(graph, fail)
        _check_zero_dimensions(graph, fail)
    _check_calls(model, fail)
    _check_signatures(model, root, fail)


def _label(tensor: Tensor) -> str:
    return f"tensor {tensor.index} ({tensor.name})"


def _check_shape(tensor: Tensor, fail: Fail) -> None:
    shape, signature = tensor.shape, tensor.shape_signature
    if len(shape) > MAX_RANK:
        fail(f"{_label(tensor)} has {len(shape)} dimensions")
    if any(size < 0 for size in shape) or any(size < -1 for size in signature):
        fail(f"{_label(tensor)} has a negative dimension in shape {list(shape)}")
    # A free dimension is stored as 1; a runtime would allocate and compute whatever stands there instead.
    pairs = zip(shape, signature, strict=False)
    if len(shape) != len(signature) or any(size != (1 if free == -1 else free) for size, free in pairs):
        fail(f"{_label(tensor)} has shape {list(shape)} but signature {list(signature)}")
    if tensor.elements > MAX_INT32:
        fail(f"{_label(tensor)} has more than 2^31 - 1 elements in shape {list(shape)}")
    if tensor.dtype in layout.UNSIZED or tensor.is_sparse or not tensor.is_constant:
        return
    if (expected := -(-tensor.elements * layout.bits(tensor.dtype) // 8)) != tensor.size_bytes:
        fail(f"{_label(tensor)} has {tensor.size_bytes} bytes where shape {list(shape)} needs {expected}")


def _check_quantization(tensor: Tensor, fail: Fail) -> None:
    if not tensor.scales:
        return
    limit = 2.0 ** (MAX_SCALE_EXPONENT * (2 if tensor.is_constant else 1))
    for scale in tensor.scales:
        if not 1 / limit < scale < limit:  # not-a-number is not, either
            fail(f"{_label(tensor)} has the quantization scale {scale}", "quantize the model again")
    if len(tensor.zero_points) != len(tensor.scales):
        fail(f"{_label(tensor)} has {len(tensor.scales)} scales but {len(tensor.zero_points)} zero points")
    if tensor.dtype in ("int8", "uint8", "int16", "int32"):
        limits = np.iinfo(tensor.dtype)
        if not all(limits.min <= zero_point <= limits.max for zero_point in tensor.zero_points):
            fail(f"{_label(tensor)} has a zero point outside {tensor.dtype}")
    if len(tensor.scales) > 1:
        if not 0 <= tensor.axis < len(tensor.shape):
            fail(f"{_label(tensor)} is quantized along axis {tensor.axis} of {len(tensor.shape)} dimensions")
        if len(tensor.scales) != tensor.shape[tensor.axis]:
            fail(f"{_label(tensor)} has {len(tensor.scales)} scales for {tensor.shape[tensor.axis]} channels")


def _check_operator(
    operator: Operator, tensors: tuple[Tensor, ...], fail: Fail, allowed_custom: Collection[str] | None
) -> None:
    what = f"operator {operator.index} ({operator.name})"
    if operator.is_custom:
        if allowed_custom is not None and operator.name not in allowed_custom:
            kind = "Flex (TensorFlow)" if operator.name.startswith("Flex") else "custom"
            fail(
                f"{what} is a {kind} operator, which needs code outside the runtime",
                "convert with TFLite builtins only, or replace the layer",
            )
        return
    _check_options(operator, what, fail)
    required = _FIRST_OPTIONAL_INPUT.get(operator.name, len(operator.inputs))
    lacks_one = -1 in operator.inputs[:required] and not operator.name.endswith(_RECURRENT)
    if lacks_one or (not operator.inputs and operator.name not in _SOURCES):
        fail(f"{what} lacks an input")
    if operator.name in _SCALED_OPERATORS:
        for index in (*operator.inputs[:2], *operator.outputs):
            if tensors[index].dtype in ("int8", "uint8") and not tensors[index].scales:
                fail(f"{what} needs a scale on {_label(tensors[index])}", "quantize the model again")


def _check_options(operator: Operator, what: str, fail: Fail) -> None:
    expected = layout.options_table(operator.name)
    if operator.options_table and expected not in ("", operator.options_table):
        fail(f"{what} has {operator.options_table} where {expected} belongs")
    for field in layout.fields(expected) if expected else ():
        if (
            field.name in _STEP_OPTIONS
            and not 1 <= (value := operator.options.get(field.name, 0)) <= MAX_STEP
        ):
            fail(f"{what} has {field.name} {value}, which must be from 1 to {MAX_STEP}")


def _check_order(graph: Subgraph, fail: Fail) -> None:
    """Refuse operators that read what nothing wrote before, which is what a cycle comes to."""
    ready = {t.index for t in graph.tensors if t.is_constant or t.is_variable or 0 in t.shape}
    constant = {t.index for t in graph.tensors if t.is_constant}
    if taken := constant.intersection(graph.inputs):
        fail(f"{_label(graph.tensors[min(taken)])} is both an input and a constant")
    written = set(graph.inputs)
    for operator in graph.operators:
        what = f"operator {operator.index} ({operator.name})"
        for index in operator.inputs:
            if index >= 0 and index not in ready and index not in written:
                fail(f"{what} reads {_label(graph.tensors[index])}, which nothing before it writes")
        for index in operator.outputs:
            if index in constant or index in written:
                fail(f"{what} writes {_label(graph.tensors[index])}, which already has a value")
            written.add(index)
    for index in graph.outputs:
        if index not in ready and index not in written:
            fail(f"the output {_label(graph.tensors[index])} is written by no operator")


def _check_zero_dimensions(graph: Subgraph, fail: Fail) -> None:
    """Refuse empty tensors, other than a constant empty list such as the shape of a scalar."""
    computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    read = {index for operator in graph.operators for index in operator.inputs}
    for tensor in graph.tensors:
        if 0 in tensor.shape and (tensor.index in computed or (tensor.is_float and tensor.index in read)):
            what = f"{_label(tensor)} has a zero dimension in shape {list(tensor.shape)}"
            fail(what, "convert the model with a fixed input shape")


def _called(operator: Operator) -> Iterator[int]:
    """Yield the indices of the subgraphs that an operator runs."""
    for name, value in operator.options.items():
        if name.endswith("SubgraphIndex") or name == "Subgraph":
            yield value
        elif name.endswith("SubgraphIndices"):
            yield from value


def _check_calls(model: TfliteModel, fail: Fail) -> None:
    """Refuse calls of subgraphs that do not exist or that lead back to their caller."""
    if len(model.subgraphs) > MAX_SUBGRAPHS:
        fail(f"it holds {len(model.subgraphs)} subgraphs")
    calls: dict[int, set[int]] = {}
    for index, graph in enumerate(model.subgraphs):
        calls[index] = {called for operator in graph.operators for called in _called(operator)}
        for called in calls[index]:
            if not 0 <= called < len(model.subgraphs):
                fail(f"subgraph {index} calls subgraph {called} of {len(model.subgraphs)}")
    while leaves := [index for index, called in calls.items() if not called]:
        for leaf in leaves:
            del calls[leaf]
        for others in calls.values():
            others.difference_update(leaves)
    if calls:
        fail(f"subgraph {min(calls)} calls itself through others")


def _check_signatures(model: TfliteModel, root: Table, fail: Fail) -> None:
    for signature in root["SignatureDefs"]:
        what = f"the signature {signature['SignatureKey']!r}"
        if not signature["SubgraphIndex"] < len(model.subgraphs):
            fail(f"{what} names subgraph {signature['SubgraphIndex']} of {len(model.subgraphs)}")
        tensors = model.subgraphs[signature["SubgraphIndex"]].tensors
        for entry in (*signature["Inputs"], *signature["Outputs"]):
            if not entry["TensorIndex"] < len(tensors):
                fail(f"{what} names tensor {entry['TensorIndex']} of {len(tensors)}")
