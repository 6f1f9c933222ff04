"""Comparisons of two implementations of a model, node by node."""

from __future__ import annotations

from dataclasses import dataclass

ONLY_READ = "read "
"""Beginning of the names of arrays that nodes of a counterpart read, and that are not compared."""


@dataclass(frozen=True, kw_only=True)
class NodeDifference:
    """A node that gives something else on the other runtime, though it was given the same.

    Attributes:
        layer: the Keras layer of the user's model that it came from; "" if that is not known.
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
class Counterpart:
    """A model with fake quantization whose values the nodes of an int8 file have to give.

    Attributes:
        title: which model it is.
        problem: why its values are not known; "" if they are.
    """

    title: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One runtime against another, or against the model with fake quantization, node by node.

    Attributes:
        is_device: whether the other one is a device that the model is for.
        is_fake_quantized: whether the reference is not a runtime, but the model with fake quantization.
        samples: that were compared.
        nodes: that were compared.
        differing_nodes: how many of them differ.
        origins: the first of the nodes that differ, and those that differ more than all before them, in the
            order of execution.
        accumulated: how much the model's outputs differ if each node reads what the ones before it gave, in
            steps; None if that was not measured.
        problem: why there is no comparison; "" if there is one.
    """

    reference: str
    other: str
    is_device: bool = False
    is_fake_quantized: bool = False
    samples: int
    nodes: int
    differing_nodes: int = 0
    origins: tuple[NodeDifference, ...] = ()
    accumulated: float | None = None
    problem: str = ""

    @property
    def subject(self) -> str:
        """What is compared, for a gate: the other runtime, or the model with fake quantization."""
        return self.reference if self.is_fake_quantized else self.other

    @property
    def is_reference(self) -> bool:
        """Whether the other runtime has TFLite's reference kernels."""
        return "reference kernels" in self.other

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

    def beyond(self, steps: float) -> NodeDifference | None:
        """Return the first node of integers that differs by more than this, or None."""
        return next(
            (each for each in self.origins if each.in_steps and each.largest_difference > steps), None
        )

    @property
    def words(self) -> str:
        """The finding in one line."""
        pair = f"{self.other} against {self.reference}"
        if self.problem:
            return f"{pair}: {self.problem}"
        first = self.first
        end = (
            "" if self.accumulated is None else f"; from input to output by up to {self.accumulated:g} steps"
        )
        if first is None:
            return f"{pair}: all {self.nodes} nodes give the same bits for {self.samples} samples{end}"
        line = (
            f"{pair}: the first node that differs is {first.name}, in {first.differing_samples} of "
            f"{self.samples} samples, by up to {first.size}"
        )
        if (more := max(self.differing_nodes, len(self.origins)) - 1) > 0:
            line += f"; {more} more of {self.nodes} differ by themselves"
        if self.worst is not None and self.worst != first:
            line += f", the most {self.worst.name}, by up to {self.worst.size}"
        return line + end
