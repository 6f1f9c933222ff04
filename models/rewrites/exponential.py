"""Write ELU and SELU as ReLU and exp, so that int8 keeps their values below zero.

TFLite leaves ELU in float. Of SELU it makes one ``exp`` of all inputs: the largest decides its scale, and of
the values below 1, the only ones that are used, nothing is left. Where ``exp`` sees ``x - relu(x)``, which is
never positive, its values fill 0..1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.graph import Layer
from models.rewrites.edit import Edit, Rewrite

if TYPE_CHECKING:
    from models.graph import Graph

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al., 2017, arXiv:1706.02515


def decompose_elu(graph: Graph) -> tuple[Graph, list[Rewrite]]:
    """Rewrite ``scale * elu(x)`` as ``scale * relu(x) + scale * alpha * (exp(x - relu(x)) - 1)``."""
    edit = Edit(graph)
    for call in graph.calls:
        layer = graph.layers[call.layer]
        form = _scale_and_alpha(layer)
        if form is None:
            edit.moved.append(edit.keep(call))
            continue
        edit.note(layer.name, f"{form[0]} was written as relu and exp", "so that int8 keeps values below 0")
        edit.moved.append(_decomposed(edit, layer.name, edit.moved[call.inputs[0]], form[1], form[2]))
    return edit.finish(), edit.rewrites


def _scale_and_alpha(layer: Layer) -> tuple[str, float, float] | None:
    if layer.kind == "ELU":
        alpha = layer.config.get("alpha", 1.0)
        return ("ELU", 1.0, float(alpha)) if isinstance(alpha, int | float) else None
    if layer.kind == "Activation" and layer.config.get("activation") == "selu":
        return "SELU", _SELU_SCALE, _SELU_ALPHA
    return None


def _decomposed(edit: Edit, name: str, tensor: int, scale: float, alpha: float) -> int:
    def add(part: str, kind: str, config: dict[str, Any], *inputs: int) -> int:
        return edit.add(Layer(edit.fresh(name, part), kind, config), *inputs)

    above = add("relu", "ReLU", {}, tensor)
    below = add("below", "Subtract", {}, tensor, above)
    below = add("exp", "Activation", {"activation": "exponential"}, below)
    below = add("shift", "Rescaling", {"scale": scale * alpha, "offset": -scale * alpha}, below)
    if scale != 1.0:
        above = add("scale", "Rescaling", {"scale": scale, "offset": 0.0}, above)
    return edit.add(Layer(name, "Add"), above, below)
