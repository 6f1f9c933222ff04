"""The bridge: the configuration of a Keras 3 or tf_keras model to a :class:`Graph` that tf_keras can build.

The two disagree on how a graph is written (``inbound_nodes``), on the names of some arguments and on the
formula of some activations. Nested models are laid out flat on the way. What follows is of keras 3.15 and
tf_keras 2.21, each checked against the real one in the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from models import masks
from models.allowlist import DO_NOTHING, MODELS
from models.configuration import (
    Config,
    dtype_of,
    fields_of,
    input_of,
    is_dimension,
    kind_of,
    layers_of,
    model_inside,
    name_of,
    starts_with_input,
)
from models.endings import without_argmax
from models.errors import ModelError
from models.expansions import expanded, unrolled_for_states
from models.graph import Call, Graph, Layer
from models.layer_rules import LAYERS, rule_of
from models.layout import (
    is_channels_first,
    permutation_after,
    permutation_before,
    refuse_softmax,
    with_channels_last,
)
from models.nodes import Arguments, Ref, Tensor, read_node, read_refs
from models.operations import is_operation, operation_chains, operation_kind
from models.settings import differs_in_training, refuse_single_steps, refuse_unread
from models.shape_inference import output_shape
from models.translate import (
    activation_layers,
    class_of,
    read_layer,
    states_of,
    without_spectral_norm,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.shapes import Shape
    from models.weights import WeightsByPath

Place = tuple[str, ...]

# Layer names that tf_keras accepts, except parts that mean another folder.
_NAME = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._][A-Za-z0-9_.\\/>-]{0,199}")
_INPUT_DTYPES = frozenset({"float32", "int8", "uint8", "int16", "int32", "int64", "bool"})
_MASK = -1  # stands for the tensor of a mask, which no layer computes
_MAX_CALLS = 20_000


def read_graph(config: Config, weights: WeightsByPath, *, is_keras3: bool) -> Graph:
    """Translate a model's configuration.

    Args:
        config: ``{"class_name": ..., "config": ...}`` as a file has it.
        weights: each layer's arrays, by its path of names.
        is_keras3: whether Keras 3 wrote it; else tf_keras or an older Keras.

    Raises:
        ModelError: it holds a layer or a connection that is not supported.
    """
    reader = _Reader(weights, is_keras3)
    outputs = reader.model(config, (), None)
    reader.take_indices_as_integers()
    name = str(fields_of(config).get("name", ""))
    graph = Graph(
        name if _NAME.fullmatch(name) else "model",
        reader.layers,
        tuple(reader.calls),
        tuple(reader.inputs),
        tuple(outputs),
    )
    return without_argmax(graph)


@dataclass
class _Results:
    """The tensors of each call of each layer so far; ``first`` is the number of a layer's first call."""

    calls: dict[str, list[list[int]]]
    first: dict[str, int]

    def find(self, ref: Ref) -> int | None:
        """Return the tensor that ``ref`` names, or None if it was not computed yet."""
        calls = self.calls.get(ref.layer)
        if calls is None:
            msg = f"a layer reads {ref.layer!r}, which is not in the model; save the model again"
            raise ModelError(msg)
        call = ref.node - self.first[ref.layer]
        return calls[call][ref.tensor] if 0 <= call < len(calls) and ref.tensor < len(calls[call]) else None


