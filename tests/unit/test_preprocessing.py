"""Which range raw samples are scaled to where nobody says so."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.artifacts import Preprocessing
from pipeline.preprocessing import usual_range


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    """Make a float32 classifier of one value x: class 1 where ``low < x < high``, else class 0.

    Its two outputs are ``reach`` and ``|x - middle|``: the farther one from the middle loses.
    """

    def tensor(name, shape, buffer=0):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, schema.TensorType.FLOAT32, buffer
        return made

    def operator(code, inputs, outputs, kind=None, options=None):
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
        if kind:
            made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, kind), options
        return made

    def build(low, high):
        graph, model = schema.SubGraphT(), schema.ModelT()
        middle, reach = (low + high) / 2, (high - low) / 2
        model.version, model.subgraphs = 3, [graph]
        model.buffers = [schema.BufferT() for _ in range(3)]
        for buffer, value in zip(model.buffers[1:], (middle, reach), strict=True):
            buffer.data = np.array([[value]], np.float32).view(np.uint8).ravel()
        for builtin in ("SUB", "ABS", "CONCATENATION"):
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, builtin)
            code.version = 1
            model.operatorCodes = [*(model.operatorCodes or []), code]
        graph.tensors = [
            tensor("x", [1, 1]),
            tensor("middle", [1, 1], 1),
            tensor("reach", [1, 1], 2),
            tensor("difference", [1, 1]),
            tensor("distance", [1, 1]),
            tensor("scores", [1, 2]),
        ]
        graph.tensors[0].shapeSignature = [-1, 1]
        joined = schema.ConcatenationOptionsT()
        joined.axis = 1
        graph.operators = [
            operator(0, [0, 1], [3], "SubOptions", schema.SubOptionsT()),
            operator(1, [3], [4], "AbsOptions", schema.AbsOptionsT()),
            operator(2, [4, 2], [5], "ConcatenationOptions", joined),
        ]
        graph.inputs, graph.outputs = [0], [5]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path_factory.mktemp("bands") / "bands.tflite"
        path.write_bytes(builder.Output())
        return path

    return build


RAW = np.arange(256, dtype=np.uint8).reshape(-1, 1)
BRIGHT = ((RAW > 127) & (RAW < 250)).astype(np.int64)[:, 0]


@pytest.mark.parametrize(
    ("band", "scale", "offset", "said"),
    [
        ((127.5, 249.5), 1.0, 0.0, "as it is"),
        ((127.5 / 255, 249.5 / 255), 1 / 255, 0.0, "scaled to 0..1"),
        ((0.0, 249.5 / 127.5 - 1), 1 / 127.5, -1.0, "scaled to -1..1"),
    ],
)
def test_the_range_under_which_the_float_model_is_best_is_taken(band, scale, offset, said, bands):
    found = usual_range(bands(*band), RAW, BRIGHT)

    assert (found.scale, found.offset) == pytest.approx((scale, offset))
    assert found.reason.startswith(f"{said}: accuracy 100.0% on 256 samples, else ")


def test_raw_floats_go_in_as_they_are_and_no_model_is_asked(tmp_path):
    found = usual_range(tmp_path / "absent.tflite", RAW.astype(np.float32), BRIGHT)

    assert (found.scale, found.offset) == (1.0, 0.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float32])
def test_raw_values_become_float32_input(dtype):
    given = np.array([[0, 51, 255]], dtype)
    got = Preprocessing(scale=1 / 127.5, offset=-1.0, reason="declared").apply(given)

    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[-1, -0.6, 1]], atol=1e-6)
