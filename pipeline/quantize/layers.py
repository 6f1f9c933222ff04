"""Find out how each Keras layer was converted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.artifacts import QatModel
from pipeline.flatbuffer import float_operators
from pipeline.formats import has_integers

if TYPE_CHECKING:
    from pipeline.artifacts import ModelArtifact
    from pipeline.flatbuffer import TfliteModel
    from pipeline.formats import Format
    from pipeline.layer_records import LayerRecord

_NOT_CONVERTED = "the model from quantization-aware training cannot be converted"


def final_layers(
    model: ModelArtifact, written: Format, after_training: bool, flat: TfliteModel
) -> tuple[LayerRecord, ...]:
    """Record how each layer was quantized in the file.

    Args:
        written: the file's format.
        after_training: whether the converter quantized the model from before quantization-aware training.
    """
    if not has_integers(written):
        return tuple(_as_float(layer, f"the file is {written}") for layer in model.layers)
    if not isinstance(model, QatModel):
        layers = tuple(layer.quantized("post-training") for layer in model.layers)
    elif after_training:
        layers = tuple(
            layer.quantized("post-training", _NOT_CONVERTED)
            if layer.quantization == "quantization-aware"
            else layer
            for layer in model.layers
        )
    else:
        layers = model.layers
    if written == "int8":
        return layers
    in_float = float_layers(flat, layers)
    return tuple(
        _as_float(layer, f"no int8 kernel for {', '.join(in_float[layer.name])}")
        if layer.name in in_float
        else layer
        for layer in layers
    )


def float_layers(flat: TfliteModel, layers: tuple[LayerRecord, ...]) -> dict[str, list[str]]:
    """Return the layers with float operators, and these operators.

    A layer is found by its name, which the converter puts into the names of tensors.
    """
    found: dict[str, list[str]] = {}
    for operator in float_operators(flat):
        if operator.is_cast:
            continue
        for layer in layers:
            if is_of_layer(operator.tensor, layer.name) and layer.kind != "InputLayer":
                operators = found.setdefault(layer.name, [])
                if operator.name not in operators:
                    operators.append(operator.name)
    return found


def is_of_layer(tensor: str, layer: str) -> bool:
    """Return whether the converter's name of a tensor names a layer."""
    return not {layer, f"quant_{layer}"}.isdisjoint(re.split(r"[/;:() ]+", tensor))


def _as_float(layer: LayerRecord, reason: str) -> LayerRecord:
    return layer.quantized("float", "; ".join(filter(None, (reason, layer.reason))))
