"""Edit .tflite files: unpack, change, pack again.

Metadata is the exception. ``metadata.py`` adds it to a finished file without packing the model again, so that
tensors and buffers keep their bytes and their alignment.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import flatbuffers
import numpy as np

from pipeline.flatbuffer.compact import compact, pack_shared
from pipeline.flatbuffer.reader import IDENTIFIER
from pipeline.flatbuffer.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer.model import Operator, Tensor, TfliteModel

# Operators that mean nothing alone: they run other subgraphs, or share a state that others set.
_NOT_ALONE = frozenset(
    {"CALL", "CALL_ONCE", "IF", "WHILE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
    | {"HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "DELEGATE"}
    | {f"STABLEHLO_{name}" for name in ("CASE", "COMPOSITE", "REDUCE", "SCATTER", "SORT", "WHILE")}
    | {"STABLEHLO_CUSTOM_CALL", "STABLEHLO_REDUCE_WINDOW"}
)


FLAT = np.array([1, -1], np.int32)


def unpack(content: bytes) -> Any:
    """Return a verified file as the schema's ``ModelT``."""
    return schema().ModelT.InitFromPackedBuf(content, 0)


def pack(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def normalize(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Set order and names of inputs and outputs, which converters change, and write what is equal once.

    Converters write a kernel as often as it is used, and describe each of hundreds of equal tensors.

    Args:
        content: a file with a signature whose inputs and outputs are called ``input_0``, ``output_0`` and so
            on.
        inputs: their names, in order.
        outputs: likewise.
    """
    flat = unpack(content)
    graph = flat.subgraphs[0]
    for signature in flat.signatureDefs or ():  # one, or none of a model without variables
        for entry in signature.inputs:
            entry.tensorIndex = _with_trained_range(flat, graph, entry.tensorIndex)
        graph.inputs = _renamed(graph, signature.inputs, inputs)
        graph.outputs = _renamed(graph, signature.outputs, outputs)
    compact(flat)
    return pack_shared(flat)


def _with_trained_range(flat: Any, graph: Any, tensor: int) -> int:
    """Return the tensor to feed instead of an input that is turned into floats only to be quantized again.

    The converter does so where a layer that it calibrates reads an input whose range was trained. Both
    operators go, and the input has the trained range.
    """
    codes = _builtin_codes(flat)
    found, place = [], tensor
    for kind in (schema().BuiltinOperator.DEQUANTIZE, schema().BuiltinOperator.QUANTIZE):
        readers = [operator for operator in graph.operators if place in operator.inputs]
        if len(readers) != 1 or codes[readers[0].opcodeIndex] != kind:
            return tensor
        found.append(readers[0])
        place = int(readers[0].outputs[0])
    if graph.tensors[place].type != graph.tensors[tensor].type:
        return tensor
    graph.operators = [operator for operator in graph.operators if operator not in found]
    return place


def _builtin_codes(flat: Any) -> list[int]:
    """Return the kind of each entry of an unpacked file's table of operators."""
    return [max(code.builtinCode, code.deprecatedBuiltinCode) for code in flat.operatorCodes]


def _read_in(graph: Any) -> set[int]:
    """Return the tensors that an operator reads or the graph puts out."""
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    return read | set(map(int, graph.outputs))


def _renamed(graph: Any, entries: list[Any], names: Sequence[str]) -> list[int]:
    """Rename the signature's ``input_0``, ``output_0`` and so on; returns their tensors."""
    by_place = sorted(entries, key=lambda entry: int(entry.name.decode().rpartition("_")[2]))
    for entry, name in zip(by_place, names, strict=True):
        entry.name = name.encode()
        graph.tensors[entry.tensorIndex].name = name.encode()
    return [entry.tensorIndex for entry in by_place]


class Range(NamedTuple):
    """The smallest and the largest value of a float tensor.

    Attributes:
        subgraph: the tensor's subgraph.
        tensor: its index there.
        name: its name, which others may have too.
        low: the smallest value.
        high: the largest.
    """

    subgraph: int
    tensor: int
    name: str
    low: float
    high: float


def ranges_of(content: bytes) -> list[Range]:
    """Return the range of each tensor that has one, as a calibrated float file does."""
    return [
        Range(place, index, tensor.name.decode(), float(known.min[0]), float(known.max[0]))
        for place, graph in enumerate(unpack(content).subgraphs)
        for index, tensor in enumerate(graph.tensors)
        if (known := tensor.quantization) is not None and known.min is not None and len(known.min)
    ]


def with_ranges(content: bytes, found: Iterable[Range]) -> bytes:
    """Return a float file whose tensors have these ranges, for a quantizer."""
    flat = unpack(content)
    for each in found:
        tensor = flat.subgraphs[each.subgraph].tensors[each.tensor]
        tensor.quantization = tensor.quantization or schema().QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [each.low], [each.high]
    return pack(flat)


def with_unique_names(content: bytes) -> bytes:
    """Return a file in which no two tensors have the same name: the later ones get a number."""
    flat = unpack(content)
    taken: set[bytes] = set()
    for graph in flat.subgraphs:
        for tensor in graph.tensors:
            name, number = tensor.name, 1
            while tensor.name in taken:
                number += 1
                tensor.name = b"%s#%d" % (name, number)
            taken.add(tensor.name)
    return pack(flat)


def with_unread_outputs(content: bytes) -> tuple[bytes, int]:
    """Return a file that also puts out what its operators write and nothing reads, and how many it put out.

    Only of the main graph; ``with_first_outputs`` undoes it.
    """
    flat = unpack(content)
    graph = flat.subgraphs[0]
    known = [int(index) for index in graph.outputs]
    read = _read_in(graph)
    written = [int(index) for operator in graph.operators for index in operator.outputs]
    unread = [index for index in written if index not in read]
    if not unread:
        return content, len(known)
    graph.outputs = known + unread
    return pack(flat), len(known)


def with_first_outputs(content: bytes, count: int) -> bytes:
    """Return a file that puts out only its first outputs, and turns none of the others into floats."""
    flat = unpack(content)
    graph = flat.subgraphs[0]
    others = {int(index) for index in graph.outputs[count:]}
    if not others:
        return content
    dequantize = schema().BuiltinOperator.DEQUANTIZE
    codes = _builtin_codes(flat)
    graph.operators = [
        operator
        for operator in graph.operators
        if codes[operator.opcodeIndex] != dequantize or int(operator.outputs[0]) not in others
    ]
    graph.outputs = graph.outputs[:count]
    return pack(flat)


def with_unread_quantized(content: bytes) -> bytes:
    """Return a file in which an output that nothing reads is quantized as another one of its operator is.

    An unrolled LSTM splits off a gate that its first step does not need. Kernels want one type for all parts.
    """
    flat = unpack(content)
    float32 = schema().TensorType.FLOAT32
    for graph in flat.subgraphs:
        read = _read_in(graph)
        for operator in graph.operators:
            outputs = [(int(index) in read, graph.tensors[index]) for index in operator.outputs]
            like = next((each for is_read, each in outputs if is_read and each.type != float32), None)
            for is_read, tensor in outputs:
                if like is not None and not is_read and tensor.type == float32:
                    tensor.type, tensor.quantization = like.type, like.quantization
    return pack(flat)


def with_batch(content: bytes, batch: int) -> bytes:
    """Return a float file with a batch of 1 such that its inputs may have a batch of this size.

    A converter writes the batch into the shapes of RESHAPE, too. The inputs themselves are not resized, and
    other operators may have a batch of 1 among their constants, so try what the file computes.
    """
    model = unpack(content)
    reshape = schema().BuiltinOperator.RESHAPE
    graph = model.subgraphs[0]
    codes = _builtin_codes(model)
    for operator in graph.operators:
        if codes[operator.opcodeIndex] != reshape:
            continue
        before, after = (list(graph.tensors[at].shape) for at in (operator.inputs[0], operator.outputs[0]))
        if before[:1] == after[:1] == [1]:
            shape = add_constant(model, np.array([batch, *after[1:]], np.int32), "batch shape")
            operator.inputs = [operator.inputs[0], shape]
    return pack(model)


class Weights(NamedTuple):
    """New weights and a new bias of an operator.

    Attributes:
        weights: float32, in the shape of the old ones.
        bias: float32 (output channels,).
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


def with_weights(content: bytes, changed: Mapping[int, Weights]) -> bytes:
    """Return a float file in which operators of the main subgraph have other weights and biases.

    Their weights are read by no others. A bias that other operators or tensors share is left to these, and an
    operator without a bias gets one. Other tensors keep their indices.

    Args:
        content: the file.
        changed: by the operator's index.
    """
    flat = unpack(content)
    graph = flat.subgraphs[0]
    for index, (weights, bias) in changed.items():
        operator = graph.operators[index]
        kernel = graph.tensors[operator.inputs[1]]
        flat.buffers[kernel.buffer].data = _bytes_of(weights)
        tensor = schema().TensorT()
        tensor.name, tensor.shape, tensor.type = f"bias of operator {index}", [len(bias)], kernel.type
        tensor.buffer = _add_buffer(flat, bias)
        at = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        if at >= 0:
            tensor.name = graph.tensors[at].name
        if at >= 0 and sum(list(each.inputs).count(at) for each in graph.operators) == 1:
            graph.tensors[at] = tensor
        else:
            graph.tensors = [*graph.tensors, tensor]
            operator.inputs = [*operator.inputs[:2], len(graph.tensors) - 1]
    return pack(flat)


def with_outputs(flat: TfliteModel, tensors: Sequence[int]) -> bytes:
    """Return the file with these tensors of the main subgraph as its outputs, in this order.

    A worker takes the first dimension for the batch: tensors whose first one is not 1 come as (1, elements).
    """
    model = unpack(flat.content)
    graph = model.subgraphs[0]
    model.signatureDefs = []  # they name outputs that are no more
    outputs: list[int] = []
    shape = code = None
    for index in tensors:
        if flat.tensors[index].shape[:1] == (1,):
            outputs.append(index)
            continue
        if shape is None:
            shape, code = add_constant(model, FLAT, "flat shape"), add_reshape_code(model)
        graph.tensors = [*graph.tensors, _flattened(graph.tensors[index], flat.tensors[index])]
        node = schema().OperatorT()
        node.opcodeIndex, node.inputs, node.outputs = code, [index, shape], [len(graph.tensors) - 1]
        graph.operators = [*graph.operators, node]
        outputs.append(len(graph.tensors) - 1)
    graph.outputs = outputs
    return pack(model)


def add_constant(model: Any, values: NDArray[np.int32], name: str) -> int:
    """Add a constant (n,) to the main subgraph of an unpacked file, and return its tensor."""
    tensor = schema().TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(values.shape), schema().TensorType.INT32
    tensor.buffer = _add_buffer(model, values)
    model.subgraphs[0].tensors = [*model.subgraphs[0].tensors, tensor]
    return len(model.subgraphs[0].tensors) - 1


def _add_buffer(model: Any, values: NDArray[Any]) -> int:
    buffer = schema().BufferT()
    buffer.data = _bytes_of(values)
    model.buffers = [*model.buffers, buffer]
    return len(model.buffers) - 1


def _bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def add_reshape_code(model: Any) -> int:
    """Add the code of RESHAPE to an unpacked file, and return its place."""
    code = schema().OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema().BuiltinOperator.RESHAPE
    code.version = 1
    model.operatorCodes = [*model.operatorCodes, code]
    return len(model.operatorCodes) - 1


def _flattened(source: Any, described: Tensor) -> Any:
    tensor = schema().TensorT()
    tensor.name, tensor.shape, tensor.type = f"{described.name} flat", [1, described.elements], source.type
    tensor.quantization, tensor.buffer = source.quantization, 0
    return tensor


def stands_alone(model: TfliteModel, operator: Operator) -> bool:
    """Return whether an operator can run as a model of its own: a builtin that computes on numbers."""
    tensors = [model.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    computed = [tensor for tensor in inputs_of(model, [operator]) if not model.tensors[tensor].is_variable]
    return (
        not operator.is_custom
        and operator.name not in _NOT_ALONE
        and bool(computed)
        and not any(tensor.dtype in {"string", "resource", "variant"} for tensor in tensors)
    )


def extract(model: TfliteModel, groups: Iterable[Sequence[int]]) -> Iterator[bytes]:
    """Yield a .tflite file for each group of operators of the main subgraph, with the constants they read.

    Args:
        model: a verified file whose constants lie inside its FlatBuffer.
        groups: indices of operators, each group in the order of execution.

    Yields:
        A file whose inputs are what the operators read and do not compute, in the order in which they read
        it, and whose outputs are what they compute and others, or the model's outputs, read.
    """
    whole = unpack(model.content)
    for operators in groups:
        yield _extracted(model, whole, operators)


def _extracted(model: TfliteModel, whole: Any, operators: Sequence[int]) -> bytes:
    graph = whole.subgraphs[0]
    chosen = [model.operators[index] for index in operators]
    inputs = [index for index in inputs_of(model, chosen) if not model.tensors[index].is_variable]
    outputs = _left_over(model, chosen)
    used = {index for op in chosen for index in (*op.inputs, *op.outputs) if index >= 0}
    used |= {
        int(index) for op in operators for index in (graph.operators[op].intermediates or ()) if index >= 0
    }
    place = {old: new for new, old in enumerate(sorted(used))}

    part = schema().ModelT()
    part.version, part.description = whole.version, "part of a model"
    part.operatorCodes = whole.operatorCodes
    part.buffers = [schema().BufferT()]
    alone = schema().SubGraphT()
    alone.tensors = [_with_buffer(graph.tensors[old], whole, part) for old in place]
    alone.operators = [_renumbered(graph.operators[index], place) for index in operators]
    alone.inputs, alone.outputs = [place[index] for index in inputs], [place[index] for index in outputs]
    part.subgraphs = [alone]
    return pack(part)


def inputs_of(model: TfliteModel, operators: Sequence[Operator]) -> list[int]:
    """Return the tensors that operators read and that are neither constants nor computed by them before."""
    found: list[int] = []
    own: set[int] = set()
    for operator in operators:
        for index in operator.inputs:
            if (
                index >= 0
                and index not in own
                and not model.tensors[index].is_constant
                and index not in found
            ):
                found.append(index)
        own.update(operator.outputs)
    return found


def _left_over(model: TfliteModel, operators: Sequence[Operator]) -> list[int]:
    """Return the computed tensors that others read or the model returns; all of them if there are none."""
    inside = {operator.index for operator in operators}
    needed = set(model.subgraphs[0].outputs)
    for operator in model.operators:
        if operator.index not in inside:
            needed.update(operator.inputs)
    computed = [index for operator in operators for index in operator.outputs]
    return [index for index in computed if index in needed] or computed


def _with_buffer(tensor: Any, whole: Any, part: Any) -> Any:
    """Return a copy of a tensor with its constant, if it has one, in a buffer of the part."""
    made = copy.copy(tensor)
    data = whole.buffers[tensor.buffer].data
    made.buffer = 0
    if data is not None and len(data):
        buffer = schema().BufferT()
        buffer.data, made.buffer = data, len(part.buffers)
        part.buffers.append(buffer)
    return made


def _renumbered(operator: Any, place: dict[int, int]) -> Any:
    made = copy.copy(operator)
    for side in ("inputs", "outputs", "intermediates"):
        indices = getattr(operator, side)
        if indices is not None:
            setattr(made, side, [place.get(int(index), -1) for index in indices])
    return made
