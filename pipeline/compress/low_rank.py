"""Low rank: layers replaced by two or three smaller ones whose product nearly equals them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from models.graph import Graph, Layer, build_model
from models.prepare import graph_of
from models.rewrites.edit import Edit
from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.compress.factors import Decomposition, Ranks, spatial, svd, tucker
from pipeline.compress.low_bit import LAYER_TYPES
from pipeline.costing.macs import kernels, positions_of, uses
from pipeline.errors import StageError
from pipeline.layer_records import require_unbound
from pipeline.sections import MethodSection
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.held_out import lost_points
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.costing.macs import Positions
    from pipeline.layer_records import LayerRecord
    from pipeline.training_history import TrainingHistory

TRIES = 3
"""Each try keeps half of what the one before left out."""
MIN_SAVING = 0.1
"""Of a layer's multiply-accumulates: less does not pay for another operator and its activations."""
_SEARCH_STEPS = 20  # of the energy that needs a share of multiply-accumulates


class LowRankConfig(MethodSection):
    """Layers as products of smaller ones.

    Attributes:
        energy: share of the squared weights of each kernel that is kept, which is that of the squared
            singular values.
        macs: share of the model's multiply-accumulates to keep, in place of ``energy``: the largest energy,
            the same in all layers, with which no more are needed.
        decomposition: of convolutions with a window: "spatial": vertical and horizontal; "tucker": 1x1,
            window, 1x1; "auto": the one with fewer multiply-accumulates; "svd": they stay. Dense layers and
            1x1 convolutions always become two of their kind.
        max_drop_points: if the factorized model loses more points of its score on held-out samples, try
            ranks that leave out half as much, up to ``TRIES`` times in all; then leave the layers as they
            are.
    """

    method: str = "low_rank"
    energy: Annotated[float, Field(gt=0, lt=1)] = 0.9
    macs: Annotated[float, Field(gt=0, lt=1)] | None = None
    decomposition: Literal["auto", "svd", "spatial", "tucker"] = "auto"
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    training: TrainingConfig = TrainingConfig(epochs=4)

    @model_validator(mode="after")
    def _check_one_measure(self) -> LowRankConfig:
        if self.macs is not None and "energy" in self.model_fields_set:
            msg = "energy and macs exclude each other; leave one out"
            raise ValueError(msg)
        return self


class Choice(NamedTuple):
    """How one layer is factorized."""

    decomposition: Decomposition
    ranks: Ranks

    @property
    def text(self) -> str:
        """E.g. ``"rank 16 of 64 (SVD)"``."""
        word = "rank" if len(self.ranks) == 1 else "ranks"
        ranks, full = (" and ".join(map(str, each)) for each in (self.ranks, self.decomposition.full))
        return f"{word} {ranks} of {full} ({self.decomposition.method})"


@dataclass(frozen=True)
class Costed:
    """A layer with a kernel.

    Attributes:
        weights: of its kernels.
        macs: its multiply-accumulates for a sample.
        decompositions: what it can be replaced by.
        reason: why nothing; "" if there is something.
    """

    weights: int
    macs: int
    positions: Positions
    decompositions: tuple[Decomposition, ...] = ()
    reason: str = ""

    def best(self, energy: float) -> Choice | None:
        """Return the cheapest way to keep this share of the squares; None if it saves too little."""
        choices = [
            Choice(each, each.cheapest(energy, self.positions)) for each in self.decompositions if self.macs
        ]
        best = min(choices, key=self.macs_with, default=None)
        saves = (
            best is not None
            and self.macs_with(best) <= (1 - MIN_SAVING) * self.macs
            and self.weights_with(best) < self.weights
        )
        return best if saves else None

    def macs_with(self, choice: Choice | None) -> int:
        return self.macs if choice is None else choice.decomposition.macs(choice.ranks, self.positions)

    def weights_with(self, choice: Choice | None) -> int:
        return self.weights if choice is None else choice.decomposition.weights(choice.ranks)


