"""A full-integer .tflite of two kilobytes, built from the schema: a real file that costs no conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

Edit = Callable[[Any], None]

# Two of the convolution's 36 weights are zero, and half of the dense layer's 192.
CONV_KERNEL = np.where(np.arange(36) % 18 == 0, 0, np.arange(36) % 7 + 1).astype(np.int8).reshape(4, 3, 3, 1)
DENSE_KERNEL = np.tile(np.array([3, 0], np.int8), 96).reshape(3, 64)


def _tensor(name: str, shape: list[int], kind: int, buffer: int = 0, scales: Any = (), zero: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    if len(scales):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray(scales, np.float32)
        tensor.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: str, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, kind), options
    return operator


def tiny_model() -> Any:
    """Return an int8 classifier of 4x4x1 images: convolution, reshape, dense, softmax over three classes."""
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.subgraphs = 3, "tiny", [graph]
    constants = [
        CONV_KERNEL,
        np.zeros(4, np.int32),
        np.array([1, 64], np.int32),
        DENSE_KERNEL,
        np.zeros(3, np.int32),
    ]
    model.buffers = [schema.BufferT() for _ in range(len(constants) + 2)]
    for buffer, constant in zip(model.buffers[1:], [*constants, np.zeros(16, np.uint8)], strict=True):
        buffer.data = constant.view(np.uint8).ravel()
    model.metadata = [schema.MetadataT()]
    model.metadata[0].name, model.metadata[0].buffer = "min_runtime_version", 6
    for code in (schema.BuiltinOperator.CONV_2D, 22, schema.BuiltinOperator.FULLY_CONNECTED, 25):
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 3 if code == schema.BuiltinOperator.CONV_2D else 1
        model.operatorCodes = [*(model.operatorCodes or []), entry]

    kernel_scales = [0.01, 0.02, 0.03, 0.04]
    graph.tensors = [
        _tensor("image", [1, 4, 4, 1], int8, 0, [1 / 255], -128),
        _tensor("conv/kernel", [4, 3, 3, 1], int8, 1, kernel_scales),
        _tensor("conv/bias", [4], int32, 2, [scale / 255 for scale in kernel_scales]),
        _tensor("conv/relu", [1, 4, 4, 4], int8, 0, [0.02], -128),
        _tensor("shape", [2], int32, 3),
        _tensor("flat", [1, 64], int8, 0, [0.02], -128),
        _tensor("dense/kernel", [3, 64], int8, 4, [0.01]),
        _tensor("dense/bias", [3], int32, 5, [0.0002]),
        _tensor("dense/logits", [1, 3], int8, 0, [0.1], 4),
        _tensor("probabilities", [1, 3], int8, 0, [1 / 256], -128),
    ]
    graph.tensors[0].shapeSignature = [-1, 4, 4, 1]
    convolution, softmax = schema.Conv2DOptionsT(), schema.SoftmaxOptionsT()
    convolution.strideW = convolution.strideH = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    softmax.beta = 1.0
    graph.operators = [
        _operator(0, [0, 1, 2], [3], "Conv2DOptions", convolution),
        _operator(1, [3, 4], [5], "ReshapeOptions", schema.ReshapeOptionsT()),
        _operator(2, [5, 6, 7], [8], "FullyConnectedOptions", schema.FullyConnectedOptionsT()),
        _operator(3, [8], [9], "SoftmaxOptions", softmax),
    ]
    graph.inputs, graph.outputs = [0], [9]
    return model


def pack(model: Any) -> bytes:
    """Return the file of a schema object."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="session")
def tiny_tflite() -> bytes:
    """The file, undamaged."""
    return pack(tiny_model())


@pytest.fixture(scope="session")
def tiny_tflite_with() -> Callable[[Edit], bytes]:
    """A function that returns the file after ``edit`` changed the schema's ``ModelT``."""

    def build(edit: Edit) -> bytes:
        model = tiny_model()
        edit(model)
        return pack(model)

    return build


@pytest.fixture(scope="session")
def store_dataset() -> Callable[..., Any]:
    """A function that stores arrays as a data set: one input and one output, if nothing else is said."""
    from pipeline.artifacts import Dataset

    def store(
        folder: Any, inputs: Any, target: Any = None, *, task: str = "classification", test: int = 0
    ) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = inputs if isinstance(inputs, list) else [inputs]
        samples = len(arrays[0])
        data = Dataset(
            folder=folder,
            tasks=(task,),
            classes=("a", "b", "c"),
            shapes=tuple(array.shape[1:] for array in arrays),
            train_samples=samples - test,
            test_samples=test,
        )
        for index, array in enumerate(arrays):
            np.save(data.input(index), array)
        if target is not None:
            np.save(data.target(0), target)
        np.save(data.rows("train"), np.arange(samples - test))
        np.save(data.rows("test"), np.arange(samples - test, samples))
        return data

    return store


@pytest.fixture(scope="session")
def prepared_model() -> Callable[..., Any]:
    """A function that describes a prepared model of one input and one output."""
    from models.ports import Port
    from pipeline.artifacts import PreparedModel, Transform

    def describe(folder: Any, **changes: Any) -> Any:
        facts = {
            "folder": folder,
            "inputs": (Port("input", (5,)),),
            "outputs": (Port("output", (3,), activation="softmax"),),
            "tasks": ("classification",),
            "from_logits": (False,),
            "preprocessing": (Transform(reason="declared"),),
        }
        return PreparedModel(**(facts | changes))

    return describe
