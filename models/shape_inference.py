"""The shape of every tensor of a graph, inferred without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import ModelError
from models.layer_rules import LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.graph import Graph, Layer
    from models.shapes import Shape


def infer_shapes(graph: Graph) -> list[Shape]:
    """Return the shape of each tensor of ``graph``.

    Raises:
        ModelError: a layer cannot be applied to what it is given.
    """
    shapes: list[Shape] = []
    for call in graph.calls:
        layer = graph.layers[call.layer]
        shapes.append(output_shape(layer, [shapes[tensor] for tensor in call.inputs], call.result))
    return shapes


def output_shape(layer: Layer, inputs: Sequence[Shape], result: int = 0) -> Shape:
    """Return the shape of a result that ``layer`` makes of tensors of the shapes ``inputs``.

    Raises:
        ModelError: it cannot be applied to them.
    """
    try:
        shape = _output(layer, inputs)
        if result:  # a state
            shape = (shape[0], (layer.inner or layer).config["units"])
    except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError, OverflowError) as error:
        reason = error if str(error) else "it has another rank"
        msg = f"layer {layer.name!r} ({layer.kind}) does not fit its input {list(inputs)}: {reason}"
        raise ModelError(msg) from error
    if any(length is not None and not (type(length) is int and length > 0) for length in shape):
        msg = f"layer {layer.name!r} ({layer.kind}) makes {shape} of {list(inputs)}; enlarge the input"
        raise ModelError(msg)
    return shape


def check_weights(graph: Graph, shapes: Sequence[Shape]) -> None:
    """Compare each layer's first array with its configuration, before anything of that size is allocated.

    Raises:
        ModelError: they differ.
    """
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if not layer.weights:
            continue
        inputs = shapes[call.inputs[0]]
        expected = _kernels(layer, inputs)
        given = [array.shape for array in layer.weights[: len(expected)]]
        if given != expected:
            msg = (
                f"layer {layer.name!r} ({layer.kind}): arrays of shapes {given} do not fit its configuration "
                f"and its input {inputs}, which need {expected}; save the model again"
            )
            raise ModelError(msg)


def _output(layer: Layer, inputs: Sequence[Shape]) -> Shape:
    inner = layer.inner
    return LAYERS[layer.kind].output(
        layer.config, inputs, None if inner is None else lambda given: _output(inner, given)
    )


def _kernels(layer: Layer, shape: Shape) -> list[Shape]:
    if layer.inner is not None:
        is_per_step = layer.kind == "TimeDistributed"
        return _kernels(layer.inner, (shape[0], *shape[2:]) if is_per_step else shape)
    return LAYERS[layer.kind].kernels(layer.config, shape)