def factorize_layers(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: LowRankConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Replace layers by products of smaller ones where that saves computation, and fine-tune.

    The last layer of a product keeps the name of the layer that it replaces, its bias and its activation.

    A model that loses too much, measured on held-out samples, gets higher ranks, or stays as it is.

    Raises:
        StageError: an earlier step left zeros or few values, which this step would undo, or so few
            multiply-accumulates as asked for cannot be reached.
    """
    hint = 'put method = "low_rank" before the other steps in [[compress]]'
    require_unbound(model.layers, factorize_layers.__name__, undone_by="factorization", hint=hint, zeros=True)
    start_tensorflow(seed)
    given = network = open_model(model.model)
    graph = graph_of(given)
    costs = costed_layers(graph, config)
    made, choices = graph, dict[str, Choice]()
    trainings: tuple[TrainingHistory, ...] = model.trainings
    notes: list[str] = []
    for share in _shares(config):
        energy = share if config.macs is None else energy_for(costs, share)
        tried = chosen(costs, energy)
        if not tried:
            break
        replaced = factorized(graph, tried)
        student = build_model(replaced)
        history = fine_tune("low rank", student, teacher, data, config.training, seed)
        lost = lost_points(given, student, teacher, data)
        if lost <= config.max_drop_points:
            network, made, choices, trainings = student, replaced, tried, (*trainings, history)
            break
        notes.append(f"with energy {energy:.3f} the model lost {lost:.1f} points on held-out samples")
    save_model(network, out / "model")
    origins = {layer.name: made.layers[layer.name].made_of or layer.name for layer in network.layers}
    layers = tuple(_records(origins, model, costs, choices, notes))
    findings = (_finding(costs, choices),)
    return replace(
        model,
        folder=out,
        digest="",
        layers=layers,
        trainings=trainings,
        notes=tuple(notes),
        findings=findings,
    )


def _shares(config: LowRankConfig) -> list[float]:
    """Return the shares to keep, of squares or of multiply-accumulates, in the order of the tries."""
    share = config.energy if config.macs is None else config.macs
    return [1 - (1 - share) / 2**halved for halved in range(TRIES)]


def costed_layers(graph: Graph, config: LowRankConfig) -> dict[str, Costed]:
    """Return the convolutions, dense and recurrent layers of a graph by name."""
    positions, found = positions_of(graph), {}
    for name, layer in graph.layers.items():
        if layer.kind not in LAYER_TYPES or name not in positions:
            continue
        weights = sum(layer.weights[index].size for index in kernels(layer))
        reason = _why_whole(layer, config)
        made = () if reason else tuple(_decompositions(layer, config))
        macs = weights * uses(layer, positions[name])
        found[name] = Costed(weights, macs, positions[name], made, reason)
    return found


def _why_whole(layer: Layer, config: LowRankConfig) -> str:
    """Return why a layer cannot be factorized; "" if it can."""
    if layer.kind not in {"Conv2D", "Dense"}:
        return f"{layer.kind} is never factorized"
    if layer.config.get("groups", 1) not in (None, 1):
        return "it is a convolution in groups"
    if layer.config.get("data_format") == "channels_first":
        return "its channels come first"
    if config.decomposition == "svd" and not _is_pointwise(layer):
        return 'its kernel has a window, and decomposition is "svd"'
    return ""


def _is_pointwise(layer: Layer) -> bool:
    return math.prod(layer.weights[0].shape[:-2]) == 1


def _decompositions(layer: Layer, config: LowRankConfig) -> Iterator[Decomposition]:
    kernel: Any = layer.weights[0]
    if _is_pointwise(layer):
        yield svd(kernel)
        return
    if config.decomposition in ("auto", "spatial"):
        yield spatial(kernel)
    if config.decomposition in ("auto", "tucker"):
        yield tucker(kernel)


def chosen(costs: Mapping[str, Costed], energy: float) -> dict[str, Choice]:
    """Return how each layer is factorized for which that saves enough."""
    best = {name: each.best(energy) for name, each in costs.items()}
    return {name: choice for name, choice in best.items() if choice is not None}


def energy_for(costs: Mapping[str, Costed], share: float) -> float:
    """Return the largest energy that needs at most a share of the multiply-accumulates, by bisection.

    Raises:
        StageError: no energy does.
    """
    low, high = 0.0, 1.0
    least = _macs(costs, chosen(costs, low)) / max(_macs(costs, {}), 1)
    if least > share:
        cause = f"macs = {share:g} cannot be reached: the lowest ranks keep {least:.3f} of them"
        raise StageError(factorize_layers.__name__, cause, f"give at least macs = {least + 0.0005:.3f}")
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        if _macs(costs, chosen(costs, middle)) <= share * _macs(costs, {}):
            low = middle
        else:
            high = middle
    return low


def _macs(costs: Mapping[str, Costed], choices: Mapping[str, Choice]) -> int:
    return sum(each.macs_with(choices.get(name)) for name, each in costs.items())


def factorized(graph: Graph, choices: Mapping[str, Choice]) -> Graph:
    """Return the graph with layers replaced by their factors."""
    edit = Edit(graph)
    made: dict[str, list[str]] = {}
    for call in graph.calls:
        if call.layer not in choices:
            edit.moved.append(edit.keep(call))
            continue
        tensor = edit.moved[call.inputs[0]]
        if call.layer in made:
            for name in made[call.layer]:
                tensor = edit.again(name, tensor)
        else:
            made[call.layer] = []
            for layer in _factor_layers(graph.layers[call.layer], choices[call.layer]):
                name = layer.name if layer.name == call.layer else edit.fresh(call.layer, layer.name)
                tensor = edit.add(replace(layer, name=name), tensor)
                made[call.layer].append(name)
        edit.moved.append(tensor)
    return edit.finish()


def _factor_layers(layer: Layer, choice: Choice) -> Iterator[Layer]:
    """Yield the layers that take a layer's place; all but the last are named by their role."""
    bias = layer.weights[1:]
    for factor in choice.decomposition.factors(choice.ranks):
        config, outputs = dict(layer.config), factor.values.shape[-1]
        if factor.role:
            config |= {"use_bias": False, "activation": "linear"}
        if layer.kind == "Dense":
            config["units"] = outputs
        else:
            config |= {"filters": outputs, "kernel_size": factor.values.shape[:2]}
            for key in ("strides", "dilation_rate"):
                pair = _pair(config.get(key) or 1)
                config[key] = [pair[axis] if axis in factor.axes else 1 for axis in (0, 1)]
        weights = (factor.values,) if factor.role else (factor.values, *bias)
        yield Layer(factor.role or layer.name, layer.kind, config, weights)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _records(
    origins: Mapping[str, str],
    model: KerasModel,
    costs: Mapping[str, Costed],
    choices: Mapping[str, Choice],
    notes: list[str],
) -> Iterator[LayerRecord]:
    """Yield the records of the new model's layers.

    Args:
        origins: the layer of ``model`` that each of them was made of, in the order of the new model.
    """
    before = {record.name: record for record in model.layers}
    for name, origin in origins.items():
        record = before[origin]
        if origin in choices:
            made_of = record.made_of if name == origin else record.made_of or origin
            operations = (*record.operations, choices[origin].text)
            yield replace(record, name=name, made_of=made_of, operations=operations)
        elif origin in costs:
            saving = f"it would save less than {MIN_SAVING:.0%} of its multiply-accumulates"
            reason = costs[origin].reason or "; ".join(notes) or saving
            yield replace(record, reason=f"not factorized: {reason}")
        else:
            yield record


def _finding(costs: Mapping[str, Costed], choices: Mapping[str, Choice]) -> str:
    """Say what the model needs before and after, or that nothing was replaced."""
    if not choices:
        return 'no layer is factorized: [[compress]] method = "low_rank" did nothing'
    macs, weights = _macs(costs, {}), sum(each.weights for each in costs.values())
    fewer = _macs(costs, choices)
    smaller = sum(each.weights_with(choices.get(name)) for name, each in costs.items())
    return (
        f"low rank: {len(choices)} of {len(costs)} layers factorized, "
        f"multiply-accumulates {macs:,} -> {fewer:,} ({fewer / macs:.0%}), "
        f"weights of kernels {weights:,} -> {smaller:,} ({smaller / weights:.0%})"
    )
