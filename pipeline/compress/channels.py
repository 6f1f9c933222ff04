"""Structured pruning: filters and units are removed, so that layers become smaller and faster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from models.prepare import graph_of
from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.compress.channel_budget import Choice, Cost, full_counts, with_counts, within_budget
from pipeline.compress.channel_costs import bytes_cost, instructions_cost
from pipeline.compress.channel_criteria import ON_SAMPLES, Criterion, Measured, scores_of
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channel_removal import smaller_model
from pipeline.compress.straight_through import keeping_zeros
from pipeline.costing.predict import cost_table, tables
from pipeline.errors import StageError
from pipeline.layer_records import require_unbound
from pipeline.samples import Samples
from pipeline.sections import MethodSection, advice
from pipeline.tasks.spec import TASKS
from pipeline.training.aims import LABELS_ALONE, aims, loss_weights, losses
from pipeline.training.fine_tuning import fine_tune, training_samples
from pipeline.training.held_out import lost_points
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.kernels import kernels_of
from pipeline.training.norms import estimate_norms
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.graph import Graph
    from pipeline.artifacts import Dataset
    from pipeline.layer_records import LayerRecord
    from pipeline.training_history import TrainingHistory

    Records = tuple[LayerRecord, ...]

MAX_TRIES = 3  # each is a whole training
MIN_STEP = 0.02  # of the effort: a smaller difference is not worth a training
SCORED_SAMPLES = 1024
COMPARED_SAMPLES = 8
BUDGETS = ("macs", "share", "kernel_bytes", "instructions")
"""The keys that say how much to remove; the first one has a default."""


class ChannelsConfig(MethodSection):
    """Structured pruning of channels.

    Attributes:
        macs: share of the multiply-accumulates to keep; the layers to take channels from are chosen.
        share: of the channels to remove, the same in each layer, in place of ``macs``.
        kernel_bytes: share of the bytes of the int8 kernels to keep, in place of ``macs``.
        instructions: share of the instructions of the int8 model on ``device`` to keep, as the table of
            costs predicts them, in place of ``macs``.
        device: whose instructions; it has a table of costs.
        criterion: which channels go first: those with the smallest norm of their filters ("l1", "l2"), factor
            of batch normalization ("bn_scale"), effect on the loss ("taylor"), mean magnitude ("activation")
            or magnitude of the sum ("activation_sum") of their activations on training samples.
        multiple: what is left of a layer is a multiple of this many channels, or all of them.
        rounds: in how many rounds channels are removed; each one ends with a training.
        max_drop_points: if the smaller model loses more points of its score on held-out samples, less is
            removed: at most ``MAX_TRIES`` amounts are tried, then nothing is.
        training: of each round.
    """

    method: str = "channels"
    macs: Annotated[float, Field(gt=0, lt=1)] = 0.5
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    kernel_bytes: Annotated[float, Field(gt=0, lt=1)] | None = None
    instructions: Annotated[float, Field(gt=0, lt=1)] | None = None
    device: str = ""
    criterion: Criterion = "taylor"
    multiple: Annotated[int, Field(ge=1)] = 8
    rounds: Annotated[int, Field(ge=1)] = 1
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    training: TrainingConfig = TrainingConfig(epochs=4)

    @model_validator(mode="after")
    def _check_budget(self) -> ChannelsConfig:
        given = [name for name in BUDGETS if name in self.model_fields_set]
        if len(given) > 1:
            msg = f"{' and '.join(given)} exclude each other; leave one out"
            raise ValueError(msg)
        if (self.instructions is None) == bool(self.device):
            msg = 'instructions and device go together, e.g. instructions = 0.6 and device = "rpi4"'
            raise ValueError(msg)
        if self.device and self.device not in tables():
            hint = advice(self.device, tables(), "devices")
            msg = f"no instruction costs of {self.device!r} are known; {hint}"
            raise ValueError(msg)
        return self

    @property
    def budget_of(self) -> str:
        """What the budget is of, one of ``BUDGETS``."""
        return next((name for name in BUDGETS[1:] if getattr(self, name) is not None), BUDGETS[0])

    def kept(self, effort: float) -> float:
        """Return the share to keep with a part of the effort: of each layer's channels, or of the cost."""
        amount: float = getattr(self, self.budget_of)
        return 1 - effort * (amount if self.budget_of == "share" else 1 - amount)

    def budget(self, effort: float) -> str:
        """Describe the budget with a part of the effort."""
        of = {"macs": "MACs", "share": "channels", "kernel_bytes": "bytes of kernels"}
        return f"{self.kept(effort):.0%} of the {of.get(self.budget_of, f'instructions on {self.device}')}"

    def cost(self, channels: ChannelGraph) -> Cost:
        """Return what the budget is of as a function of the channels."""
        if self.budget_of == "instructions":
            return instructions_cost(channels, cost_table(self.device))
        return bytes_cost(channels) if self.budget_of == "kernel_bytes" else Cost(channels)


