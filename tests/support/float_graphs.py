"""Small float .tflite files, built from the schema, and int8 files of them as converters make them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from collections.abc import Iterator

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
_KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}  # and the axis of output channels


@dataclass(frozen=True)
class Arrays:
    """Samples as a build has them: the model's inputs, (n, ...) each."""

    arrays: tuple[np.ndarray[Any, Any], ...]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def chunks(self, size: int) -> Iterator[Arrays]:
        for start in range(0, len(self), size):
            yield Arrays(tuple(each[start : start + size] for each in self.arrays))

    def take(self, places: Any) -> Arrays:
        return Arrays(tuple(each[places] for each in self.arrays))

    def model_inputs(self) -> list[np.ndarray[Any, Any]]:
        return list(self.arrays)


class FloatGraph:
    """A model in the making: each method adds an operator and returns the tensor that it writes."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], []

    def input(self, *shape: int) -> int:
        name = f"serving_default_input_{len(self.graph.inputs)}:0"
        self.graph.inputs.append(self._tensor(name, [1, *shape]))
        return self.graph.inputs[-1]

    def constant(self, values: Any) -> int:
        values = np.asarray(values)
        kind = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}[values.dtype.name]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        name = f"constant {len(self.graph.tensors)}"
        return self._tensor(name, list(values.shape), kind, len(self.model.buffers) - 1)

    def conv(
        self, source: int, weights: Any, bias: Any = None, *, activation: int = 0, stride: int = 1,
        padding: str = "SAME", dilation: int = 1,
    ) -> int:  # fmt: skip
        """Weights (out, height, width, in)."""
        options = schema.Conv2DOptionsT()
        return self._convolution(
            "CONV_2D", options, source, weights, bias, activation, stride, padding, dilation
        )

    def depthwise(
        self, source: int, weights: Any, bias: Any = None, *, activation: int = 0, stride: int = 1,
        padding: str = "SAME", dilation: int = 1,
    ) -> int:  # fmt: skip
        """Weights (1, height, width, out)."""
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = np.shape(weights)[-1] // self.graph.tensors[source].shape[-1]
        return self._convolution(
            "DEPTHWISE_CONV_2D", options, source, weights, bias, activation, stride, padding, dilation
        )

    def dense(self, source: int, weights: Any, bias: Any = None, *, activation: int = 0) -> int:
        """Weights (out, in), or the tensor that has them."""
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = activation
        kernel = weights if isinstance(weights, int) else self.constant(np.asarray(weights, np.float32))
        inputs = [source, kernel]
        if bias is not None:
            inputs.append(self.constant(np.asarray(bias, np.float32)))
        return self.add("FULLY_CONNECTED", inputs, [1, self.graph.tensors[kernel].shape[0]], options)

    def max_pool(self, source: int) -> int:
        """Of 2x2."""
        options = schema.Pool2DOptionsT()
        options.strideH = options.strideW = options.filterHeight = options.filterWidth = 2
        _, height, width, channels = self.graph.tensors[source].shape
        return self.add("MAX_POOL_2D", [source], [1, -(-height // 2), -(-width // 2), channels], options)

    def flatten(self, source: int) -> int:
        elements = int(np.prod(self.graph.tensors[source].shape))
        shape = self.constant(np.array([1, elements], np.int32))
        return self.add("RESHAPE", [source, shape], [1, elements], schema.ReshapeOptionsT())

    def mean(self, source: int) -> int:
        axes = self.constant(np.array([1, 2], np.int32))
        shape = [1, self.graph.tensors[source].shape[-1]]
        return self.add("MEAN", [source, axes], shape, schema.ReducerOptionsT())

    def sum(self, one: int, other: int) -> int:
        return self.add("ADD", [one, other], self.graph.tensors[one].shape, schema.AddOptionsT())

    def add(self, kind: str, inputs: list[int], shape: list[int], options: Any) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs = len(self.model.operatorCodes) - 1, inputs
        table = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        operator.builtinOptions = options
        operator.outputs = [self._tensor(f"output of {kind} {len(self.graph.operators)}", shape)]
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def file(self, *outputs: int) -> bytes:
        self.graph.outputs = list(outputs)
        return packed(self.model)

    def _convolution(
        self, kind: str, options: Any, source: int, weights: Any, bias: Any, activation: int, stride: int,
        padding: str, dilation: int,
    ) -> int:  # fmt: skip
        options.fusedActivationFunction, options.padding = activation, getattr(schema.Padding, padding)
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        shape = np.shape(weights)
        sizes = self.graph.tensors[source].shape[1:3]
        reach = [(size - 1) * dilation for size in shape[1:3]]
        left = [size - each * (padding == "VALID") for size, each in zip(sizes, reach, strict=True)]
        channels = shape[_KERNELS[kind]]
        out = [1, *(-(-size // stride) for size in left), channels]
        bias = np.zeros(channels) if bias is None else bias  # a convolution needs one
        kernel = [self.constant(np.asarray(values, np.float32)) for values in (weights, bias)]
        return self.add(kind, [source, *kernel], out, options)

    def _tensor(
        self, name: str, shape: list[int], kind: int = schema.TensorType.FLOAT32, buffer: int = 0
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def quantized(content: bytes, ranges: Any, requested: str = "int8") -> bytes:
    """Return an int8 file of a float file, as a backend does: of kernels, pooling, MEAN, RESHAPE and ADD.

    Args:
        content: the file.
        ranges: of its activations, with attributes ``tensor``, ``low`` and ``high``.
        requested: always "int8".
    """
    assert requested == "int8"
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for each in ranges:
        tensor, low, high = graph.tensors[each.tensor], min(each.low, 0.0), max(each.high, 0.0)
        scale = max(high - low, 1e-6) / 255
        _quantize(tensor, [scale], int(np.round(-128 - low / scale)))
    for operator in graph.operators:
        kind = max(model.operatorCodes[operator.opcodeIndex].builtinCode, 0)
        name = next(key for key, value in vars(schema.BuiltinOperator).items() if value == kind)
        if name in _KERNELS:
            _quantize_kernel(model, graph, operator, _KERNELS[name])
        elif name in {"RESHAPE", "MAX_POOL_2D"}:
            first, second = (graph.tensors[index] for index in (operator.inputs[0], operator.outputs[0]))
            second.quantization = copy.deepcopy(first.quantization)
    return packed(model)


def _quantize(tensor: Any, scales: Any, zero: int, axis: int = 0, kind: int = schema.TensorType.INT8) -> None:
    tensor.type, tensor.quantization = kind, schema.QuantizationParametersT()
    tensor.quantization.scale = np.asarray(scales, np.float32)
    tensor.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
    tensor.quantization.quantizedDimension = axis


def _quantize_kernel(model: Any, graph: Any, operator: Any, axis: int) -> None:
    kernel = graph.tensors[operator.inputs[1]]
    if kernel.type == schema.TensorType.INT8:
        return
    values = model.buffers[kernel.buffer].data.view(np.float32).reshape(kernel.shape)
    others = tuple(at for at in range(values.ndim) if at != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    model.buffers[kernel.buffer].data = np.rint(values / scales).astype(np.int8).view(np.uint8).ravel()
    _quantize(kernel, scales.ravel(), 0, axis)
    if len(operator.inputs) > 2:
        bias = graph.tensors[operator.inputs[2]]
        widths = scales.ravel() * graph.tensors[operator.inputs[0]].quantization.scale[0]
        real = model.buffers[bias.buffer].data.view(np.float32)
        model.buffers[bias.buffer].data = np.rint(real / widths).astype(np.int32).view(np.uint8)
        _quantize(bias, widths, 0, kind=schema.TensorType.INT32)
