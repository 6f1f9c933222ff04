"""Compare two runtimes node by node: each node gets the same inputs on both.

The inputs are those that the node has on the first runtime, so differences do not add up from node to node,
and none hides behind a ReLU or a maximum.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError, StageError
from pipeline.flatbuffer.apart import apart
from pipeline.flatbuffer.edit import with_outputs
from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.layout import bits, numpy_dtypes
from pipeline.node_parity import Counterpart, NodeDifference, Parity
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Operator, TfliteModel
    from pipeline.runtimes.runtime import Runtime

MAX_ORIGINS = 20
MAX_BYTES = 1 << 26
"""Maximum bytes of all tensors of all samples per runtime; large models use fewer samples."""


def compare_nodes(
    flat: TfliteModel,
    inputs: Sequence[NDArray[Any]],
    reference: Runtime,
    other: Runtime,
    layers: Mapping[str, str] | None = None,
) -> Parity:
    """Run each node of a model on both runtimes, with the inputs that it has on the first.

    Args:
        flat: a verified file without custom operators.
        inputs: for each of the model's inputs an array (n, ...) of its own dtype; of a large model only the
            first few samples are compared.
        reference: what is right, e.g. the host's LiteRT.
        other: the runtime to compare with it.
        layers: as for ``user_layers``.
    """
    traced = traced_tensors(flat)
    parity = partial(Parity, reference=reference.title, other=other.title, is_device=other.device is not None)
    each = sum(flat.tensors[index].elements * bits(flat.tensors[index].dtype) // 8 for index in traced)
    count = min(len(inputs[0]), max(1, MAX_BYTES // max(each, 1)))
    alone = apart(flat, traced) if traced else None
    if alone is None or not alone.outputs:
        return parity(samples=0, nodes=0, problem="it has no node whose output can be read")
    values = dict(zip(flat.subgraphs[0].inputs, (array[:count] for array in inputs), strict=True))
    runtime = reference
    try:
        values |= dict(
            zip(traced, _run(reference, with_outputs(flat, traced), [*values.values()]), strict=True)
        )
        runtime = other
        found = _run(other, alone.content, [values[index] for index in alone.inputs])
        whole = _run(other, flat.content, [values[index] for index in flat.subgraphs[0].inputs])
    except (InputError, StageError) as error:
        return parity(samples=0, nodes=0, problem=_problem(runtime, error))
    theirs = dict(zip(alone.outputs, found, strict=True))
    origins = tuple(_origins(flat, values, theirs, user_layers(flat, layers or {})))
    compared = sum(any(index in theirs for index in operator.outputs) for operator in flat.operators)
    ends = zip(flat.subgraphs[0].outputs, whole, strict=True)
    accumulated = _largest((values[index], end) for index, end in ends if index in values)
    return parity(
        samples=count, nodes=compared, differing_nodes=len(origins), origins=tuple(_kept(origins)),
        accumulated=accumulated,
    )  # fmt: skip


def compare_values(
    flat: TfliteModel,
    values: Mapping[int, NDArray[Any]],
    counterpart: Counterpart,
    runtime: Runtime,
    layers: Mapping[str, str] | None = None,
    only_read: Mapping[int, NDArray[Any]] | None = None,
) -> Parity:
    """Run the nodes of a model with the inputs of its counterpart with fake quantization.

    Args:
        flat: as for ``compare_nodes``.
        values: what the counterpart computes, integers (n, ...) by tensor, the model's inputs among them;
            integers beyond the range of a tensor differ from what any node can give. Nodes between two of
            these tensors are compared together.
        counterpart: in words.
        runtime: where to run the nodes.
        layers: as for ``user_layers``.
        only_read: tensors that nodes read, like ``values``, and that are not compared themselves.
    """
    parity = partial(Parity, reference=counterpart.title, other=runtime.title, is_fake_quantized=True)
    inputs = flat.subgraphs[0].inputs
    known = {**values, **(only_read or {})}
    alone = apart(flat, [index for index in known if index not in inputs]) if values else None
    if alone is None or not set(alone.outputs) & set(values):
        return parity(samples=0, nodes=0, problem=counterpart.problem or "none of its layers is in the file")
    given = {index: _in_range(array, flat.tensors[index].dtype) for index, array in known.items()}
    try:
        found = _run(runtime, alone.content, [given[index] for index in alone.inputs])
        whole = _run(runtime, flat.content, [given[index] for index in inputs])
    except (InputError, StageError) as error:
        return parity(samples=0, nodes=0, problem=_problem(runtime, error))
    by_tensor = zip(alone.outputs, found, strict=True)
    theirs = {index: _like(array, values[index]) for index, array in by_tensor if index in values}
    ours = {index: values[index] for index in theirs}
    origins = tuple(_origins(flat, ours, theirs, user_layers(flat, layers or {})))
    ends = zip(flat.subgraphs[0].outputs, whole, strict=True)
    pairs = [(known[index], _like(end, known[index])) for index, end in ends if index in known]
    return parity(
        samples=len(values[inputs[0]]),
        nodes=sum(any(index in theirs for index in operator.outputs) for operator in flat.operators),
        differing_nodes=len(origins),
        origins=tuple(_kept(origins)),
        accumulated=_largest(pairs),
    )


def _in_range(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if array.dtype == dtype:
        return array
    limits = np.iinfo(dtype)
    return array.clip(limits.min, limits.max).astype(dtype)


def _like(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[Any]:
    return found.reshape(expected.shape)


def _largest(pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> float | None:
    """Return the largest difference of integers, in steps; None if there are none."""
    gaps = [
        float(np.abs(one.astype(np.int64) - other.astype(np.int64)).max())
        for one, other in pairs
        if np.issubdtype(one.dtype, np.integer)
    ]
    return max(gaps, default=None)


def _run(runtime: Runtime, content: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    with scratch("parity") as folder:
        path = folder / "model.tflite"
        path.write_bytes(content)
        with Session(runtime, path) as session:
            return session.run(inputs)


def _problem(runtime: Runtime, error: Exception) -> str:
    return f"{runtime.title} does not run the nodes of the model by themselves: {error}"


def _kept(origins: Sequence[NodeDifference]) -> Iterator[NodeDifference]:
    """Yield the first ones and those that exceed all before them, so the first beyond any limit."""
    largest = -1.0
    for place, origin in enumerate(origins):
        exceeds = origin.in_steps and origin.largest_difference > largest
        if exceeds:
            largest = origin.largest_difference
        if place < MAX_ORIGINS or exceeds:
            yield origin


def traced_tensors(flat: TfliteModel) -> tuple[int, ...]:
    """Indices of the tensors that the main subgraph computes and that NumPy can hold, in that order."""
    computed = dict.fromkeys(index for operator in flat.operators for index in operator.outputs)
    return tuple(
        index
        for index in computed
        if flat.tensors[index].dtype in numpy_dtypes()
        and flat.tensors[index].dtype != "int4"
        and not flat.tensors[index].is_variable
    )


def _origins(
    flat: TfliteModel,
    ours: Mapping[int, NDArray[Any]],
    theirs: Mapping[int, NDArray[Any]],
    layers: Sequence[str],
) -> Iterator[NodeDifference]:
    """Yield the nodes of which an output differs; of several outputs the first."""
    for operator in flat.operators:
        for index in operator.outputs:
            if index in theirs and (where := _differs(ours[index], theirs[index])).any():
                layer = layers[operator.index]
                yield _described(flat, operator, layer, index, where, ours[index], theirs[index])
                break


def _described(
    flat: TfliteModel,
    operator: Operator,
    layer: str,
    index: int,
    where: NDArray[np.bool_],
    ours: NDArray[Any],
    theirs: NDArray[Any],
) -> NodeDifference:
    with np.errstate(invalid="ignore", over="ignore"):
        # complex and float alike; integers cannot overflow as floats
        kind = np.complex128 if np.iscomplexobj(ours) else np.float64
        before, after = ours[where].astype(kind), theirs[where].astype(kind)
        gaps = np.where(_same(before, after), 0.0, np.abs(before - after))
    return NodeDifference(
        node=operator.index,
        operator=operator.name,
        layer=layer,
        tensor=flat.tensors[index].name,
        differing_samples=int(where.sum()),
        largest_difference=float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max()),
        in_steps=bool(np.issubdtype(ours.dtype, np.integer)),
    )


def _differs(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each sample (n,) whether any value differs; a NaN equals a NaN."""
    if ours.shape != theirs.shape:
        return np.ones(len(ours), bool)
    unequal: NDArray[np.bool_] = np.logical_not(_same(ours, theirs).reshape(len(ours), -1).all(axis=1))
    return unequal


def _same(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (ours == theirs) | ((ours != ours) & (theirs != theirs))  # NaN is not itself
    return same
