"""A model small enough to be written by hand, without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def addition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an int8 model of one ADD: (1, 4) plus the constant 1, 2, 3, 4, in steps of 1."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, buffer: int) -> Any:
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [1.0], [0]
        made = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), [1, 4], schema.TensorType.INT8
        made.buffer, made.quantization = buffer, quantization
        return made

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 2
    add = schema.OperatorT()
    add.inputs, add.outputs = [0, 1], [2]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", 0), tensor("constant", 1), tensor("sum", 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [add]
    constant = schema.BufferT()
    constant.data = np.array([1, 2, 3, 4], np.uint8)
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT(), constant]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path_factory.mktemp("models") / "addition.tflite"
    path.write_bytes(builder.Output())
    return path
