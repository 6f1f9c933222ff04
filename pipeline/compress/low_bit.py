"""Weights of 2 to 8 bits, ternary or binary, and activations of 2 to 8 bits, by training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from models.layer_rules import rule_of
from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.compress.quantizers import INT8, levels_of
from pipeline.compress.straight_through import (
    LatentKernel,
    trained_highs,
    unwrapped,
    updating,
    with_rounded_outputs,
)
from pipeline.errors import StageError
from pipeline.layer_records import require_no_clusters
from pipeline.samples import Samples
from pipeline.sections import MethodSection, Section, advice
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.kernels import distinct_values, kernels_of
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.layer_records import LayerRecord

LayerType = Literal["conv", "depthwise", "dense", "recurrent", "activation"]
Range = Literal["mse", "max"]

LAYER_TYPES: dict[str, LayerType] = {
    **{f"Conv{n}D{way}": "conv" for n in (1, 2, 3) for way in ("", "Transpose")},
    **{f"DepthwiseConv{n}D": "depthwise" for n in (1, 2)},
    "Dense": "dense",
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D"), "recurrent"),
}
_NEVER_NEGATIVE = frozenset({"relu", "relu6"})
_JOINS = frozenset({"Concatenate", "Maximum", "Minimum"})


def _weight_bits(value: Any) -> int | str:
    if value in ("binary", "ternary") or (type(value) is int and 2 <= value <= INT8):
        return value  # type: ignore[no-any-return]
    msg = f'{value!r} is not a bit width; write 2 to 8, "ternary" or "binary"'
    raise ValueError(msg)


Bits = Annotated[int, Field(ge=2, le=INT8)]
WeightBits = Annotated[int | str, BeforeValidator(_weight_bits)]


class Precision(Section):
    """The bits of one layer or of a type of layers; what is None is as for all layers.

    Attributes:
        bits: of the weights; of the output if the layer has none.
        activations: bits of the output.
        range: how the scale of weights of 2 to 7 bits is chosen.
    """

    bits: WeightBits | None = None
    activations: Bits | None = None
    range: Range | None = None


def _precision(value: Any) -> Any:
    """Accept the bits alone for a table."""
    return value if isinstance(value, dict | Precision) else {"bits": value}


Precisions = Annotated[Precision, BeforeValidator(_precision, json_schema_input_type=int | str | Precision)]


class LowBitConfig(MethodSection):
    """Fewer bits than int8, with straight-through training.

    For weights ``layers`` comes before ``first_and_last``, that before ``per_type`` and that before
    ``weights``. Depthwise layers keep 8 bits unless ``per_type`` or ``layers`` names them.

    Attributes:
        weights: bits of the weights, 2 to 8, "ternary" or "binary".
        activations: bits of the outputs of ReLU and ReLU6, 2 to 8; other outputs have 8.
        range: how the scale of weights of 2 to 7 bits is chosen: "mse" has the least squared error, "max"
            spans all of them.
        first_and_last: bits of the weights of the first and the last convolution or dense layer.
        per_type: bits of the layers of one type.
        layers: bits of single layers, by name.
        kl: the lambda of ``loss + lambda * KL``, in place of ``training.distillation``, which is
            ``lambda / (1 + lambda)``.
    """

    method: str = "low_bit"
    weights: WeightBits = 4
    activations: Bits = INT8
    range: Range = "mse"
    first_and_last: WeightBits = INT8
    per_type: dict[LayerType, Precisions] = {}
    layers: dict[str, Precisions] = {}
    kl: Annotated[float, Field(ge=0)] | None = None
    training: TrainingConfig = TrainingConfig(epochs=8)

    @model_validator(mode="after")
    def _check_kl(self) -> LowBitConfig:
        if self.kl is not None and "distillation" in self.training.model_fields_set:
            share = self.kl / (1 + self.kl)
            msg = f"kl = {self.kl:g} means training.distillation = {share:g}; give only one of them"
            raise ValueError(msg)
        return self

    @property
    def fine_tuning(self) -> TrainingConfig:
        """The training, with the share of the teacher that ``kl`` means.

        The cross-entropy with the target ``(1 - s) label + s teacher`` is
        ``(1 - s) loss + s (KL + entropy of the teacher)``. The entropy does not depend on the student, and
        with ``s = kl / (1 + kl)`` the rest is ``(loss + kl * KL) / (1 + kl)``.
        """
        if self.kl is None:
            return self.training
        return self.training.model_copy(update={"distillation": self.kl / (1 + self.kl)})


class LayerPlan(NamedTuple):
    """What is done to one layer.

    Attributes:
        weights: bits of its weights; 8: they are left to the conversion.
        range: how their scale is chosen.
        activations: bits of its output; 8 likewise.
        reason: why it has more bits than asked for all layers; "" if it has not.
    """

    weights: int | str = INT8
    range: Range = "mse"
    activations: int = INT8
    reason: str = ""


def train_low_bit(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: LowBitConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Fine-tune with weights and activations of few bits, and return the model with such weights.

    Zeros of pruned layers stay zero, whatever their bits.

    Every output channel of a kernel has a scale of its own, so int8 quantization per channel keeps its levels
    apart. Rounded activations are not part of the returned model; their bits and ranges are in the records of
    its layers, and the conversion gives the int8 tensors of these outputs the same levels.

    Raises:
        StageError: ``config`` names no layer of the model, or asks for binary weights where pruning has made
            zeros, or an earlier step clustered a layer.
    """
    require_no_clusters(
        model.layers,
        train_low_bit.__name__,
        undone_by="training",
        hint='use either the clustering or method = "low_bit" in [[compress]]',
    )
    start_tensorflow(seed)
    network = open_model(model.model)
    plans = plan(network, model, config)
    samples = Samples.of(data, "train", model.preprocessing)
    rounded = {name: each.activations for name, each in plans.items() if each.activations < INT8}
    student = with_rounded_outputs(network, rounded, samples, seed) if rounded else network
    latent = [
        LatentKernel(
            kernel, plans[record.name].weights, plans[record.name].range == "max", bool(record.sparsity)
        )
        for record in model.layers
        if plans[record.name].weights != INT8 or record.sparsity
        for kernel in kernels_of(unwrapped(student.get_layer(record.name)))
    ]
    findings = tuple(_findings(plans))
    trainings = model.trainings
    if findings:
        callbacks = (updating(latent),)
        history = fine_tune("low bit", student, teacher, data, config.fine_tuning, seed, callbacks)
        trainings = (*trainings, history)
    for layer in network.layers:
        layer.set_weights(unwrapped(student.get_layer(layer.name)).get_weights())
    save_model(network, out / "model")
    highs = trained_highs(student)
    layers = tuple(
        _recorded(layer, network.get_layer(layer.name), plans[layer.name], highs.get(layer.name, 0.0))
        for layer in model.layers
    )
    notes = (
        () if findings else ('no layer has fewer than 8 bits: [[compress]] method = "low_bit" did nothing',)
    )
    return replace(
        model, folder=out, digest="", layers=layers, trainings=trainings, notes=notes, findings=findings
    )


