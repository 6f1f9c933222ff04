"""What became of each Keras layer in the converted file."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.flatbuffer import float_operators

if TYPE_CHECKING:
    from pipeline.artifacts import LayerTreatment, Treatment
    from pipeline.flatbuffer import TfliteModel
    from pipeline.formats import Format

_AFTER_TRAINING: dict[str, Treatment] = {
    "quantization-aware": "post-training",
    "pruned, quantization-aware": "pruned, post-training",
}
_NOT_CONVERTED = "the model of quantization-aware training does not convert"


def final_treatments(
    layers: tuple[LayerTreatment, ...], written: Format, flat: TfliteModel
) -> tuple[LayerTreatment, ...]:
    """Correct what training meant to happen by what is in the file, which is of format ``written``."""
    if written == "int8":
        return layers
    if written in {"float16", "float32"}:
        return tuple(_as_float(layer, f"the file is {written}") for layer in layers)
    in_float = float_layers(flat, layers)
    return tuple(
        _as_float(layer, f"no int8 kernel for {', '.join(in_float[layer.name])}")
        if layer.name in in_float
        else layer
        for layer in layers
    )


def is_trained(layer: LayerTreatment) -> bool:
    """Whether it was trained with fake quantization."""
    return layer.treatment in _AFTER_TRAINING


def quantized_after_training(layers: tuple[LayerTreatment, ...]) -> tuple[LayerTreatment, ...]:
    """The treatments where the converter quantized the pruned model instead of the one trained with it."""
    return tuple(
        replace(layer, treatment=_AFTER_TRAINING[layer.treatment], reason=_NOT_CONVERTED)
        if is_trained(layer)
        else layer
        for layer in layers
    )


def float_layers(flat: TfliteModel, layers: tuple[LayerTreatment, ...]) -> dict[str, list[str]]:
    """The layers with operators that compute in float, and those operators.

    A layer is found by its name, which is a part of the path that the converter gives a tensor.
    """
    found: dict[str, list[str]] = {}
    for operator in float_operators(flat):
        if operator.is_cast:
            continue
        parts = set(re.split(r"[/;:() ]+", operator.tensor))
        for layer in layers:
            if parts & {layer.name, f"quant_{layer.name}"} and layer.treatment != "none":
                operators = found.setdefault(layer.name, [])
                if operator.name not in operators:
                    operators.append(operator.name)
    return found


def _as_float(layer: LayerTreatment, reason: str) -> LayerTreatment:
    if layer.treatment == "none":
        return layer
    return replace(layer, treatment="float", reason="; ".join(filter(None, (reason, layer.reason))))
