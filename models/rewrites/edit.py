"""Rewrite a graph, call by call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.graph import Call, Graph, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPSILON = 1e-3


@dataclass(frozen=True)
class Rewrite:
    """A change: the layer of the given model, its replacement, and the reason.

    ``unrolled`` is how many steps a recurrent layer was written out in, or 0.
    """

    layer: str
    what: str
    why: str
    unrolled: int = 0


@dataclass
class Edit:
    """The new graph so far, and where each tensor of the old one is in it.

    Attributes:
        made: which layer each layer with a new name was made of.
    """

    graph: Graph
    layers: dict[str, Layer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    rewrites: list[Rewrite] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)

    def keep(self, call: Call) -> int:
        """Copy a call as it is."""
        self.layers[call.layer] = self.graph.layers[call.layer]
        return self._append(replace(call, inputs=tuple(self.moved[tensor] for tensor in call.inputs)))

    def add(self, layer: Layer, *inputs: int, result: int = 0) -> int:
        """Call a new layer on tensors of the new graph; its name is made unique.

        The name may be that of the layer which it replaces; any other has to be ``fresh``.
        """
        name = self.fresh(layer.name, "") if layer.name in self.layers else layer.name
        self.layers[name] = replace(layer, name=name)
        return self._append(Call(name, inputs, result))

    def fresh(self, of: str, suffix: str) -> str:
        """Return a name that neither graph has for a layer that is made of another: e.g. ``of_suffix``."""
        preferred = f"{of}_{suffix}" if suffix else of
        name, count = preferred, 0
        while name in self.layers or name in self.graph.layers:
            count += 1
            name = f"{preferred}_{count}"
        self.made[name] = of
        return name

    def again(self, name: str, *inputs: int, result: int = 0) -> int:
        """Call a layer of the new graph once more, for one of its results."""
        return self._append(Call(name, inputs, result))

    def note(self, layer: str, what: str, why: str, *, unrolled: int = 0) -> None:
        """Record a change, once for a layer."""
        rewrite = Rewrite(layer, what, why, unrolled)
        if rewrite not in self.rewrites:
            self.rewrites.append(rewrite)

    def finish(self) -> Graph:
        """Return the new graph without what nothing reads any more."""
        outputs = tuple(self.moved[tensor] for tensor in self.graph.outputs)
        inputs = tuple(self.moved[tensor] for tensor in self.graph.inputs)
        needed = set(inputs) | set(outputs)
        for index in reversed(range(len(self.calls))):
            if index in needed:
                needed.update(self.calls[index].inputs)
        order = sorted(needed)
        place = {old: new for new, old in enumerate(order)}
        calls = tuple(
            replace(self.calls[i], inputs=tuple(place[tensor] for tensor in self.calls[i].inputs))
            for i in order
        )
        used = {call.layer for call in calls}
        return Graph(
            self.graph.name,
            {
                name: replace(layer, made_of=self._origin(name))
                for name, layer in self.layers.items()
                if name in used
            },
            calls,
            tuple(place[tensor] for tensor in inputs),
            tuple(place[tensor] for tensor in outputs),
        )

    def _origin(self, name: str) -> str:
        """Return the layer of the given model that a layer was made of; "" if it has that layer's name."""
        source = name
        while source in self.made:
            source = self.made[source]
        known = self.graph.layers.get(source)
        origin = known.made_of if known else ""
        return origin or ("" if source == name else source)

    def _append(self, call: Call) -> int:
        self.calls.append(call)
        return len(self.calls) - 1


def affine(
    name: str, scale: NDArray[np.floating[Any]], offset: NDArray[np.floating[Any]], mean: Any = 0.0
) -> Layer:
    """Return a BatchNormalization that computes ``(x - mean) * scale + offset`` for good: it is frozen."""
    gamma, beta = (np.asarray(values, np.float32) for values in (scale, offset))
    centre = np.broadcast_to(np.asarray(mean, np.float32), gamma.shape)
    variance = np.full(gamma.shape, 1 - EPSILON, np.float32)
    config = {"epsilon": EPSILON, "trainable": False}
    return Layer(name, "BatchNormalization", config, (gamma, beta, centre, variance))


def identity_depthwise(name: str, channels: int) -> Layer:
    """Return a 1x1 depthwise convolution that passes its input on."""
    config = {"kernel_size": 1, "use_bias": False}
    return Layer(name, "DepthwiseConv2D", config, (np.ones((1, 1, channels, 1), np.float32),))