@dataclass
class _Reader:
    """Lays the graph out flat: every call of every layer, in order."""

    weights: WeightsByPath
    is_keras3: bool
    layers: dict[str, Layer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    masks: dict[int, str] = field(default_factory=dict)
    channels_last: dict[int, int] = field(default_factory=dict)
    frozen: bool = False
    inputs: list[int] = field(default_factory=list)
    names: dict[Place, str] = field(default_factory=dict)

    def model(self, config: Config, place: Place, given: list[int] | None) -> list[int]:
        """Lay out one model, applied to ``given`` or, outermost, to inputs of its own."""
        read = self._sequential if kind_of(config) == "Sequential" else self._functional
        return read(config, place, given)

    def _sequential(self, config: Config, place: Place, given: list[int] | None) -> list[int]:
        layers = layers_of(config)
        if given is None:
            given = [self._input(*input_of(config))]
        tensors = given
        for layer in layers:
            if kind_of(layer) != "InputLayer":
                arguments = Arguments(tuple(map(Tensor, tensors)))
                tensors = self._apply(layer, (*place, name_of(layer)), arguments)
        return tensors

    def _functional(self, config: Config, place: Place, given: list[int] | None) -> list[int]:
        results = _Results({}, {})
        waiting: list[tuple[Config, str, int, Arguments]] = []
        for layer in layers_of(config):
            name = name_of(layer)
            results.calls[name] = [[]] if kind_of(layer) == "InputLayer" else []
            results.first[name] = 0 if self.is_keras3 or not starts_with_input(layer) else 1
            for index, node in enumerate(layer.get("inbound_nodes") or []):
                waiting.append((layer, name, index, read_node(node, name)))
        for name, tensor in self._sources(config, place, given):
            results.calls[name][0] = [tensor]

        while waiting:
            left = []
            for layer, name, index, arguments in waiting:
                resolved = arguments.resolved(results.find) if len(results.calls[name]) == index else None
                if resolved is None:
                    left.append((layer, name, index, arguments))
                else:
                    results.calls[name].append(self._apply(layer, (*place, name), resolved))
            if len(left) == len(waiting):
                msg = f"layer {left[0][1]!r} is part of a cycle or reads nothing; save the model again"
                raise ModelError(msg)
            waiting = left
        outputs = [results.find(ref) for ref in read_refs(fields_of(config).get("output_layers"))]
        if not outputs or None in outputs:
            msg = "the model's outputs lead nowhere; save the model again"
            raise ModelError(msg)
        return [tensor for tensor in outputs if tensor is not None]

    def _sources(self, config: Config, place: Place, given: list[int] | None) -> Iterator[tuple[str, int]]:
        """Yield each InputLayer's name and the tensor that it stands for."""
        sources = read_refs(fields_of(config).get("input_layers"))
        if given is not None and len(given) != len(sources):
            msg = f"model {place[-1]!r} is called on {len(given)} tensors and has {len(sources)} inputs"
            raise ModelError(msg)
        input_layers = {
            name_of(layer): layer for layer in layers_of(config) if kind_of(layer) == "InputLayer"
        }
        for position, source in enumerate(sources):
            if source.layer not in input_layers:
                msg = f"input {source.layer!r} is not an InputLayer; save the model again"
                raise ModelError(msg)
            fields = fields_of(input_layers[source.layer])
            yield source.layer, self._input(source.layer, fields) if given is None else given[position]

    def _apply(self, config: Config, place: Place, arguments: Arguments) -> list[int]:
        """Apply one layer, or lay out the nested model that it is, and return its results."""
        name = place[-1]
        kind = class_of(config, name)
        if is_operation(config):
            return self._operation(config, place, arguments)
        arguments = arguments.for_layer(name)
        named_mask = arguments.keywords.pop("mask", None)
        rule = rule_of(kind)
        tensors = arguments.tensors(name, ("initial_state",) if rule.takes_states else rule.arguments)
        training = self._mode(name, kind, config, arguments)
        if kind in MODELS:
            outside, self.frozen = self.frozen, self.frozen or training is False
            results = self.model(config, place, list(tensors))
            self.frozen = outside
            return results
        if kind in DO_NOTHING:
            return list(tensors)
        inner = model_inside(config)
        if inner is not None:
            return self._each_step(inner, place, tensors)
        kind, fields, arrays = without_spectral_norm(
            name, kind, fields_of(config), self.weights.get(place, ())
        )
        if rule.recurrent:
            refuse_single_steps(name, kind, fields, self.shapes[tensors[0]][1])
        layer = read_layer(name, kind, with_channels_last(kind, fields), arrays, self.is_keras3)
        first = is_channels_first(kind, fields)
        named = "a mask" if named_mask is not None else ""
        mask = masks.mask_after(layer, [*(self.masks.get(tensor, "") for tensor in tensors), named])
        if first:
            tensors = self._channels_last(layer, place, tensors)
        given = tensors
        layer = unrolled_for_states(layer, len(tensors), self.shapes[tensors[0]])
        for step in expanded(layer, self.shapes[tensors[0]]):
            tensors = (self._call(place if step.name == name else (*place, step.name), step, tensors),)
        if kind == "BatchNormalization" and (self.frozen or training is False):
            self.layers[self.names[place]].config["trainable"] = False
        start = tensor = self._channels_first(layer, place, given, tensors[0]) if first else tensors[0]
        for step in activation_layers(name, kind, fields, self.is_keras3):
            tensor = self._call(
                (*place, step.name), step, (start, tensor) if LAYERS[step.kind].merges else (tensor,)
            )
        if kind == "Masking" or (kind == "Embedding" and fields.get("mask_zero")):
            mask = name
        self.masks[tensor] = mask
        return [tensor, *(self._append(Call(self.names[place], given, state)) for state in states_of(layer))]

    def _mode(self, name: str, kind: str, config: Config, arguments: Arguments) -> Any:
        """Return what ``training=`` a layer is called with, where it does not change inference.

        Keras 3 writes True at every call of an augmentation, and False at every call of a dropout; at a batch
        normalization either was asked for.
        """
        training = arguments.keywords.get("training")
        if training is True and differs_in_training(config) and not (self.is_keras3 and kind in DO_NOTHING):
            msg = (
                f"layer {name!r} ({kind}) is called with training=True, which makes inference compute as "
                "training does; build the model without"
            )
            raise ModelError(msg)
        return training

    def _channels_last(self, layer: Layer, place: Place, tensors: tuple[int, ...]) -> tuple[int, ...]:
        """Permute the input of a layer that is written for channels before positions."""
        refuse_softmax(layer)
        permute = permutation_before(layer, self.shapes[tensors[0]])
        last = self.channels_last.get(tensors[0])
        return (self._call((*place, permute.name), permute, tensors) if last is None else last,)

    def _channels_first(self, layer: Layer, place: Place, given: tuple[int, ...], tensor: int) -> int:
        """Permute the result of such a layer back."""
        permute = permutation_after(layer, self.shapes[given[0]], self.shapes[tensor])
        if permute is None:
            return tensor
        result = self._call((*place, permute.name), permute, (tensor,))
        if layer.kind.startswith("ConvLSTM"):
            return result
        self.channels_last[result] = tensor
        return result

    def _each_step(self, model: Config, place: Place, tensors: tuple[int, ...]) -> list[int]:
        """Lay out the model that a TimeDistributed applies to each step, every step a sample of its own."""
        name, shape = place[-1], self.shapes[tensors[0]]
        if len(tensors) != 1 or len(shape) < 3 or shape[1] is None:
            msg = f"layer {name!r} (TimeDistributed): give the model's Input a fixed number of steps"
            raise ModelError(msg)
        merge = Layer(f"{name}_merge", "Operation", {"function": "merge_steps"})
        split = Layer(f"{name}_split", "Operation", {"function": "split_steps", "steps": shape[1]})
        results = self.model(model, place, [self._call((*place, merge.name), merge, tensors)])
        steps = [
            self._call((*place, f"{split.name}_{number}_{shape[1]}"), split, (result,))
            for number, result in enumerate(results)
        ]
        for tensor in steps:
            self.masks[tensor] = self.masks.get(tensors[0], "")
        return steps

    def _operation(self, config: Config, place: Place, arguments: Arguments) -> list[int]:
        """Apply the layers that stand for an operation outside any layer."""
        if operation_kind(config) in masks.OPERATIONS:
            return [_MASK]
        if any(isinstance(value, Tensor) and value.place == _MASK for value in arguments.positional):
            msg = f"operation {place[-1]!r} computes with a mask; pad every sequence to one length instead"
            raise ModelError(msg)
        results = []
        for index, chain in enumerate(operation_chains(place[-1], config, arguments, self.shapes)):
            tensors, tensor = chain.tensors, chain.tensors[0]
            for number, step in enumerate(chain.steps):
                key = (*place, f"{index}.{number}")
                if number:
                    tensors = (chain.tensors[0], tensor) if step.kind == "Multiply" else (tensor,)
                tensor = self._call(key, step, tensors)
            results.append(tensor)
        return results

    def _call(self, place: Place, layer: Layer, tensors: tuple[int, ...]) -> int:
        if _MASK in tensors:
            msg = f"layer {layer.name!r} ({layer.kind}) is called on a comparison; only numbers are supported"
            raise ModelError(msg)
        if place not in self.names:
            name = self._unique(place, layer.name)
            self.names[place] = name
            self.layers[name] = replace(layer, name=name)
        if len(tensors) not in _counts(layer):
            takes = "it takes one"
            if LAYERS[layer.kind].tensors:
                takes = "no int8 op takes a mask: call it on query, value and perhaps key alone"
            msg = f"layer {layer.name!r} ({layer.kind}) is called on {len(tensors)} tensors; {takes}"
            raise ModelError(msg)
        return self._append(Call(self.names[place], tensors))

    def _append(self, call: Call) -> int:
        if len(self.calls) >= _MAX_CALLS:
            msg = f"the model makes more than {_MAX_CALLS} calls of layers; use a smaller model"
            raise ModelError(msg)
        given = [self.shapes[tensor] for tensor in call.inputs]
        self.shapes.append(output_shape(self.layers[call.layer], given, call.result))
        self.calls.append(call)
        return len(self.calls) - 1

    def _input(self, name: str, fields: Config) -> int:
        """Add an InputLayer; the batch size that it may fix is left open."""
        refuse_unread(name, "InputLayer", fields, LAYERS["InputLayer"].config)
        shape = fields.get("batch_shape", fields.get("batch_input_shape"))
        if not isinstance(shape, list | tuple) or not shape or not all(map(is_dimension, shape)):
            msg = f"input {name!r}: shape {shape!r} is not usable; save the model with a fixed input shape"
            raise ModelError(msg)
        dtype = dtype_of(fields.get("dtype"))
        if dtype not in _INPUT_DTYPES or fields.get("sparse") or fields.get("ragged"):
            msg = f"input {name!r}: not a dense tensor of numbers ({dtype}); change the model's Input"
            raise ModelError(msg)
        unique = self._unique((name,), name)
        self.layers[unique] = Layer(unique, "InputLayer", {"shape": tuple(shape[1:]), "dtype": dtype})
        tensor = self._append(Call(unique))
        self.inputs.append(tensor)
        return tensor

    def take_indices_as_integers(self) -> None:
        """Set the dtype of inputs that are only used as table indices.

        Keras 2 writes float32 there, and casts.
        """
        for tensor in self.inputs:
            kinds = {self.layers[call.layer].kind for call in self.calls if tensor in call.inputs}
            layer = self.layers[self.calls[tensor].layer]
            if kinds == {"Embedding"} and layer.config["dtype"] == "float32":
                layer.config["dtype"] = "int32"

    def _unique(self, place: Place, name: str) -> str:
        """Return ``name``, with the nested models' names before it where it is taken."""
        if not _NAME.fullmatch(name):
            msg = f"layer {name[:80]!r}: the name is not usable; use letters, digits, '_', '-', '.' and '/'"
            raise ModelError(msg)
        candidate, count = name, 0
        while candidate in self.layers:
            candidate = "_".join((*place[:-1], name)) + (f"_{count}" if count else "")
            count += 1
        return candidate


def _counts(layer: Layer) -> Sequence[int]:
    """Return how many tensors the layer may be called on."""
    rule = LAYERS[layer.kind]
    if rule.tensors is not None:
        return rule.tensors
    if rule.merges:
        return range(1, _MAX_CALLS)
    inner, both = layer.inner or layer, 2 if layer.kind == "Bidirectional" else 1
    return (1, 1 + LAYERS[inner.kind].states * both) if rule.takes_states else (1,)
