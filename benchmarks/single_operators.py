"""Minimal .tflite files for other benchmarks: one that names an operator, and one that is an operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

DTYPES = ("float32", "float16", "int8", "uint8", "int16")
SYMMETRIC = frozenset({"int16"})
# Activations whose output range the kernels fix: (scale, zero point) of int8; uint8 and int16 follow from it.
FIXED = {
    "LOGISTIC": {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)},
    "SOFTMAX": {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)},
    "TANH": {"int8": (1 / 128, 0), "uint8": (1 / 128, 128), "int16": (1 / 32768, 0)},
    "L2_NORMALIZATION": {"int8": (1 / 128, 0), "uint8": (1 / 128, 128)},
}


@dataclass(frozen=True)
class Case:
    """An operator's tensors and options.

    Attributes:
        shapes: of the inputs that are computed.
        output: shape of each output.
        constants: inputs that follow: an int32 array, or "weights", "bias" with a shape.
        first: constants that come before the computed inputs.
        options: of the table that the schema has for the operator.
        channels: that weights and bias have a scale each for in int8; 1 if they share one.
        output_dtype: if it is another one.
    """

    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    constants: tuple[Any, ...] = ()
    first: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    channels: int = 1
    output_dtype: str = ""


IMAGE = (1, 4, 4, 2)
POOLED = Case(
    (IMAGE,), (1, 2, 2, 2), options={"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
)
UNARY = Case((IMAGE,), IMAGE)
BINARY = Case((IMAGE, IMAGE), IMAGE)
STRIDES = {"strideH": 1, "strideW": 1}


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


REDUCED = Case((IMAGE,), (1, 2), (ints(1, 2),))
CASE_OF = {
    **dict.fromkeys(("ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LOG", "LOGISTIC", "NEG", "RELU"), UNARY),
    **dict.fromkeys(("RELU6", "RELU_N1_TO_1", "RSQRT", "SQRT", "SQUARE", "TANH", "L2_NORMALIZATION"), UNARY),
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW"), BINARY),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), POOLED),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), REDUCED),
    "SOFTMAX": Case((IMAGE,), IMAGE, options={"beta": 1.0}),
    "LEAKY_RELU": Case((IMAGE,), IMAGE, options={"alpha": 0.1}),
    "PRELU": Case((IMAGE,), IMAGE, (("weights", (1, 1, 2)),)),
    "CONV_2D": Case((IMAGE,), IMAGE, (("weights", (2, 1, 1, 2)), ("bias", (2,))), options={**STRIDES}),
    "DEPTHWISE_CONV_2D": Case(
        (IMAGE,),
        IMAGE,
        (("weights", (1, 1, 1, 2)), ("bias", (2,))),
        options={**STRIDES, "depthMultiplier": 1},
    ),
    "FULLY_CONNECTED": Case(((1, 4),), (1, 2), (("weights", (2, 4)), ("bias", (2,)))),
    "TRANSPOSE_CONV": Case(
        (IMAGE,), IMAGE, first=(ints(*IMAGE), ("weights", (2, 1, 1, 2))), options={**STRIDES}
    ),
    "BATCH_MATMUL": Case(((1, 2, 3), (1, 3, 4)), (1, 2, 4)),
    "CONCATENATION": Case((IMAGE, IMAGE), (1, 4, 4, 4), options={"axis": 3}),
    "RESHAPE": Case((IMAGE,), (1, 32), (ints(1, 32),)),
    "TRANSPOSE": Case((IMAGE,), (1, 2, 4, 4), (ints(0, 3, 1, 2),)),
    "PAD": Case((IMAGE,), (1, 6, 6, 2), (ints([0, 0], [1, 1], [1, 1], [0, 0]),)),
    "SLICE": Case((IMAGE,), (1, 2, 2, 2), (ints(0, 0, 0, 0), ints(1, 2, 2, 2))),
    "STRIDED_SLICE": Case((IMAGE,), (1, 2, 2, 2), (ints(0, 0, 0, 0), ints(1, 4, 4, 2), ints(1, 2, 2, 1))),
    "GATHER": Case(((4, 2),), (2, 2), (ints(0, 3),)),
    "PACK": Case(((2, 3), (2, 3)), (2, 2, 3), options={"valuesCount": 2, "axis": 0}),
    "UNPACK": Case(((2, 3),), (3,), options={"num": 2, "axis": 0}, outputs=2),
    "SPLIT": Case((IMAGE,), (1, 4, 4, 1), first=(ints(3)[0],), options={"numSplits": 2}, outputs=2),
    "RESIZE_BILINEAR": Case((IMAGE,), (1, 8, 8, 2), (ints(8, 8),)),
    "RESIZE_NEAREST_NEIGHBOR": Case((IMAGE,), (1, 8, 8, 2), (ints(8, 8),)),
    "EXPAND_DIMS": Case(((2, 3),), (1, 2, 3), (ints(0)[0],)),
    "SQUEEZE": Case(((1, 2, 3),), (2, 3), options={"squeezeDims": [0]}),
    "SPACE_TO_DEPTH": Case((IMAGE,), (1, 2, 2, 8), options={"blockSize": 2}),
    "DEPTH_TO_SPACE": Case(((1, 2, 2, 8),), IMAGE, options={"blockSize": 2}),
}
CASES = dict.fromkeys(CASE_OF, DTYPES)


def name_operator(operator: str, version: int) -> bytes:
    """A file that names an operator and uses it nowhere."""
    tensor = _tensor((1,), "float32", "both")
    return _pack(operator, version, [tensor], [schema.BufferT()], [0], [0], None)


def single_operator(operator: str, dtype: str, case: Case | None = None, repeat: int = 1) -> bytes:
    """A file whose one node is the operator, its tensors of ``dtype``, quantized as the kernel wants.

    Args:
        operator: the schema's name of it.
        dtype: of what is computed.
        case: its tensors and options; by default that of ``CASE_OF``.
        repeat: apply it this many times, each time to its own output, which needs the shape of its input.
    """
    case = case or CASE_OF[operator]
    tensors: list[Any] = []
    buffers = [schema.BufferT()]

    def add(shape: tuple[int, ...], kind: str, name: str, data: Any = None, scale: Any = (0.5, None)) -> int:
        tensor = _tensor(shape, kind, name)
        if kind in {"int8", "uint8", "int16"} or (kind in {"int32", "int64"} and name == "bias"):
            tensor.quantization = schema.QuantizationParametersT()
            zero = 128 if kind == "uint8" and scale[1] is None else scale[1] or 0
            channels = case.channels if name in {"weights", "bias"} and kind in {"int8", "int32"} else 1
            tensor.quantization.scale = np.full(channels, scale[0], np.float32)
            tensor.quantization.zeroPoint = np.full(channels, zero, np.int64)
            if channels > 1 and name == "weights":
                tensor.quantization.quantizedDimension = shape.index(channels, -1 if shape[0] == 1 else 0)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(data).tobytes(), np.uint8)
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        tensors.append(tensor)
        return len(tensors) - 1

    def constant(what: Any) -> int:
        if not isinstance(what, tuple):
            return add(np.shape(what), "int32", "constant", what)
        name, shape = what
        if name == "weights":
            kind = "int8" if dtype == "int16" and operator != "PRELU" else dtype
            return add(shape, kind, name, np.ones(shape, kind))
        kind = {"int8": "int32", "uint8": "int32", "int16": "int64"}.get(dtype, dtype)
        return add(shape, kind, name, np.ones(shape, kind), (0.25, 0))

    before = [constant(what) for what in case.first]
    computed = [add(shape, dtype, f"input {i}") for i, shape in enumerate(case.shapes)]
    inputs = before + computed + [constant(what) for what in case.constants]
    scale = FIXED.get(operator, {}).get(dtype, (0.5, None))
    made = case.output_dtype or dtype
    outputs = [add(case.output, made, f"output {i}", scale=scale) for i in range(case.outputs)]
    nodes = [_node(inputs, outputs)]
    for number in range(1, repeat):
        given, outputs = outputs, [add(case.output, dtype, f"output {number}", scale=scale)]
        place = inputs.index(computed[0])
        nodes.append(_node([*inputs[:place], *given, *inputs[place + 1 :]], outputs))
    return _pack(operator, 1, tensors, buffers, computed, outputs, (nodes, case.options))


def _node(inputs: list[int], outputs: list[int]) -> Any:
    node = schema.OperatorT()
    node.inputs, node.outputs = inputs, outputs
    return node


def _tensor(shape: tuple[int, ...], dtype: str, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.shape, tensor.name, tensor.buffer = list(shape), name, 0
    tensor.type = getattr(schema.TensorType, dtype.upper())
    return tensor


def _pack(
    operator: str,
    version: int,
    tensors: list[Any],
    buffers: list[Any],
    inputs: list[int],
    outputs: list[int],
    used: tuple[list[Any], dict[str, Any]] | None,
) -> bytes:
    from pipeline.flatbuffer.layout import options_table

    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, inputs, outputs, []
    if used is not None:
        graph.operators, options = used
        for node in graph.operators:
            _set_options(node, options_table(operator), options)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _set_options(node: Any, table: str, options: dict[str, Any]) -> None:
    if table:
        node.builtinOptions = getattr(schema, f"{table}T")()
        node.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        for name, value in options.items():
            if not hasattr(node.builtinOptions, name):
                raise AttributeError(name)
            setattr(node.builtinOptions, name, value)
