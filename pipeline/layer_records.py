"""Record what is done to each layer of a model, from loading to the .tflite file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable

Quantization = Literal["quantization-aware", "post-training", "float", "int16 activations"]


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """Changes to one layer, and what later steps must preserve.

    Attributes:
        kind: the layer's class.
        made_of: the layer of the given model that graph preparation made it of; "" if the name is the same.
        operations: what was done, in order, such as "pruned"; a quantization comes last.
        reason: why it was not treated like other layers of its kind; "" if there is nothing to explain.
        without_int8: why TFLite does not compute it in int8, or not correctly; "" if it does.
        weights: how many weights its kernel has, where ``sparsity`` or ``clusters`` must be preserved.
        sparsity: share of the kernel's weights that are zero and must stay zero.
        clusters: how many values the weights of the kernel, or of each of its output channels, share;
            quantization may merge some. 0: they share none.
        levels: how many distinct values the weights of each output channel may have; 0: any.
        distinct: how many they have, added up over the channels.
        output_bits: log2 of how many values the output, which is never negative, may have; 0: any.
        output_high: the largest of them.
    """

    name: str
    kind: str
    made_of: str = ""
    operations: tuple[str, ...] = ()
    reason: str = ""
    without_int8: str = ""
    weights: int = 0
    sparsity: float = 0.0
    clusters: int = 0
    levels: int = 0
    distinct: int = 0
    output_bits: int = 0
    output_high: float = 0.0

    @property
    def treatment(self) -> str:
        """The operations for people, e.g. ``"pruned, quantization-aware"``."""
        return ", ".join(self.operations) or "none"

    @property
    def quantization(self) -> Quantization | None:
        return next((each for each in get_args(Quantization) if each in self.operations), None)

    def quantized(self, how: Quantization, reason: str | None = None) -> LayerRecord:
        """Record how the layer was quantized, in place of an earlier quantization; an input layer is not.

        Args:
            reason: replaces the reason; None keeps it.
        """
        if self.kind == "InputLayer":
            return self
        operations = (*(each for each in self.operations if each != self.quantization), how)
        return replace(self, operations=operations, reason=self.reason if reason is None else reason)


@dataclass(frozen=True, kw_only=True)
class LayerTreatment:
    """A row of the report: what happened to one layer, and why; ``made_of`` as in ``LayerRecord``."""

    name: str
    kind: str
    treatment: str
    reason: str = ""
    made_of: str = ""

    @classmethod
    def of(cls, record: LayerRecord) -> LayerTreatment:
        """Return the row of one record."""
        return cls(
            name=record.name,
            kind=record.kind,
            treatment=record.treatment,
            reason=record.reason,
            made_of=record.made_of,
        )


def known_layers(layers: Iterable[LayerRecord | LayerTreatment]) -> dict[str, str]:
    """Return the layer of the given model by the name of each layer that was converted."""
    return {layer.name: layer.made_of or layer.name for layer in layers}


def require_unbound(
    layers: Iterable[LayerRecord], stage: str, *, undone_by: str, hint: str, zeros: bool = False
) -> None:
    """Refuse a model whose weights or outputs have only few values.

    Args:
        zeros: whether to refuse pruned weights, too.

    Raises:
        StageError: a layer has such values; names the first.
    """
    layers = tuple(layers)
    require_no_clusters(layers, stage, undone_by=undone_by, hint=hint)
    for layer in layers:
        if layer.output_bits or (zeros and layer.sparsity):
            what = f"{layer.output_bits}-bit outputs" if layer.output_bits else "pruned weights"
            raise StageError(stage, f"layer {layer.name!r} has {what}, which {undone_by} would undo", hint)


def require_no_clusters(layers: Iterable[LayerRecord], stage: str, *, undone_by: str, hint: str) -> None:
    """Refuse a model whose weights have only few values.

    Raises:
        StageError: a layer has clusters or levels; names the first.
    """
    for layer in layers:
        if layer.clusters or layer.levels:
            what = "clustered weights" if layer.clusters else f"weights of {layer.levels} levels"
            raise StageError(stage, f"layer {layer.name!r} has {what}, which {undone_by} would undo", hint)
