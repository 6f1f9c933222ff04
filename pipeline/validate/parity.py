"""Which node is the first whose output two runtimes do not agree on.

Both run the model with every computed tensor made an output, so that nothing hides: a difference may come
and go again, in a ReLU or in a maximum. A node is an origin of a difference where its output differs in
samples in which all that it reads is equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.errors import InputError, StageError
from pipeline.flatbuffer.edit import with_outputs
from pipeline.flatbuffer.layers import layer_names
from pipeline.flatbuffer.layout import bits, numpy_dtypes
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch
from pipeline.validate.exactness import differing
from pipeline.validate.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Source
    from pipeline.flatbuffer import Operator, TfliteModel
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validate.inference import GoldenRun

MAX_BYTES = 1 << 26
"""Maximum bytes of all tensors of all samples per runtime; large models use fewer samples."""


@dataclass(frozen=True, kw_only=True)
class NodeDifference:
    """A node that gives something else on the other runtime, though it was given the same.

    Attributes:
        layer: the Keras layer that it came from; "" if the file does not tell.
        tensor: the first of its outputs that differs.
        differing_samples: in how many samples.
        largest_difference: in steps where the tensor is of integers, in its own unit otherwise; infinite
            where a NaN or an infinity stands against a number.
    """

    node: int
    operator: str
    layer: str
    tensor: str
    differing_samples: int
    largest_difference: float
    in_steps: bool

    @property
    def name(self) -> str:
        """The node in words."""
        return f"{self.node} {self.operator}" + (f" of layer {self.layer}" if self.layer else "")

    @property
    def size(self) -> str:
        """The largest difference in words."""
        unit = f" step{'s' * (self.largest_difference != 1)}" if self.in_steps else ""
        return f"{self.largest_difference:g}{unit}"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One runtime against another, node by node.

    Attributes:
        samples: that were compared.
        nodes: whose outputs could be compared.
        origins: nodes that differ by themselves, in the order of execution.
        problem: why it could not be told; "" if it could.
    """

    reference: str
    other: str
    samples: int
    nodes: int
    origins: tuple[NodeDifference, ...] = ()
    problem: str = ""

    @property
    def first(self) -> NodeDifference | None:
        """The first node that differs, or None."""
        return self.origins[0] if self.origins else None

    @property
    def worst(self) -> NodeDifference | None:
        """The first of the nodes that differ most, those of integers before others; None if none does."""
        return max(
            self.origins, key=lambda origin: (origin.in_steps, origin.largest_difference), default=None
        )

    @property
    def words(self) -> str:
        """The finding in one line."""
        pair = f"{self.other} against {self.reference}"
        if self.problem:
            return f"{pair}: {self.problem}"
        first = self.first
        if first is None:
            return f"{pair}: all {self.nodes} nodes give the same bits for {self.samples} samples"
        line = (
            f"{pair}: the first node that differs is {first.name}, in {first.differing_samples} of "
            f"{self.samples} samples, by up to {first.size}"
        )
        if len(self.origins) > 1:
            line += f"; {len(self.origins) - 1} more differ by themselves"
        if self.worst is not None and self.worst != first:
            line += f", the most {self.worst.name}, by up to {self.worst.size}"
        return line


@dataclass(frozen=True, kw_only=True)
class Divergence(Artifact):
    """First operator whose bits differ from the host's on a runtime."""

    found: Parity


def locate_difference(
    model: Source, host: GoldenRun, other: GoldenRun, *, runtime: Runtime, out: Path
) -> Divergence:
    """Find the nodes at which a runtime's bits begin to differ from those of the host's LiteRT.

    Args:
        host: the golden set on the host's LiteRT.
        other: the same on the other runtime; the samples whose outputs differ are run once more.
        runtime: the other one.
    """
    rows = differing(other.golden_outputs(), host.golden_outputs())
    order = np.argsort(~rows, kind="stable")
    inputs = [array[order] for array in other.golden_inputs()]
    found = first_difference(ModelUnderTest.of(model).flat, inputs, host_runtime("litert"), runtime)
    return Divergence(folder=out, found=found)


def first_difference(
    flat: TfliteModel, inputs: Sequence[NDArray[Any]], reference: Runtime, other: Runtime
) -> Parity:
    """Run the model on both and compare what each node gives.

    Args:
        flat: a verified file without custom operators.
        inputs: for each of the model's inputs an array (n, ...) of its own dtype; samples whose outputs
            differ come first, as of a large model few are compared.
        reference: what is right, e.g. the host's LiteRT.
        other: what is asked about.
    """
    traced = traced_tensors(flat)
    parity = partial(Parity, reference=reference.title, other=other.title)
    each = sum(flat.tensors[index].elements * bits(flat.tensors[index].dtype) // 8 for index in traced)
    count = min(len(inputs[0]), max(1, MAX_BYTES // max(each, 1)))
    if not traced:
        return parity(samples=0, nodes=0, problem="it has no node whose output can be read")
    chosen = [array[:count] for array in inputs]
    with scratch("parity") as folder:
        path = folder / "traced.tflite"
        path.write_bytes(with_outputs(flat, traced))
        found = []
        for runtime in (reference, other):
            try:
                with Session(runtime, path) as session:
                    found.append(dict(zip(traced, session.run(chosen), strict=True)))
            except (InputError, StageError) as error:
                return parity(samples=0, nodes=0, problem=_problem(runtime, error))
    origins = tuple(_origins(flat, found[0], found[1], count))
    compared = sum(any(index in found[0] for index in operator.outputs) for operator in flat.operators)
    return parity(samples=count, nodes=compared, origins=origins)


def _problem(runtime: Runtime, error: Exception) -> str:
    return f"{runtime.title} does not run the model with all of its tensors as outputs: {error}"


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
    flat: TfliteModel, ours: dict[int, NDArray[Any]], theirs: dict[int, NDArray[Any]], count: int
) -> Iterator[NodeDifference]:
    """Nodes whose outputs differ in samples in which their inputs do not."""
    layers = layer_names(flat)
    unequal: dict[int, NDArray[np.bool_]] = {}
    for operator in flat.operators:
        tainted = np.zeros(count, bool)
        for index in operator.inputs:
            tainted |= unequal.get(index, np.False_)
        for index in operator.outputs:
            # A tensor that cannot be read is represented by its sources.
            unequal[index] = _differs(ours[index], theirs[index]) if index in ours else tainted
        by_itself = [index for index in operator.outputs if (unequal[index] & ~tainted).any()]
        if by_itself:
            index = by_itself[0]
            where = unequal[index] & ~tainted
            yield _described(flat, operator, layers[operator.index], index, where, ours[index], theirs[index])


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
