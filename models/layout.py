"""Layers with ``data_format="channels_first"``: the same with the channels last, between two permutations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import ModelError
from models.graph import Layer
from models.layer_rules import LAYERS

if TYPE_CHECKING:
    from models.configuration import Config
    from models.shapes import Shape


def is_channels_first(kind: str, fields: Config) -> bool:
    """Whether the layer, if it is not inside a wrapper, looks for the channels before the positions."""
    return "data_format" in LAYERS[kind].config and fields.get("data_format") == "channels_first"


def with_channels_last(kind: str, fields: Config) -> Config:
    """Return the configuration of the same layer with the channels last; its arrays stay as they are."""
    return {**fields, "data_format": "channels_last"} if is_channels_first(kind, fields) else fields


def permutation_before(layer: Layer, shape: Shape) -> Layer:
    """Return the layer that puts the channels of an input of ``shape`` last.

    Raises:
        ModelError: the input has no channels.
    """
    place = _channels(layer)
    if len(shape) <= place:
        msg = f"layer {layer.name!r} ({layer.kind}) does not fit its input {shape}: it has another rank"
        raise ModelError(msg)
    axes = [axis for axis in range(1, len(shape)) if axis != place]
    return Layer(f"{layer.name}_channels_last", "Permute", {"dims": [*axes, place]})


def permutation_after(layer: Layer, given: Shape, result: Shape) -> Layer | None:
    """Return the layer that puts the channels of the result back, or None if it has no positions.

    Args:
        layer: the layer, for channels last.
        given: the shape of its input, the channels last.
        result: the shape of its result, the channels last.
    """
    if layer.kind == "Flatten" or len(result) <= 2:
        return None
    place = _channels(layer) - (len(given) - len(result))
    axes = list(range(1, len(result) - 1))
    return Layer(
        f"{layer.name}_channels_first",
        "Permute",
        {"dims": [*axes[: place - 1], len(result) - 1, *axes[place - 1 :]]},
    )


def refuse_softmax(layer: Layer) -> None:
    """Refuse a softmax that would look along the last axis of positions.

    Raises:
        ModelError: the activation is one.
    """
    if layer.config.get("activation") == "softmax":
        msg = (
            f"layer {layer.name!r} ({layer.kind}): softmax with data_format='channels_first' compares "
            "positions, not channels; apply it as a layer Softmax of its own"
        )
        raise ModelError(msg)


def _channels(layer: Layer) -> int:
    return 2 if layer.kind.startswith("ConvLSTM") else 1
