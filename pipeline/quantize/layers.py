"""What became of each Keras layer in the converted file."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.flatbuffer import float_operators

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.artifacts import LayerTreatment
    from pipeline.config import Format
    from pipeline.flatbuffer import TfliteModel


def final_treatments(
    layers: tuple[LayerTreatment, ...], written: Format, flat: TfliteModel, without_int8: Mapping[str, str]
) -> tuple[LayerTreatment, ...]:
    """Correct what training meant to happen by what is in the file.

    Args:
        layers: after quantization-aware training.
        written: the file's format.
        flat: the file.
        without_int8: layers whose operators have no int8 kernel, and why.
    """
    if written == "int8":
        return layers
    if written in {"float16", "float32"}:
        return tuple(_as_float(layer, f"the file is {written}") for layer in layers)
    in_float = _layers_named("\n".join(float_operators(flat)), layers)
    return tuple(
        _as_float(layer, without_int8.get(layer.name, "its operators stayed float"))
        if layer.name in in_float or layer.name in without_int8
        else layer
        for layer in layers
    )


def _as_float(layer: LayerTreatment, reason: str) -> LayerTreatment:
    if layer.treatment == "none":
        return layer
    return replace(layer, treatment="float", reason="; ".join(filter(None, (reason, layer.reason))))


def _layers_named(operators: str, layers: tuple[LayerTreatment, ...]) -> set[str]:
    """The layers whose names are a part of the path that a converter gives a tensor."""
    words = set(re.split(r"[/;:() \n]+", operators))
    return {layer.name for layer in layers if words & {layer.name, f"quant_{layer.name}"}}