def plan(network: Any, model: KerasModel, config: LowBitConfig) -> dict[str, LayerPlan]:
    """Return what is done to each layer, by its name.

    Raises:
        StageError: as ``train_low_bit``.
    """
    names = [layer.name for layer in network.layers]
    for name in config.layers:
        if name not in names:
            raise StageError(
                train_low_bit.__name__,
                f"[[compress]] layers: no layer {name!r}",
                advice(name, names, "layers"),
            )
    edges = edge_layers(network)
    plans = {layer.name: _planned(layer, edges.get(layer.name, ""), config) for layer in network.layers}
    for record in model.layers:
        if record.sparsity and plans[record.name].weights == "binary":
            cause = f"layer {record.name!r} has pruned weights, and binary weights are never zero"
            raise StageError(train_low_bit.__name__, cause, 'use "ternary" weights, or do not prune')
    return plans


def _planned(layer: Any, edge: str, config: LowBitConfig) -> LayerPlan:
    kind = LAYER_TYPES.get(type(layer).__name__)
    own, of_type = config.layers.get(layer.name, Precision()), Precision()
    weights: int | str = INT8
    reason = ""
    if kind is not None:
        of_type = config.per_type.get(kind, Precision())
        weights, reason = _weights_of(kind, own, of_type, edge, config)
    elif isinstance(own.bits, int):  # a layer without weights: the bits are those of its output
        own = own.model_copy(update={"activations": own.bits})
    activations = INT8
    if is_never_negative(layer) and not shares_scale(layer):
        every = config.per_type.get("activation", Precision())
        asked = (own.activations, of_type.activations, every.activations, every.bits, config.activations)
        activations = next(bits for bits in asked if isinstance(bits, int))
    return LayerPlan(weights, own.range or of_type.range or config.range, activations, reason)


