"""Layer removal: the blocks that matter least are left out, and chains of linear layers become one layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from models.graph import build_model
from models.prepare import graph_of
from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.compress.amounts import SMALLEST_VARIANCE
from pipeline.compress.bypasses import blocks_of, without_block
from pipeline.compress.channel_removal import TOLERANCE, outputs_distance
from pipeline.compress.collapsing import Collapsed, collapse
from pipeline.compress.straight_through import keeping_zeros
from pipeline.costing.macs import multiply_accumulates
from pipeline.errors import StageError
from pipeline.layer_records import require_unbound
from pipeline.samples import Samples
from pipeline.sections import MethodSection
from pipeline.training.fine_tuning import fine_tune, training_samples
from pipeline.training.held_out import lost_points
from pipeline.training.keras_io import open_model, predict, save_model, start_tensorflow
from pipeline.training.norms import estimate_norms
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from models.graph import Graph
    from pipeline.artifacts import Dataset
    from pipeline.compress.bypasses import Block
    from pipeline.layer_records import LayerRecord
    from pipeline.training_history import TrainingHistory

    Inputs = list[NDArray[Any]]

PROBED_SAMPLES = 256
COMPARED_SAMPLES = 8


class LayersConfig(MethodSection):
    """Removal of layers.

    Attributes:
        blocks: how many blocks to leave out, those that change the outputs least.
        macs: share of the model's multiply-accumulates to keep, in place of ``blocks``: blocks are left out
            until no more are needed, each time the one that changes the outputs least for what it saves.
        collapse: whether linear layers that follow one another become one; exact.
        norms: whether batch normalizations after convolutions are folded into these; exact, but without them
            the training is that of another model.
        max_drop_points: if the smaller model loses more points of its score on held-out samples, half as many
            blocks are left out, and so on; then none.
        training: after the removal.
    """

    method: str = "layers"
    blocks: Annotated[int, Field(ge=0)] = 1
    macs: Annotated[float, Field(gt=0, lt=1)] | None = None
    collapse: bool = True
    norms: Literal["keep", "fold"] = "keep"
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    training: TrainingConfig = TrainingConfig(epochs=4)

    @model_validator(mode="after")
    def _check_amount(self) -> LayersConfig:
        if self.macs is not None and "blocks" in self.model_fields_set:
            msg = "blocks and macs exclude each other; leave one out"
            raise ValueError(msg)
        if self.norms == "fold" and not self.collapse:
            msg = 'norms = "fold" is part of collapse; leave collapse = false out'
            raise ValueError(msg)
        return self


class Removed(NamedTuple):
    """A block that was left out, and how much that changed the outputs of the model before."""

    block: Block
    change: float


def remove_layers(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: LayersConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Leave out the blocks that matter least, merge linear layers, and fine-tune what is left.

    Zeros of pruned layers stay zero. Merging alone needs no training: the model computes the same.

    Raises:
        StageError: an earlier step left few values, which training would change; so few multiply-accumulates
            as asked for cannot be reached; or the merged layers do not compute the same, which is a defect.
    """
    hint = 'put method = "layers" before that step in [[compress]]'
    require_unbound(model.layers, remove_layers.__name__, undone_by="fine-tuning", hint=hint)
    start_tensorflow(seed)
    given = open_model(model.model)
    graph, samples = graph_of(given), Samples.of(data, "train", teacher.preprocessing)
    inputs = samples.choose(PROBED_SAMPLES, seed).model_inputs()
    removed = least_important(graph, inputs, config)
    pruned = {layer.name for layer in model.layers if layer.sparsity}
    notes: list[str] = []
    trainings, made, network = model.trainings, Collapsed(graph, {}), given
    for count in _counts(len(removed)):
        made = collapsed(without_blocks(graph, removed[:count]), pruned, config, inputs)
        network = build_model(made.graph)
        if not count:
            removed = []
            break
        history = _trained(network, sorted(pruned), teacher, data, config, seed)
        lost = lost_points(given, network, teacher, data)
        if lost <= config.max_drop_points:
            removed, trainings = removed[:count], (*trainings, history)
            break
        notes.append(f"without {count} blocks the model lost {lost:.1f} points on held-out samples")
    if not (removed or made.merged or notes):
        notes.append('no layer can be left out: [[compress]] method = "layers" did nothing')
    save_model(network, out / "model")
    return replace(
        model,
        folder=out,
        digest="",
        layers=tuple(_records(network, made, model)),
        trainings=trainings,
        notes=tuple(notes),
        findings=tuple(_findings(graph, made, removed)),
    )


