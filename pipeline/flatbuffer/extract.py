"""Write some operators of a .tflite file as a file of their own, so that they can be measured alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from pipeline.flatbuffer.reader import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.flatbuffer.model import Operator, TfliteModel

# Operators that mean nothing alone: they run other subgraphs, or share a state that others set.
_NOT_ALONE = frozenset(
    {"CALL", "CALL_ONCE", "IF", "WHILE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
    | {"HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "DELEGATE"}
    | {f"STABLEHLO_{name}" for name in ("CASE", "COMPOSITE", "REDUCE", "SCATTER", "SORT", "WHILE")}
    | {"STABLEHLO_CUSTOM_CALL", "STABLEHLO_REDUCE_WINDOW"}
)


def stands_alone(model: TfliteModel, operator: Operator) -> bool:
    """Whether an operator can run as a model of its own: a builtin that computes on numbers."""
    tensors = [model.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    computed = [tensor for tensor in _computed(model, [operator]) if not model.tensors[tensor].is_variable]
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
    whole = schema.ModelT.InitFromPackedBuf(model.content, 0)
    for operators in groups:
        yield _extracted(model, whole, operators)


def _extracted(model: TfliteModel, whole: Any, operators: Sequence[int]) -> bytes:
    graph = whole.subgraphs[0]
    chosen = [model.operators[index] for index in operators]
    inputs = [index for index in _computed(model, chosen) if not model.tensors[index].is_variable]
    outputs = _left_over(model, chosen)
    used = {index for op in chosen for index in (*op.inputs, *op.outputs) if index >= 0}
    used |= {
        int(index) for op in operators for index in (graph.operators[op].intermediates or ()) if index >= 0
    }
    place = {old: new for new, old in enumerate(sorted(used))}

    part = schema.ModelT()
    part.version, part.description = whole.version, "part of a model"
    part.operatorCodes = whole.operatorCodes
    part.buffers = [schema.BufferT()]
    alone = schema.SubGraphT()
    alone.tensors = [_with_buffer(graph.tensors[old], whole, part) for old in place]
    alone.operators = [_renumbered(graph.operators[index], place) for index in operators]
    alone.inputs, alone.outputs = [place[index] for index in inputs], [place[index] for index in outputs]
    part.subgraphs = [alone]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(part.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _computed(model: TfliteModel, operators: Sequence[Operator]) -> list[int]:
    """What the operators read that is neither a constant nor computed by one of them before."""
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
    """What the operators compute that others read, or that is the model's output; all of it if none is."""
    inside = {operator.index for operator in operators}
    wanted = set(model.subgraphs[0].outputs)
    for operator in model.operators:
        if operator.index not in inside:
            wanted.update(operator.inputs)
    computed = [index for operator in operators for index in operator.outputs]
    return [index for index in computed if index in wanted] or computed


def _with_buffer(tensor: Any, whole: Any, part: Any) -> Any:
    """A copy of a tensor with its constant, if it has one, in a buffer of the part."""
    made = copy.copy(tensor)
    data = whole.buffers[tensor.buffer].data
    made.buffer = 0
    if data is not None and len(data):
        buffer = schema.BufferT()
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