class Smaller(NamedTuple):
    """A model without some channels.

    Attributes:
        network: the tf_keras model.
        records: of its layers.
        kept: why layers keep all their channels, by name.
        trainings: that made it.
    """

    network: Any
    records: Records
    kept: dict[str, str]
    trainings: tuple[TrainingHistory, ...] = ()


class Removal(NamedTuple):
    """What the removal of channels needs to know.

    Attributes:
        sizes: how many channels are computed by the same layers of the given model.
        full: what the budget is of, in the given model.
    """

    teacher: KerasModel
    data: Dataset
    config: ChannelsConfig
    seed: int
    sizes: dict[tuple[str, ...], int]
    full: float

    def scored(self, model: Smaller) -> tuple[NDArray[np.float64], ChannelGraph]:
        """Return the scores of a model's channels, and the graph in which those without one are kept.

        Raises:
            StageError: none has a score.
        """
        channels, criterion = ChannelGraph.of(graph_of(model.network)), self.config.criterion
        scores = scores_of(channels, criterion, _measured(self) if criterion in ON_SAMPLES else None)
        reason = f"the criterion {criterion!r} has no score for them"
        groups = tuple(
            replace(each, kept=reason) if not each.kept and np.isnan(scores[each.channels]).any() else each
            for each in channels.groups
        )
        if all(group.kept for group in groups) and not all(group.kept for group in channels.groups):
            cause = f"the criterion {criterion!r} has no score for any channel of this model"
            raise StageError(remove_channels.__name__, cause, 'write criterion = "l1" in [[compress]]')
        return np.nan_to_num(scores), replace(channels, groups=groups)

    def choice(self, channels: ChannelGraph, scores: NDArray[np.float64], effort: float) -> Choice:
        """Choose what to remove with a part of the effort."""
        kept, multiple = self.config.kept(effort), self.config.multiple
        if self.config.share is None:
            return within_budget(channels, scores, kept * self.full, multiple, self.config.cost(channels))
        now = _sizes(channels)
        wanted = [
            len(group.channels) * kept * self.sizes[group.layers] / now[group.layers]
            for group in channels.groups
        ]
        return with_counts(channels, scores, wanted, multiple)

    def applied(self, given: Smaller, effort: float) -> Smaller:
        """Remove channels in rounds, with a training after each."""
        samples = Samples.of(self.data, "train", self.teacher.preprocessing)
        inputs, now = samples.take(slice(0, COMPARED_SAMPLES)).model_inputs(), given
        fitted = training_samples(self.data, self.teacher, self.config.training, self.seed)
        for number in range(1, self.config.rounds + 1):
            scores, channels = self.scored(now)
            choice = self.choice(channels, scores, effort * number / self.config.rounds)
            if not choice.removed.any():
                continue
            network = smaller_model(channels, choice.removed, inputs)
            records = _recorded(now.records, channels, choice, network)
            estimate_norms(network, fitted)
            history = _trained(network, records, self)
            now = Smaller(network, _with_zeros(records, network), channels.kept, (*now.trainings, history))
        return now


