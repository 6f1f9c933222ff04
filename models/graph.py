"""A model as plain data: its layers with their arrays, and the calls between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from models.errors import ModelError
from models.layer_rules import LAYERS
from models.layers import OWN_LAYERS, own_layers

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import tf_keras
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: unique in its graph.
        kind: a key of ``LAYERS``.
        config: arguments of tf_keras's class of that name, among those that the rule lists.
        weights: its arrays, in the order of the rule.
        inner: the layer that a wrapper holds.
        inner_backward: the second one of a Bidirectional whose directions differ.
        made_of: the layer of the given model that a rewrite made it of; "" if it has that layer's name.
    """

    name: str
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    weights: tuple[NDArray[np.generic], ...] = ()
    inner: Layer | None = None
    inner_backward: Layer | None = None
    made_of: str = ""


@dataclass(frozen=True)
class Call:
    """A layer applied once: to the results of other calls, each known by its place in ``Graph.calls``.

    Of a layer with several results, such as a recurrent one that returns its state, each is a call of its own
    with the same inputs.

    Attributes:
        layer: its name.
        inputs: the tensors that it is applied to; of a recurrent layer the sequence, then the initial states.
        result: which of its results this is.
    """

    layer: str
    inputs: tuple[int, ...] = ()
    result: int = 0


@dataclass(frozen=True)
class Graph:
    """A model without nested models; calls are in an order in which they can be made.

    Attributes:
        name: the model's name.
        layers: by name.
        calls: call ``i`` gives tensor ``i``.
        inputs: the tensors of the InputLayers, in the model's order.
        outputs: the tensors that the model returns, in its order.
    """

    name: str
    layers: dict[str, Layer]
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def consumers(self) -> list[list[int]]:
        """Return, for each tensor, the calls that read it."""
        readers: list[list[int]] = [[] for _ in self.calls]
        for index, call in enumerate(self.calls):
            for tensor in call.inputs:
                readers[tensor].append(index)
        return readers


def build_model(graph: Graph) -> tf_keras.Model:
    """Build the tf_keras model of ``graph`` and copy its arrays into it.

    Raises:
        ModelError: a layer cannot be built so, or its arrays do not fit it.
    """
    import tf_keras

    tensors, instances = _tensors(graph)
    for layer in graph.layers.values():
        if layer.weights:
            _set_weights(layer, instances[layer.name])
    inputs = _single([tensors[index] for index in graph.inputs])
    return tf_keras.Model(inputs, _single([tensors[index] for index in graph.outputs]), name=graph.name)


def _tensors(graph: Graph) -> tuple[list[Any], dict[str, tf_keras.layers.Layer]]:
    """Make every call of ``graph`` symbolically: its tensors, and the layers with weights yet to be set."""
    import tf_keras

    instances: dict[str, tf_keras.layers.Layer] = {}
    several: dict[Call, Any] = {}
    tensors: list[Any] = []
    for call in graph.calls:
        layer = graph.layers[call.layer]
        arguments = [tensors[index] for index in call.inputs]
        try:
            if layer.kind == "InputLayer":
                tensors.append(tf_keras.Input(name=layer.name, **layer.config))
                continue
            if layer.name not in instances:
                instances[layer.name] = _instance(layer)
            first = replace(call, result=0)
            results = several.get(first)
            if results is None:
                results = _apply(layer, instances[layer.name], arguments)
            if isinstance(results, list | tuple):
                several[first] = results
                results = results[call.result]
            tensors.append(results)
        except (ValueError, TypeError, OverflowError, IndexError, ArithmeticError) as error:
            msg = f"layer {layer.name!r} ({layer.kind}) cannot be built: {_first_line(error)}"
            raise ModelError(msg) from error
    return tensors, instances


def _apply(layer: Layer, instance: tf_keras.layers.Layer, arguments: list[Any]) -> Any:
    rule = LAYERS[layer.kind]
    if rule.takes_states and len(arguments) > 1:
        return instance(arguments[0], initial_state=arguments[1:])
    if rule.arguments:
        return instance(*arguments)
    return instance(arguments if rule.merges else arguments[0])


def _instance(layer: Layer) -> tf_keras.layers.Layer:
    import tf_keras

    arguments = dict(layer.config)
    if layer.inner is not None:
        arguments["layer"] = _instance(layer.inner)
    if layer.inner_backward is not None:
        arguments["backward_layer"] = _instance(layer.inner_backward)
    if layer.kind in OWN_LAYERS:
        return own_layers()[layer.kind](name=layer.name, **arguments)
    return getattr(tf_keras.layers, layer.kind)(name=layer.name, **arguments)


def _set_weights(layer: Layer, instance: tf_keras.layers.Layer) -> None:
    expected = [tuple(weight.shape) for weight in instance.weights]
    given = [array.shape for array in layer.weights]
    if expected != given:
        msg = (
            f"layer {layer.name!r} ({layer.kind}): arrays of shapes {given} do not fit "
            f"its configuration, which needs {expected}; save the model again"
        )
        raise ModelError(msg)
    instance.set_weights(list(layer.weights))


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _first_line(error: BaseException) -> str:
    lines: Iterable[str] = str(error).strip().splitlines()
    return " ".join(next(iter(lines), type(error).__name__).split())[:200]
