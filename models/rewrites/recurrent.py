"""Recurrent layers step by step: plain layers to the converter, without a state between inferences.

The converter makes one operator of an LSTM, which XNNPACK does not take and which remembers the sample before
until a program resets it; on a GRU it crashes. Unrolled, either is matrix products and activations.

The unrolled cell of an LSTM multiplies by the kernels of all gates at once (tf_keras's ``implementation=2``),
which takes a third fewer operators. A GRU would save hardly any, and computes each gate by itself. A
Bidirectional becomes its two layers, and the reversed sequence is assembled step by step, because the int8
REVERSE_V2 does not adapt the scale of what it moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.graph import Layer
from models.layer_rules import LAYERS, MAX_STEPS
from models.rewrites.edit import Edit, Rewrite
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from models.graph import Call, Graph

_WHY = "int8 kernels have no loops or state"
_MERGES = {"concat": "Concatenate", "sum": "Add", "mul": "Multiply", "ave": "Average"}


def unroll_recurrent(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Unroll every recurrent layer whose number of steps is known and at most ``MAX_STEPS``."""
    edit, shapes = Edit(graph), infer_shapes(graph)
    split: dict[str, tuple[str, str]] = {}
    for call in graph.calls:
        layer = graph.layers[call.layer]
        steps = shapes[call.inputs[0]][1] if is_recurrent(layer) else None
        if steps is None or steps > MAX_STEPS:
            edit.moved.append(edit.keep(call))
        elif layer.kind == "Bidirectional":
            what = f"was split into its two directions, unrolled over {steps} steps"
            edit.note(layer.name, what, _WHY, unrolled=2 * steps)
            edit.moved.append(_both_directions(edit, layer, split, steps, call))
        else:
            edit.moved.append(edit.keep(call))
            edit.layers[layer.name] = _unrolled(layer)
            if not (layer.inner or layer).config.get("unroll"):
                edit.note(layer.name, f"was unrolled over {steps} steps", _WHY, unrolled=steps)
    return edit.finish(), edit.rewrites


def is_recurrent(layer: Layer) -> bool:
    """Return whether it is a recurrent layer, or one around it."""
    return LAYERS[layer.kind].states > 0 or (layer.kind == "Bidirectional" and layer.inner is not None)


def _unrolled(layer: Layer) -> Layer:
    gates = {"LSTM": {"implementation": 2}, "GRU": {"implementation": 1}}
    return replace(layer, config=layer.config | {"unroll": True} | gates.get(layer.kind, {}))


def _both_directions(
    edit: Edit, layer: Layer, split: dict[str, tuple[str, str]], steps: int, call: Call
) -> int:
    assert layer.inner is not None
    ahead = layer.inner
    if layer.name not in split:
        split[layer.name] = _directions(edit, layer)
    tensor, *states = (edit.moved[source] for source in call.inputs)
    half = len(states) // 2
    given = ((tensor, *states[:half]), (tensor, *states[half:]))
    if call.result:  # a state: those ahead come first
        way, number = divmod(call.result - 1, LAYERS[ahead.kind].states)
        return edit.again(split[layer.name][way], *given[way], result=number + 1)
    results = [edit.again(name, *inputs) for name, inputs in zip(split[layer.name], given, strict=True)]
    if ahead.config.get("return_sequences"):
        results[1] = _reversed(edit, layer.name, steps, results[1])
    return edit.add(Layer(layer.name, _MERGES[layer.config.get("merge_mode", "concat")]), *results)


def _directions(edit: Edit, layer: Layer) -> tuple[str, str]:
    """Add the two layers that a Bidirectional is, and return their names."""
    ahead, back = layer.inner, layer.inner_backward
    assert ahead is not None
    if back is None:
        back = replace(ahead, config=ahead.config | {"go_backwards": not ahead.config.get("go_backwards")})
    half = len(layer.weights) // 2
    parts = ((ahead, "forward", layer.weights[:half]), (back, "backward", layer.weights[half:]))
    names = []
    for part, way, weights in parts:
        names.append(edit.fresh(layer.name, way))
        edit.layers[names[-1]] = _unrolled(Layer(names[-1], part.kind, part.config, weights))
    return names[0], names[1]


def _reversed(edit: Edit, name: str, steps: int, tensor: int) -> int:
    """Put the steps of ``tensor``, ``(n, steps, units)``, together in reverse order, for layer ``name``."""
    if steps == 1:
        return tensor
    cuts = [
        edit.add(
            Layer(edit.fresh(name, f"reversed_{step}"), "Cropping1D", {"cropping": [step, steps - 1 - step]}),
            tensor,
        )
        for step in reversed(range(steps))
    ]
    return edit.add(Layer(edit.fresh(name, "reversed"), "Concatenate", {"axis": 1}), *cuts)