def remove_channels(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: ChannelsConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Remove the least important channels of every layer, and fine-tune what is left.

    Inputs and outputs of the model stay as they are, and zeros of pruned layers stay zero.

    A model that loses too much, measured on held-out samples, keeps more channels: the amount is halved, then
    halfway between the smallest that was too much and the largest that was not.

    Raises:
        StageError: an earlier step clustered a layer or rounded its outputs; the criterion cannot judge this
            model; or the smaller model does not compute what the masked one does, which is a defect.
    """
    hint = 'put method = "channels" before that step in [[compress]]'
    require_unbound(model.layers, remove_channels.__name__, undone_by="fine-tuning", hint=hint)
    start_tensorflow(seed)
    network = open_model(model.model)
    start = ChannelGraph.of(graph_of(network))
    given = Smaller(network, model.layers, start.kept)
    full = config.cost(start).of(full_counts(start))
    removal = Removal(teacher, data, config, seed, _sizes(start), full)
    best, notes = _smallest_borne(given, removal)
    save_model(best.network, out / "model")
    finding = _gain(start, ChannelGraph.of(graph_of(best.network)), config)
    if best is given and not notes:
        notes.append('no channel can be removed: [[compress]] method = "channels" did nothing')
    return replace(
        model,
        folder=out,
        digest="",
        layers=_explained(best, start, "; ".join(notes) if best is given else ""),
        trainings=(*model.trainings, *best.trainings),
        notes=tuple(notes),
        findings=() if best is given else (finding,),
    )


def _smallest_borne(given: Smaller, removal: Removal) -> tuple[Smaller, list[str]]:
    """Return the smallest model that loses little, or the given one; and what was tried in vain."""
    best, notes, outcomes = given, list[str](), dict[bytes, bool]()
    borne, too_much, effort = 0.0, 1.0, 1.0
    scores, channels = removal.scored(given)
    while len(outcomes) < MAX_TRIES and borne < 1.0 and too_much - borne > MIN_STEP:
        choice = removal.choice(channels, scores, effort)
        # Blocks are large in small models: the same ones may go for other budgets.
        key = choice.removed.tobytes() + (b"" if removal.config.rounds == 1 else str(effort).encode())
        if not choice.removed.any():
            borne = effort
        elif key not in outcomes:
            found = removal.applied(given, effort)
            lost = lost_points(given.network, found.network, removal.teacher, removal.data)
            outcomes[key] = lost <= removal.config.max_drop_points
            if outcomes[key]:
                best = found
            else:
                budget = removal.config.budget(effort)
                notes.append(f"with {budget} the model lost {lost:.1f} points on held-out samples")
        if outcomes.get(key, False):
            borne = effort
        elif key in outcomes:
            too_much = effort
        effort = (borne + too_much) / 2
    return best, notes


def _sizes(channels: ChannelGraph) -> dict[tuple[str, ...], int]:
    """Return how many channels are computed by the same layers."""
    sizes: dict[tuple[str, ...], int] = {}
    for group, count in zip(channels.groups, full_counts(channels), strict=True):
        sizes[group.layers] = sizes.get(group.layers, 0) + int(count)
    return sizes


def _measured(removal: Removal) -> Measured:
    """Return training samples with the loss on their labels, which a trained model still has.

    Towards the outputs of a teacher that it equals, a model would have no gradient. Where there are no
    labels, as for an embedding, the loss is the squared output.
    """
    teacher, data, config, seed, *_ = removal
    samples = training_samples(data, teacher, config.training, seed).choose(SCORED_SAMPLES, seed)
    labelled = [
        path is not None or TASKS[task].of_input
        for task, path in zip(teacher.tasks, samples.targets, strict=True)
    ]
    aim = aims(teacher, samples, LABELS_ALONE)
    kinds, weights = losses(teacher), loss_weights(teacher, aim, samples)

    def loss(outputs: list[Any], places: NDArray[np.int64]) -> Any:
        targets = aim(places, samples.take(places).model_inputs())
        targets = [each if known else 0 * each for each, known in zip(targets, labelled, strict=True)]
        terms = zip(kinds, weights, targets, outputs, strict=True)
        return sum(weight * kind(target, output) for kind, weight, target, output in terms)

    return Measured(samples.model_inputs(), loss)


def _trained(network: Any, records: Records, removal: Removal) -> TrainingHistory:
    teacher, data, config, seed, *_ = removal
    zeros = keeping_zeros(network, [record.name for record in records if record.sparsity])
    return fine_tune("channels", network, teacher, data, config.training, seed, (zeros,))


def _recorded(records: Records, channels: ChannelGraph, choice: Choice, network: Any) -> Records:
    """Record how many channels each layer has lost, and which zeros its smaller kernel has."""
    counts = _removed_of(channels, choice)
    done = []
    for record in records:
        removed, before = counts.get(record.name, (0, 0))
        if removed:
            operation = f"{removed} of {before} channels removed"
            record = replace(record, operations=(*record.operations, operation))
        done.append(record)
    return _with_zeros(tuple(done), network)


def _with_zeros(records: Records, network: Any) -> Records:
    """Count the zeros of pruned layers again."""
    found = []
    for record in records:
        if record.sparsity:
            kernels = [kernel.columns() for kernel in kernels_of(network.get_layer(record.name))]
            size = sum(kernel.size for kernel in kernels)
            zeros = size - sum(int(np.count_nonzero(kernel)) for kernel in kernels)
            record = replace(record, weights=size, sparsity=zeros / size)
        found.append(record)
    return tuple(found)


def _removed_of(channels: ChannelGraph, choice: Choice) -> dict[str, tuple[int, int]]:
    """Return how many of how many channels each layer with filters loses."""
    filters = {axis.layer for axis in channels.axes if axis.role == "filter"}
    widths = channels.widths(choice.removed)
    return {
        call.layer: (len(labels) - left, len(labels))
        for call, labels, left in zip(channels.graph.calls, channels.tensors, widths, strict=True)
        if call.layer in filters
    }


def _explained(best: Smaller, channels: ChannelGraph, undone: str) -> Records:
    """Give each layer that keeps all channels the reason; ``undone`` is why nothing was removed."""
    every = {name: undone for group in channels.groups for name in group.layers if undone}
    reasons = {name: f"all channels kept: {reason}" for name, reason in (every | best.kept).items()}
    return tuple(replace(each, reason=reasons.get(each.name, each.reason)) for each in best.records)


def _gain(before: ChannelGraph, after: ChannelGraph, config: ChannelsConfig) -> str:
    """Say what the removal saves."""
    weights = [_parameters(each.graph) for each in (before, after)]
    macs = [_macs(each) / 1e6 for each in (before, after)]
    return (
        f"channels: {weights[0]:,} -> {weights[1]:,} parameters, {macs[0]:.3g} -> {macs[1]:.3g} million "
        f"multiply-accumulates ({config.criterion})"
    )


def _macs(channels: ChannelGraph) -> float:
    return Cost(channels).of(full_counts(channels))


def _parameters(graph: Graph) -> int:
    return sum(array.size for layer in graph.layers.values() for array in layer.weights)
