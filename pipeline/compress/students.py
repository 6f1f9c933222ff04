"""Students: a narrower form of a model, or another architecture with the same inputs and outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.describe import input_ports, output_ports
from models.graph import build_model
from models.layer_rules import LAYERS
from models.load import load_model
from models.prepare import graph_of, prepare
from pipeline.compress.channel_budget import with_counts
from pipeline.compress.channel_criteria import scores_of
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channel_removal import without
from pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from models.graph import Graph, Layer
    from models.ports import Port
    from pipeline.artifacts import KerasModel

STAGE = "distill_model"
_PREFIX = "distilled_"


def narrower(graph: Graph, width: float, multiple: int) -> Graph | None:
    """Return the model with a share of the channels of each layer, those with the largest filters.

    Args:
        width: the share; inputs and outputs of the model keep all channels.
        multiple: a layer gets the next multiple of this, or all channels.

    Returns:
        None if no layer can have fewer.
    """
    channels = ChannelGraph.of(graph)
    scores = np.nan_to_num(scores_of(channels, "l2"))
    wanted = [width * len(group.channels) for group in channels.groups]
    choice = with_counts(channels, scores, wanted, multiple)
    return without(channels, choice.removed) if choice.removed.any() else None


def fresh(graph: Graph) -> Graph:
    """Return the model without the arrays that training decides, so that Keras initializes them."""
    layers = {
        name: layer if _is_fixed(layer) else replace(layer, weights=())
        for name, layer in graph.layers.items()
    }
    return replace(graph, layers=layers)


def _is_fixed(layer: Layer) -> bool:
    """Return whether no training changes a layer's arrays, such as the mean and variance of the inputs."""
    is_trained = layer.inner is not None or any(each.trainable for each in LAYERS[layer.kind].weights)
    return not (is_trained and layer.config.get("trainable", True))


def other_architecture(
    path: Path, name: str, given: Any, model: KerasModel, probes: list[NDArray[Any]]
) -> Graph:
    """Read a model of another architecture, prepared as the given one is.

    Its inputs and outputs get the names that they have in ``given``; all other layers get names that no layer
    of the user's model has, because they have nothing to do with one of the same name.

    Args:
        name: of the architecture, for messages.
        probes: a few inputs of the model, (n, ...) each.

    Raises:
        StageError: its inputs or outputs are not those of the model.
        ModelError: it cannot be read.
    """
    loaded = load_model(path)
    _require_equal(input_ports(loaded), model.inputs, "input", name)
    fixed = build_model(_with_lengths(graph_of(loaded), model.inputs))
    _require_equal(output_ports(fixed), model.outputs, "output", name)
    graph = graph_of(prepare(fixed, probes).model)
    names = {each: f"{_PREFIX}{each}" for each in graph.layers}
    ends = [*zip(graph.inputs, given.inputs, strict=True), *zip(graph.outputs, given.outputs, strict=True)]
    names |= {graph.calls[tensor].layer: end.node.layer.name for tensor, end in ends}
    return _renamed(graph, names)


def _require_equal(found: tuple[Port, ...], expected: tuple[Port, ...], what: str, name: str) -> None:
    hint = f"give an architecture with the model's {what}s in [[compress]] into"
    if len(found) != len(expected):
        cause = f"{name} has {len(found)} {what}s, and the model has {len(expected)}"
        raise StageError(STAGE, cause, hint)
    for port, own in zip(found, expected, strict=True):
        lengths = len(port.shape) == len(own.shape) and all(
            length in (None, fixed) for length, fixed in zip(port.shape, own.shape, strict=True)
        )
        if not lengths or port.dtype != own.dtype or port.activation != own.activation:
            cause = f"{what} {port.name!r} of {name} is {_described(port)}, the model's is {_described(own)}"
            raise StageError(STAGE, cause, hint)


def _described(port: Port) -> str:
    shape = " x ".join("any" if length is None else str(length) for length in port.shape)
    return " ".join(filter(None, (port.dtype, shape, port.activation)))


def _with_lengths(graph: Graph, ports: tuple[Port, ...]) -> Graph:
    """Replace open lengths of the inputs by the model's."""
    layers = dict(graph.layers)
    for tensor, port in zip(graph.inputs, ports, strict=True):
        layer = layers[graph.calls[tensor].layer]
        layers[layer.name] = replace(layer, config=layer.config | {"shape": port.shape})
    return replace(graph, layers=layers)


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    layers = {
        names[name]: replace(layer, name=names[name], made_of="") for name, layer in graph.layers.items()
    }
    calls = tuple(replace(call, layer=names[call.layer]) for call in graph.calls)
    return replace(graph, layers=layers, calls=calls)
