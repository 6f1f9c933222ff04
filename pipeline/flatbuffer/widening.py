"""Int8 .tflite files in which chosen operators compute in a wider format, between conversions.

Everything else keeps its bytes: other operators read and write the int8 tensors that they did.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.errors import InputError
from pipeline.flatbuffer.compact import compact, pack_shared
from pipeline.flatbuffer.edit import unpack
from pipeline.flatbuffer.schema import schema
from pipeline.flatbuffer.simulation import MOVING, dequantized, is_rounded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from pipeline.flatbuffer.model import Operator, Tensor, TfliteModel

Width = Literal["float16", "float32", "int16"]
"""float16 is of stored weights, and computes in float32. int16 is of activations, of int8 weights: "16x8"."""

_SCALINGS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
# The version of an operator with int16 kernels, by the rules of TFLite's converter.
_INT16_VERSIONS = {
    "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "FULLY_CONNECTED": 7, "ADD": 3, "SOFTMAX": 3, "LOGISTIC": 3,
    "TANH": 3, "MAX_POOL_2D": 3, "AVERAGE_POOL_2D": 3, "RESHAPE": 1, "RELU": 2,
}  # fmt: skip
_INT16_FIXED = frozenset({"SOFTMAX", "LOGISTIC", "TANH"})  # their int16 output has the scale 2^-15
_INT16_MAX = 32767
_VERSIONS = {"QUANTIZE": {"int8": 2, "int16": 2}, "DEQUANTIZE": {"int8": 2, "int16": 3, "float16": 3}}


def moved_along(model: TfliteModel, wide: Collection[int]) -> frozenset[int]:
    """Return wide operators with those between them that only move values, which would round for nothing."""
    found = set(wide)
    made = {index: operator.index for operator in model.operators for index in operator.outputs}
    readers: dict[int, list[int]] = {}
    for operator in model.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator.index)
    for operator in [each for each in model.operators if each.name in MOVING and each.index not in found]:
        sources = [made.get(i, -1) for i in operator.inputs if i >= 0 and is_rounded(model.tensors[i])]
        if sources and found.issuperset(sources) and _is_read_only_by(operator, readers, model, found):
            found.add(operator.index)
    return frozenset(found)


def _is_read_only_by(
    operator: Operator, readers: Mapping[int, list[int]], model: TfliteModel, wide: Collection[int]
) -> bool:
    by = [reader for index in operator.outputs for reader in readers.get(index, ())]
    moving = [model.operators[each] for each in by if each not in wide]
    return all(
        each.name in MOVING and _is_read_only_by(each, readers, model, wide) for each in moving
    ) and bool(by or set(operator.outputs) & set(model.subgraphs[0].outputs))


def widen(
    model: TfliteModel,
    exact: Mapping[int, NDArray[np.float32]],
    wide: Collection[int],
    width: Width,
    *,
    inputs: Collection[int] = (),
) -> bytes:
    """Return an int8 file in which some operators compute in a wider format.

    Args:
        model: a verified int8 file; see ``require_simulated``.
        exact: constants before they were rounded, by tensor; others are taken as the file rounds them.
        wide: indices of these operators.
        width: their format.
        inputs: tensors of the model's inputs that are to be taken as float32.

    Returns:
        A file with the names and the order of inputs and outputs. An output that a wide operator computes is
        float32.

    Raises:
        InputError: int16 is asked for an operator without such a kernel, or a constant exceeds float16.
    """
    writer = _Writer(model, exact, width)
    writer.take(inputs)
    for operator in model.operators:
        if operator.index in wide:
            writer.add_wide(operator)
        else:
            writer.add(operator)
    return writer.finish()


class _Writer:
    """A file while it is written; ``wide`` tells which tensor has the wide values of one of the model's."""

    def __init__(self, model: TfliteModel, exact: Mapping[int, NDArray[np.float32]], width: Width) -> None:
        self.model, self.exact, self.width = model, exact, width
        self.flat = unpack(model.content)
        self.graph = self.flat.subgraphs[0]
        self.given, self.graph.operators = list(self.graph.operators), []
        self.wide: dict[int, int] = {}
        self.unwritten: set[int] = set()  # int8 tensors whose values are only wide so far
        self.constants: dict[tuple[int, float], int] = {}
        self.ports: dict[int, int] = {}

    def take(self, inputs: Iterable[int]) -> None:
        """Make some of the model's inputs float32."""
        for index in inputs:
            if is_rounded(self.model.tensors[index]):
                self.ports[index] = place = self._float(index)
                self.wide[index] = place if self.width != "int16" else self._cast(place, self._wide(index))
                self.unwritten.add(index)

    def add(self, operator: Operator) -> None:
        """Add an operator as it is."""
        node = self.given[operator.index]
        for index in {*operator.inputs} & self.unwritten:
            self._cast(self.wide[index], index)
            self.unwritten.discard(index)
        self.graph.operators.append(node)

    def add_wide(self, operator: Operator) -> None:
        """Add an operator that reads and writes wide values."""
        given = operator.inputs[0] if operator.inputs else -1
        if operator.name in _SCALINGS and given >= 0 and operator.outputs:
            value, result = self._read(given), operator.outputs[0]
            self.wide[result] = value
            self.unwritten.add(result)
            return
        node = copy.copy(self.given[operator.index])
        node.inputs = [self._argument(operator, place) for place in range(len(operator.inputs))]
        node.outputs = []
        for index in operator.outputs:
            if is_rounded(self.model.tensors[index]):
                self.wide[index] = self._wide(index, is_fixed=operator.name in _INT16_FIXED)
                self.unwritten.add(index)
            node.outputs.append(self.wide.get(index, index))
        if self.width == "int16":
            self._set_int16(operator, node)
        self.graph.operators.append(node)

    def finish(self) -> bytes:
        for index in self.model.subgraphs[0].outputs:
            if index in self.unwritten:
                value = self.wide[index]
                is_float = self.graph.tensors[value].type == schema().TensorType.FLOAT32
                self.ports[index] = value if is_float else self._cast(value, self._float(index))
        for old, new in self.ports.items():
            before, after = self.graph.tensors[old], self.graph.tensors[new]
            before.name, after.name = before.name + b"_int8", before.name
        self.graph.inputs = [self.ports.get(int(index), index) for index in self.graph.inputs]
        self.graph.outputs = [self.ports.get(int(index), index) for index in self.graph.outputs]
        for signature in self.flat.signatureDefs or ():
            for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
                entry.tensorIndex = self.ports.get(int(entry.tensorIndex), entry.tensorIndex)
        compact(self.flat)
        return pack_shared(self.flat)

    def _argument(self, operator: Operator, place: int) -> int:
        """Return the tensor that a wide operator reads as one of its inputs."""
        index = operator.inputs[place]
        if index < 0:
            return index
        tensor = self.model.tensors[index]
        if not (tensor.is_constant and tensor.scales and tensor.is_readable):
            return self._read(index)
        if self.width != "int16":
            return self._constant(index)
        if operator.name not in _WEIGHTED:
            return self._int16_constant(index)
        return index if place == 1 else self._int16_bias(operator, index)

    def _read(self, index: int) -> int:
        """Return the tensor with the wide values of a computed one."""
        tensor = self.model.tensors[index]
        if index not in self.wide and is_rounded(tensor):
            self.wide[index] = self._cast(index, self._wide(index))
        return self.wide.get(index, index)

    def _values(self, index: int) -> NDArray[np.float32]:
        if index in self.exact:
            return self.exact[index]
        return dequantized(self.model, self.model.tensors[index])

    def _constant(self, index: int) -> int:
        """Return a constant as float32, which is stored so or as float16."""
        if (index, 0.0) in self.constants:
            return self.constants[index, 0.0]
        values = self._values(index)
        if self.width == "float32":
            place = self._float(index, self._buffer(values))
        else:
            with np.errstate(over="ignore"):
                halves = values.astype(np.float16)
            if not np.isfinite(halves).all():
                high, name = np.abs(values).max(), self.model.tensors[index].name
                msg = f"{name}: its values reach {high:.3g}, which float16 does not hold; use float32"
                raise InputError(msg)
            stored = self._tensor(index, schema().TensorType.FLOAT16, self._buffer(halves))
            place = self._cast(stored, self._float(index))
        self.constants[index, 0.0] = place
        return place

    def _int16_constant(self, index: int) -> int:
        values = self._values(index)
        scale = max(float(np.abs(values).max()), 1e-9) / _INT16_MAX
        codes = np.rint(values / scale).astype(np.int16)
        return self._tensor(index, schema().TensorType.INT16, self._buffer(codes), scale)

    def _int16_bias(self, operator: Operator, index: int) -> int:
        """Return a bias as int64, in steps of the product of the scales of input and kernel."""
        kernel = np.asarray(self.model.tensors[operator.inputs[1]].scales, np.float64)
        scales = kernel * self._int16_scale(self.model.tensors[operator.inputs[0]])
        codes = np.rint(self._values(index).astype(np.float64) / scales).astype(np.int64)
        return self._tensor(index, schema().TensorType.INT64, self._buffer(codes), *scales)

    def _wide(self, index: int, *, is_fixed: bool = False) -> int:
        """Add a tensor for the wide values of a computed one."""
        if self.width != "int16":
            return self._float(index)
        scale = 2.0**-15 if is_fixed else self._int16_scale(self.model.tensors[index])
        return self._tensor(index, schema().TensorType.INT16, 0, scale)

    def _int16_scale(self, tensor: Tensor) -> float:
        """Return the scale with which int16, whose zero point is 0, has the range of an int8 tensor."""
        return tensor.scales[0] * max(127 - tensor.zero_points[0], 128 + tensor.zero_points[0]) / _INT16_MAX

    def _set_int16(self, operator: Operator, node: Any) -> None:
        if operator.name not in _INT16_VERSIONS:
            msg = f"{operator.name} has no int16 kernel here; use float16"
            raise InputError(msg)
        node.opcodeIndex = self._code(operator.name, _INT16_VERSIONS[operator.name])
        if hasattr(node.builtinOptions, "potScaleInt16"):
            node.builtinOptions = copy.copy(node.builtinOptions)
            node.builtinOptions.potScaleInt16 = False

    def _float(self, index: int, buffer: int = 0) -> int:
        return self._tensor(index, schema().TensorType.FLOAT32, buffer)

    def _tensor(self, index: int, kind: int, buffer: int = 0, *scales: float) -> int:
        """Add a tensor like one of the model's, of another type."""
        tensor = copy.copy(self.graph.tensors[index])
        tensor.type, tensor.buffer, tensor.quantization = kind, buffer, None
        if scales:
            tensor.quantization = copy.copy(self.graph.tensors[index].quantization)
            tensor.quantization.min = tensor.quantization.max = None
            tensor.quantization.scale = np.asarray(scales, np.float32)
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        self.graph.tensors = [*self.graph.tensors, tensor]
        return len(self.graph.tensors) - 1

    def _buffer(self, values: NDArray[Any]) -> int:
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.flat.buffers = [*self.flat.buffers, buffer]
        return len(self.flat.buffers) - 1

    def _cast(self, source: int, result: int) -> int:
        """Convert a tensor into the type and steps of another one, and return that.

        Between int8 and int16 by way of float32, because tflite-runtime 2.14 has no QUANTIZE that does it.
        """
        kinds = schema().TensorType
        types = {kinds.INT8: "int8", kinds.INT16: "int16", kinds.FLOAT16: "float16", kinds.FLOAT32: ""}
        before, after = (types.get(self.graph.tensors[each].type, "int8") for each in (source, result))
        if before and after:
            source, before = self._cast(source, self._float(source)), ""
        name = "QUANTIZE" if after else "DEQUANTIZE"
        node = schema().OperatorT()
        node.opcodeIndex = self._code(name, _VERSIONS[name][before or after])
        node.inputs, node.outputs = [source], [result]
        self.graph.operators.append(node)
        return result

    def _code(self, name: str, version: int) -> int:
        kind = getattr(schema().BuiltinOperator, name)
        for place, code in enumerate(self.flat.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind and code.version == version:
                return place
        made = schema().OperatorCodeT()
        made.builtinCode = kind
        made.deprecatedBuiltinCode, made.version = min(kind, 127), version
        self.flat.operatorCodes = [*self.flat.operatorCodes, made]
        return len(self.flat.operatorCodes) - 1