def _weights_of(
    kind: LayerType, own: Precision, of_type: Precision, edge: str, config: LowBitConfig
) -> tuple[int | str, str]:
    """Return the bits of a layer's weights, and why they are more than asked for all layers."""
    if own.bits is not None:
        return own.bits, ""
    if edge:
        return config.first_and_last, "" if config.first_and_last == config.weights else f"the {edge} layer"
    if of_type.bits is not None:
        return of_type.bits, ""
    if kind == "depthwise":
        return INT8, "it has few weights per channel"
    return config.weights, ""


def edge_layers(network: Any) -> dict[str, str]:
    """Return the convolutions and dense layers before or after which there is no other with weights.

    Returns:
        "first" or "last" by the layer's name; the only one is the last.
    """
    above: dict[str, set[str]] = {}
    for layer in network.layers:  # in the order of execution
        sources = {tensor.node.layer.name for node in layer.inbound_nodes for tensor in node.keras_inputs}
        above[layer.name] = set().union(*(above[name] | {name} for name in sources if name in above))
    weighted = {layer.name for layer in network.layers if type(layer).__name__ in LAYER_TYPES}
    below = {name for other in weighted for name in above[other]}
    edges = {}
    for layer in network.layers:
        if layer.name in weighted and LAYER_TYPES[type(layer).__name__] != "recurrent":
            if layer.name not in below:
                edges[layer.name] = "last"
            elif not above[layer.name] & weighted:
                edges[layer.name] = "first"
    return edges


def is_never_negative(layer: Any) -> bool:
    """Return whether the layer applies ReLU or ReLU6 last."""
    if type(layer).__name__ == "ReLU":
        return not layer.negative_slope and not layer.threshold
    kind = LAYER_TYPES.get(type(layer).__name__, "")
    if kind == "recurrent" or not hasattr(layer, "activation"):
        return False
    return getattr(layer.activation, "__name__", "") in _NEVER_NEGATIVE


def shares_scale(layer: Any) -> bool:
    """Return whether int8 has one scale for the output and for other values that are not rounded alike.

    That is so if it reaches, maybe moved, the output of the model, an average over windows, or an operation
    on several tensors that compares or joins them.
    """
    consumers = [node.layer for node in layer.outbound_nodes]
    if not consumers:
        return True
    kinds = {each: type(each).__name__ for each in consumers}
    if any(kind in _JOINS or kind.startswith("AveragePooling") for kind in kinds.values()):
        return True
    moving = [
        each for each, kind in kinds.items() if rule_of(kind).keeps_range or kind.startswith(("Max", "Zero"))
    ]
    return any(shares_scale(each) for each in moving if not type(each).__name__.startswith("Global"))


def _recorded(record: LayerRecord, layer: Any, plan: LayerPlan, high: float) -> LayerRecord:
    if plan.weights != INT8:
        kernels = [kernel.columns() for kernel in kernels_of(layer)]
        size = sum(kernel.size for kernel in kernels)
        zeros = size - sum(int(np.count_nonzero(kernel)) for kernel in kernels)
        record = replace(
            record,
            operations=(*record.operations, bits_text(plan.weights)),
            weights=size,
            sparsity=zeros / size,
            levels=levels_per_channel(plan.weights),
            distinct=sum(map(distinct_values, kernels)),
        )
    elif plan.reason:
        record = replace(record, reason=f"8 bits: {plan.reason}")
    if high:
        operations = (*record.operations, f"{plan.activations}-bit output")
        record = replace(record, operations=operations, output_bits=plan.activations, output_high=high)
    return record


def bits_text(bits: int | str) -> str:
    return bits if isinstance(bits, str) else f"{bits}-bit"


def levels_per_channel(bits: int | str) -> int:
    """Return how many values the weights of one output channel may have."""
    if isinstance(bits, int):
        return 2 * levels_of(bits) + 1
    return {"binary": 2, "ternary": 3}[bits]


def _findings(plans: dict[str, LayerPlan]) -> Iterator[str]:
    bits_of: dict[str, dict[str, int | str]] = {
        "weights": {name: each.weights for name, each in plans.items()},
        "outputs": {name: each.activations for name, each in plans.items()},
    }
    for what, bits in bits_of.items():
        for wide in dict.fromkeys(bits.values()):
            if wide != INT8:
                names = [name for name in bits if bits[name] == wide]
                yield f"{bits_text(wide)} {what} ({len(names)} layers): {', '.join(names)}"