def _counts(removed: int) -> list[int]:
    """Return how many blocks to leave out, in the order of the tries; the last try leaves out none."""
    counts = [removed]
    while counts[-1]:
        counts.append(counts[-1] // 2)
    return counts


def least_important(graph: Graph, inputs: Inputs, config: LayersConfig) -> list[Removed]:
    """Choose blocks one after another, each by its effect on the model without those before.

    Raises:
        StageError: the budget of multiply-accumulates cannot be reached.
    """
    expected, total, found = _outputs(graph, inputs), _macs(graph), list[Removed]()
    now = graph
    while len(found) < config.blocks if config.macs is None else _macs(now) > config.macs * total:
        blocks = blocks_of(now)
        if not blocks and config.macs is not None:
            left = f"without all blocks {_macs(now) / total:.3f} are left"
            cause = f"macs = {config.macs:g} cannot be reached: {left}"
            raise StageError(remove_layers.__name__, cause, "give a larger share, or use another step")
        if not blocks:
            break
        changes = [_change(without_block(now, block), inputs, expected) for block in blocks]
        by = changes if config.macs is None else [
            change / block.macs for change, block in zip(changes, blocks, strict=True)
        ]  # fmt: skip
        least = int(np.argmin(by))
        found.append(Removed(blocks[least], changes[least]))
        now = without_block(now, blocks[least])
    return found


def without_blocks(graph: Graph, removed: list[Removed]) -> Graph:
    """Return the model without blocks; each was found in the model without those before."""
    for each in removed:
        graph = without_block(graph, each.block)
    return graph


def _outputs(graph: Graph, inputs: Inputs) -> Inputs:
    return predict(build_model(graph), inputs)


def _change(graph: Graph, inputs: Inputs, expected: Inputs) -> float:
    """Return how much the outputs changed: the mean of the squares over the variance, of all outputs."""
    changes = [
        np.mean((found - own) ** 2) / max(own.var(), SMALLEST_VARIANCE)
        for found, own in zip(_outputs(graph, inputs), expected, strict=True)
    ]
    return float(np.mean(changes))


def _macs(graph: Graph) -> int:
    return sum(multiply_accumulates(graph).values())


def collapsed(graph: Graph, bound: set[str], config: LayersConfig, inputs: Inputs) -> Collapsed:
    """Merge linear layers, and check that the model computes the same.

    Raises:
        StageError: it does not, which is a defect.
    """
    if not config.collapse:
        return Collapsed(graph, {})
    made = collapse(graph, bound, config.norms == "fold")
    if made.merged:
        few = [each[:COMPARED_SAMPLES] for each in inputs]
        difference = outputs_distance(build_model(made.graph), build_model(graph), few)
        if not difference <= TOLERANCE:
            names = ", ".join(made.merged)
            cause = f"the outputs differ by {difference:.1e} after layers were merged into {names}"
            raise StageError(remove_layers.__name__, cause, "write collapse = false, and report the layers")
    return made


def _trained(
    network: Any, pruned: list[str], teacher: KerasModel, data: Dataset, config: LayersConfig, seed: int
) -> TrainingHistory:
    estimate_norms(network, training_samples(data, teacher, config.training, seed))
    present = {layer.name for layer in network.layers}
    zeros = keeping_zeros(network, [name for name in pruned if name in present])
    return fine_tune("layers", network, teacher, data, config.training, seed, (zeros,))


def _records(network: Any, made: Collapsed, model: KerasModel) -> Iterator[LayerRecord]:
    """Yield the records of the layers that are left, in the order of the new model."""
    before = {record.name: record for record in model.layers}
    for record in (before[layer.name] for layer in network.layers if layer.name in before):
        gone = made.merged.get(record.name)
        merged = (f"merged with {', '.join(gone)}",) if gone else ()
        yield replace(record, operations=(*record.operations, *merged))


def _findings(graph: Graph, made: Collapsed, removed: list[Removed]) -> Iterator[str]:
    """Say which blocks were left out, which layers were merged, and what that saves."""
    if removed:
        named = (f"{each.block.name} (changes the outputs by {each.change:.1%})" for each in removed)
        yield f"layers: {len(removed)} blocks left out: {', '.join(named)}"
    if made.merged:
        named = (f"{', '.join(gone)} into {name}" for name, gone in made.merged.items())
        yield f"layers merged: {'; '.join(named)}"
    if removed or made.merged:
        layers = f"{len(graph.layers)} -> {len(made.graph.layers)} layers"
        yield f"layers: {layers}, multiply-accumulates {_macs(graph):,} -> {_macs(made.graph):,}"
