"""The layout of a .tflite file, taken from the schema code that ships with LiteRT.

The builder functions which ``flatc`` generated from TensorFlow Lite's ``schema.fbs`` know the slot,
the width and the default of every field. Calling them with a recorder yields the layout of the very
schema that is installed. What they do not know, which table a field refers to, is written down here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from pipeline.flatbuffer.schema import schema

Kind = Literal["number", "numbers", "bytes", "string", "strings", "table", "tables", "union"]

# "Table.Field" -> the table that a field, or each element of it, refers to.
REFERENCES = {
    "Model.OperatorCodes": "OperatorCode",
    "Model.Subgraphs": "SubGraph",
    "Model.Buffers": "Buffer",
    "Model.Metadata": "Metadata",
    "Model.SignatureDefs": "SignatureDef",
    "Model.ExternalBufferGroups": "ExternalBufferGroup",
    "Model.ExternalBuffers": "ExternalBuffer",
    "SubGraph.Tensors": "Tensor",
    "SubGraph.Operators": "Operator",
    "Tensor.Quantization": "QuantizationParameters",
    "Tensor.Sparsity": "SparsityParameters",
    "Tensor.VariantTensors": "VariantSubType",
    "SparsityParameters.DimMetadata": "DimensionMetadata",
    "SignatureDef.Inputs": "TensorMap",
    "SignatureDef.Outputs": "TensorMap",
}

# "Table.Field" -> the enumeration of the tables that a union may hold.
UNIONS = {
    "Operator.BuiltinOptions": "BuiltinOptions",
    "Operator.BuiltinOptions2": "BuiltinOptions2",
    "QuantizationParameters.Details": "QuantizationDetails",
    "DimensionMetadata.ArraySegments": "SparseIndexVector",
    "DimensionMetadata.ArrayIndices": "SparseIndexVector",
}

_FLOAT_VECTORS = {"QuantizationParameters.Min", "QuantizationParameters.Max", "QuantizationParameters.Scale"}

# The builder's name of a scalar, and the size of a vector's element in bytes -> struct's format character.
_SCALARS = {
    "Bool": "B", "Int8": "b", "Uint8": "B", "Int16": "h", "Uint16": "H",
    "Int32": "i", "Uint32": "I", "Int64": "q", "Uint64": "Q", "Float32": "f", "Float64": "d",
}  # fmt: skip
_ELEMENTS = {1: "b", 2: "h", 4: "i", 8: "q"}

# TFLite's element types that NumPy lacks.
_BITS = {"int2": 2, "int4": 4, "uint4": 4, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
UNSIZED = frozenset({"string", "resource", "variant"})
# Operators whose options are not called after them, where it matters.
_SHARED_OPTIONS = dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions") | {
    "CONV_3D_TRANSPOSE": "Conv3DOptions"
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes:
        name: the schema's name in camel case, e.g. ``"OpcodeIndex"``.
        slot: its position in the vtable.
        kind: what is stored there.
        code: ``struct`` format character of the number, or of one element of the numbers.
        default: the value of a number that the file leaves out.
        refers_to: the table, or the union's enumeration.
    """

    name: str
    slot: int
    kind: Kind
    code: str
    default: int | float
    refers_to: str = ""


class _Recorder:
    """Stands in for ``flatbuffers.Builder`` and keeps the one call that is made on it."""

    def __init__(self) -> None:
        self.method = ""
        self.arguments: tuple[Any, ...] = ()

    def __getattr__(self, method: str) -> Any:
        def record(*arguments: Any) -> None:
            self.method, self.arguments = method, arguments

        return record


@cache
def fields(table: str) -> tuple[Field, ...]:
    """Return the fields of ``table``, e.g. of ``"Conv2DOptions"``."""
    prefix = f"{table}Add"
    return tuple(
        _field(table, name.removeprefix(prefix)) for name in vars(schema()) if name.startswith(prefix)
    )


def _field(table: str, name: str) -> Field:
    recorder = _Recorder()
    getattr(schema(), f"{table}Add{name}")(recorder, 0)
    slot, _, default = recorder.arguments
    number = recorder.method.removeprefix("Prepend").removesuffix("Slot")
    if number in _SCALARS:
        return Field(name, slot, "number", _SCALARS[number], default)

    path = f"{table}.{name}"
    if path in UNIONS:
        return Field(name, slot, "union", "I", 0, UNIONS[path])
    start_vector = getattr(schema(), f"{table}Start{name}Vector", None)
    if start_vector is None:
        kind: Kind = "table" if path in REFERENCES else "string"
        return Field(name, slot, kind, "I", 0, REFERENCES.get(path, ""))
    if path in REFERENCES:
        return Field(name, slot, "tables", "I", 0, REFERENCES[path])
    start_vector(recorder, 0)
    size = recorder.arguments[0]
    code = "f" if path in _FLOAT_VECTORS else _ELEMENTS[size]
    return Field(name, slot, "bytes" if size == 1 else "numbers", code, 0)


def bits(dtype: str) -> int:
    """Return the width of an element, packed ones included; 0 if it has none, as for strings."""
    return _BITS.get(dtype) or np.dtype(dtype).itemsize * 8 if dtype not in UNSIZED else 0


@cache
def numpy_dtypes() -> frozenset[str]:
    """Return the element types that are read into an array; int4 as int8."""
    return frozenset(name.lower() for name in vars(schema().TensorType)) & {"int4", *np.sctypeDict}


@cache
def names(enumeration: str) -> dict[int, str]:
    """Return value -> name of one of the schema's enumerations, e.g. of ``"BuiltinOperator"``."""
    members = vars(getattr(schema(), enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


@cache
def options_table(operator: str) -> str:
    """Return the table of a builtin's options, e.g. ``"Conv2DOptions"`` for ``"CONV_2D"``; "" if unknown.

    The schema does not say which options belong to which operator, but their names agree.
    """
    if operator in _SHARED_OPTIONS:
        return _SHARED_OPTIONS[operator]
    expected = operator.replace("_", "").lower() + "options"
    tables = (*names("BuiltinOptions").values(), *names("BuiltinOptions2").values())
    return next((table for table in tables if table.lower() == expected), "")
