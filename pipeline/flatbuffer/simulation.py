"""Float .tflite files that compute what an int8 file does, with the rounding of chosen operators only.

An operator that rounds reads weights as int8 stores them, and its outputs go through QUANTIZE and DEQUANTIZE
with the scale and zero point of the int8 file: fake quantization (Jacob et al., 2018, arXiv:1712.05877).
Operators that do not round compute in float. So the effect of a single layer can be measured by itself.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.flatbuffer.edit import pack, stands_alone, unpack
from pipeline.flatbuffer.schema import schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer.model import Operator, Tensor, TfliteModel

    Values = Mapping[int, NDArray[np.float32]]

_SCALINGS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_ROUNDED = frozenset({"int8", "uint8", "int16"})
# Their outputs are some of their inputs: with the same scale they round nothing.
MOVING = frozenset(
    {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "CONCATENATION"}
    | {"SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "EMBEDDING_LOOKUP", "TILE", "BROADCAST_TO"}
    | {"PAD", "PADV2", "MIRROR_PAD", "MAX_POOL_2D", "MAXIMUM", "MINIMUM", "REDUCE_MAX", "REDUCE_MIN"}
    | {"RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "REVERSE_V2", "SELECT_V2"}
)


def is_rounded(tensor: Tensor) -> bool:
    """Return whether a computed tensor stands for real numbers in steps of its scale."""
    return bool(tensor.scales) and tensor.dtype in _ROUNDED and not tensor.is_constant


def dequantized(model: TfliteModel, tensor: Tensor) -> NDArray[np.float32]:
    """Return the real numbers of a quantized constant, in its shape."""
    shape = [1] * len(tensor.shape)
    if len(tensor.scales) > 1:
        shape[tensor.axis] = len(tensor.scales)
    scales = np.asarray(tensor.scales, np.float64).reshape(shape)
    zeros = np.asarray(tensor.zero_points or [0], np.float64).reshape(shape if tensor.zero_points else [])
    real: NDArray[np.float64] = (model.constant(tensor).astype(np.float64) - zeros) * scales
    return real.astype(np.float32)


def simulate(
    model: TfliteModel,
    exact: Values,
    rounded: Collection[int],
    *,
    inputs: Collection[int] = (),
    outputs: Sequence[int] | None = None,
    given: Values | None = None,
) -> bytes:
    """Return a float file of the model in which only some operators round.

    Args:
        model: a verified int8 file; see ``require_simulated``.
        exact: constants before they were rounded, by tensor; others are taken as the file rounds them.
        rounded: indices of the operators that round their weights and outputs.
        inputs: tensors of the inputs that are rounded.
        outputs: tensors to return instead of the model's outputs.
        given: constants that operators that round read in place of those of the file, by tensor.

    Returns:
        A file whose inputs are real numbers, and whose outputs are those of the model as real numbers.
    """
    writer = _Writer(model, exact, given or {})
    source = writer.add_inputs(inputs)
    writer.add(model.operators, rounded, source)
    chosen = model.subgraphs[0].outputs if outputs is None else outputs
    return writer.finish([source[index] for index in chosen])


def simulate_apart(
    model: TfliteModel, exact: Values, groups: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]
) -> bytes:
    """Return a float file in which each group of operators rounds by itself: it reads what float computes.

    Args:
        model: as for ``simulate``.
        exact: likewise.
        groups: indices of operators, in the order of execution.
        outputs: for each group the tensors to return.

    Returns:
        A file with two outputs for each of these tensors: first all in float, then all as their groups give
        them.
    """
    writer = _Writer(model, exact)
    source = writer.add_inputs(())
    writer.add(model.operators, (), source)
    found = [source[index] for tensors in outputs for index in tensors]
    for group, tensors in zip(groups, outputs, strict=True):
        alone = dict(source)
        writer.add([model.operators[index] for index in group], group, alone)
        found += [alone[index] for index in tensors]
    return writer.finish(found)


def require_simulated(model: TfliteModel, name: str) -> None:
    """Check that a file can be simulated.

    Raises:
        InputError: it is not quantized, has loops, or operators that only some programs know.
    """
    if not any(is_rounded(model.tensors[i]) for operator in model.operators for i in operator.outputs):
        msg = f"{name}: it has no quantized activations, so nothing is lost to int8; give an int8 file"
        raise InputError(msg)
    for operator in model.operators:
        if not stands_alone(model, operator) and operator.name not in _SCALINGS:
            msg = f"{name}: {operator.name} cannot be computed apart from the rest; unroll loops and states"
            raise InputError(msg)


class _Writer:
    """A float file while it is written; a ``source`` tells which of its tensors holds each of the model's."""

    def __init__(self, model: TfliteModel, exact: Values, rounded: Values | None = None) -> None:
        self.model, self.exact, self.rounded = model, exact, rounded or {}
        self.flat = unpack(model.content)
        self.flat.subgraphs = self.flat.subgraphs[:1]
        self.flat.signatureDefs, self.flat.metadata = [], []
        self.graph = self.flat.subgraphs[0]
        self.given = list(self.graph.operators)
        self.graph.operators = []
        self.constants: dict[tuple[int, bool], int] = {}
        self.codes: dict[str, int] = {}

    def add_inputs(self, rounded: Collection[int]) -> dict[int, int]:
        source: dict[int, int] = {}
        places = []
        for index in self.model.subgraphs[0].inputs:
            place = self._float(index) if is_rounded(self.model.tensors[index]) else index
            source[index] = self._rounded(place, index) if index in rounded and place != index else place
            places.append(place)
        self.graph.inputs = places
        return source

    def add(self, operators: Iterable[Operator], rounded: Collection[int], source: dict[int, int]) -> None:
        """Add operators in their order; ``source`` learns where their outputs are."""
        for operator in operators:
            rounds = operator.index in rounded
            given = operator.inputs[0] if operator.inputs else -1
            is_value = given in source or bool(given >= 0 and self.model.tensors[given].scales)
            if operator.name in _SCALINGS and is_value:
                value, result = self._input(given, rounds, source), operator.outputs[0]
                is_kept = not rounds or not is_rounded(self.model.tensors[result])
                source[result] = value if is_kept else self._rounded(value, result)
                continue
            node = copy.copy(self.given[operator.index])
            node.inputs = [self._input(index, rounds, source) for index in operator.inputs]
            node.outputs, node.intermediates = [], None
            self.graph.operators.append(node)
            for index in operator.outputs:
                place = self._float(index)
                node.outputs.append(place)
                rounds_here = rounds and self._rounds(operator, index)
                source[index] = self._rounded(place, index) if rounds_here else place

    def _rounds(self, operator: Operator, index: int) -> bool:
        """Return whether an operator's output has other steps than the values that it is made of."""
        tensor = self.model.tensors[index]
        if not is_rounded(tensor) or operator.name not in MOVING:
            return is_rounded(tensor)
        read = [self.model.tensors[given] for given in operator.inputs if given >= 0]
        steps = {(each.scales, each.zero_points) for each in read if each.scales}
        return steps != {(tensor.scales, tensor.zero_points)}

    def finish(self, outputs: list[int]) -> bytes:
        self.graph.outputs = outputs
        return pack(self.flat)

    def _input(self, index: int, rounds: bool, source: dict[int, int]) -> int:
        if index < 0 or index in source:
            return source.get(index, index)
        tensor = self.model.tensors[index]
        if tensor.is_variable:
            source[index] = self._float(index)
            return source[index]
        if not (tensor.is_constant and tensor.scales and tensor.is_readable):
            return index
        is_exact = not rounds and index in self.exact
        if (index, is_exact) not in self.constants:
            values = self.exact[index] if is_exact else self.rounded.get(index)
            values = dequantized(self.model, tensor) if values is None else values
            self.constants[index, is_exact] = self._constant(index, values)
        return self.constants[index, is_exact]

    def _constant(self, index: int, values: NDArray[np.float32]) -> int:
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
        self.flat.buffers.append(buffer)
        place = self._float(index, is_constant=True)
        self.graph.tensors[place].buffer = len(self.flat.buffers) - 1
        return place

    def _float(self, index: int, *, is_constant: bool = False) -> int:
        """Add a tensor like one of the model's, of floats if that stands for real numbers."""
        tensor = copy.copy(self.graph.tensors[index])
        tensor.buffer = 0
        if is_constant or self.model.tensors[index].scales:
            tensor.type, tensor.quantization = schema().TensorType.FLOAT32, None
        return self._append(tensor)

    def _rounded(self, place: int, like: int) -> int:
        """Round a float tensor as one of the model's is, and return the tensor of the result."""
        integers = copy.copy(self.graph.tensors[like])
        integers.buffer, integers.isVariable = 0, False
        inner, result = self._append(integers), self._float(like)
        self._convert("QUANTIZE", place, inner)
        self._convert("DEQUANTIZE", inner, result)
        return result

    def _convert(self, name: str, source: int, result: int) -> None:
        if name not in self.codes:
            code = schema().OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema().BuiltinOperator, name)
            code.version = 1
            self.codes[name] = len(self.flat.operatorCodes)
            self.flat.operatorCodes.append(code)
        node = schema().OperatorT()
        node.opcodeIndex, node.inputs, node.outputs = self.codes[name], [source], [result]
        self.graph.operators.append(node)

    def _append(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1


def exact_constants(model: TfliteModel, original: TfliteModel) -> dict[int, NDArray[np.float32]]:
    """Find the constants of an int8 file in the float file that it was quantized from.

    Both are walked from their outputs to their inputs. QUANTIZE and DEQUANTIZE are passed over, and all else
    has to be equal; the names of tensors do not matter.

    Args:
        model: the int8 file.
        original: the float file.

    Returns:
        Float constants by the tensor of the int8 file that they were rounded to.

    Raises:
        InputError: the files do not have the same operators; names the first that differs.
    """
    walk, source = _Walk(model), _Walk(original)
    found: dict[int, NDArray[np.float32]] = {}
    waiting = list(zip(model.subgraphs[0].outputs, original.subgraphs[0].outputs, strict=False))
    seen: set[tuple[int, int]] = set()
    while waiting:
        ours, theirs = waiting.pop()
        pair = walk.origin(ours), source.origin(theirs)
        if pair in seen:
            continue
        seen.add(pair)
        tensor, other = model.tensors[pair[0]], original.tensors[pair[1]]
        made, before = walk.made.get(pair[0]), source.made.get(pair[1])
        if made is not None and before is not None:
            if made.name != before.name or len(made.inputs) < len(before.inputs):
                raise _different(made, before)
            waiting += [each for each in zip(made.inputs, before.inputs, strict=False) if min(each) >= 0]
        elif tensor.is_constant and other.is_constant:
            if tensor.elements != other.elements:
                raise _different(made, before)
            if tensor.scales and other.is_float and other.is_readable:
                values = original.constant(other).astype(np.float32)
                found[pair[0]] = values.reshape(tensor.shape)
        elif made is not None or before is not None or tensor.is_constant != other.is_constant:
            raise _different(made, before)
    return found


def _different(ours: Operator | None, theirs: Operator | None) -> InputError:
    names = [f"{each.name} {each.index}" if each else "an input" for each in (ours, theirs)]
    return InputError(f"where the int8 file has {names[0]}, the float file has {names[1]}")


class _Walk:
    """Where the values of a file come from."""

    def __init__(self, model: TfliteModel) -> None:
        self.model = model
        self.made = {index: operator for operator in model.operators for index in operator.outputs}

    def origin(self, index: int) -> int:
        """Return the tensor whose values these are, before they were scaled or converted."""
        while (operator := self.made.get(index)) is not None and operator.name in _SCALINGS:
            index = operator.inputs[0]
        return index
