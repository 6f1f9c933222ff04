"""Weight sharing: kernels whose weights have few distinct values, which are trained (Han et al., 2016)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.compress.codebooks import Start, share_values
from pipeline.compress.low_bit import LAYER_TYPES
from pipeline.compress.shared_weights import Sharing, with_shared_weights
from pipeline.compress.straight_through import keeping_zeros
from pipeline.layer_records import require_no_clusters
from pipeline.sections import MethodSection
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.held_out import lost_points
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.kernels import distinct_values, kernels_of
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.layer_records import LayerRecord
    from pipeline.training_history import TrainingHistory

LayerType = Literal["conv", "depthwise", "dense"]

MAX_CLUSTERS = 128
"""Half of what int8 has: with more, the download hardly shrinks."""
# A model that loses too much gets twice as many clusters, and then twice as many again.
TRIES = 3
_LEFT_OUT = {
    "depthwise": "it has few weights per channel",
    "recurrent": "recurrent layers are left out",
}


class ClustersConfig(MethodSection):
    """Weight sharing: few distinct values in each kernel, which are trained.

    Attributes:
        clusters: how many values the weights of a kernel share. The zeros of a pruned kernel are one of them.
        per_channel: whether each output channel has as many values of its own.
        start: where k-means starts.
        types: the types of layers whose kernels are clustered.
        min_weights: kernels with fewer weights are left as they are: sharing them would hardly shorten the
            download.
        max_drop_points: if the model with shared weights loses more points of its score on held-out samples,
            try twice as many clusters, at most ``MAX_CLUSTERS``, up to ``TRIES`` times in all; then none.
    """

    method: str = "clusters"
    clusters: Annotated[int, Field(ge=2, le=MAX_CLUSTERS)] = 16
    per_channel: bool = False
    start: Start = "k-means++"
    types: tuple[LayerType, ...] = ("conv", "dense")
    min_weights: Annotated[int, Field(ge=0)] = 1000
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    training: TrainingConfig = TrainingConfig(epochs=4)


def cluster_weights(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: ClustersConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Give the weights of each large kernel few values, and train these values.

    Which weights share a value is decided once, before the training. Zeros of pruned kernels stay the only
    zeros, and zero is one of the values.

    A model that loses too much, measured on held-out samples, gets more clusters, or none.

    Raises:
        StageError: weights have few values from an earlier step, which the training would undo.
    """
    require_no_clusters(
        model.layers,
        cluster_weights.__name__,
        undone_by="clustering",
        hint='use only one method = "clusters" or "low_bit" in [[compress]]',
    )
    start_tensorflow(seed)
    given = network = open_model(model.model)
    made: dict[str, int] = {}
    trainings, notes = model.trainings, list[str]()
    for clusters in _counts(config.clusters):
        left_out = unclustered_layers(given, config, clusters)
        names = [layer.name for layer in given.layers if kernels_of(layer) and layer.name not in left_out]
        if not names:
            break
        student, history = _clustered(given, names, clusters, model, teacher, data, config, seed)
        lost = lost_points(given, student, teacher, data)
        if lost <= config.max_drop_points:
            network, trainings, made = student, (*trainings, history), dict.fromkeys(names, clusters)
            break
        notes.append(f"with {clusters} clusters the model lost {lost:.1f} points on held-out samples")
        left_out |= dict.fromkeys(names, f"not clustered: {'; '.join(notes)}")
    save_model(network, out / "model")
    layers = tuple(
        _recorded(layer, network.get_layer(layer.name), made[layer.name])
        if layer.name in made
        else replace(layer, reason=left_out.get(layer.name, layer.reason))
        for layer in model.layers
    )
    return replace(
        model, folder=out, digest="", layers=layers, trainings=trainings, notes=tuple(notes),
        findings=tuple(_findings(layers, made, config)),
    )  # fmt: skip


def _counts(clusters: int) -> list[int]:
    """Return the numbers of clusters to try, in order."""
    return [count for count in (clusters << doubled for doubled in range(TRIES)) if count <= MAX_CLUSTERS]


def unclustered_layers(network: Any, config: ClustersConfig, clusters: int) -> dict[str, str]:
    """Return, for each layer with a kernel that is not to be clustered, the reason."""
    found = {layer.name: _why_left_out(layer, config, clusters) for layer in network.layers}
    return {name: f"not clustered: {reason}" for name, reason in found.items() if reason}


def _why_left_out(layer: Any, config: ClustersConfig, clusters: int) -> str:
    kernels = kernels_of(layer)
    if not kernels:
        return ""
    kind = LAYER_TYPES.get(type(layer).__name__)
    if kind is None:
        return f"{type(layer).__name__} is never clustered"
    if kind not in config.types:
        return _LEFT_OUT.get(kind, f"{kind} is not among types")
    columns = kernels[0].columns()
    if columns.size < config.min_weights:
        return f"its kernel has {columns.size:,} weights, at least {config.min_weights:,} are needed"
    size, of = (len(columns), "each of its channels") if config.per_channel else (columns.size, "its kernel")
    return "" if size > clusters else f"{of} has {size:,} weights, not more than the {clusters} clusters"


def _clustered(
    given: Any,
    names: list[str],
    clusters: int,
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    config: ClustersConfig,
    seed: int,
) -> tuple[Any, TrainingHistory]:
    """Return a trained copy of ``given`` whose weights share values in the layers ``names``."""
    rng, pruned = np.random.default_rng(seed), {layer.name for layer in model.layers if layer.sparsity}
    import tf_keras

    network = tf_keras.models.clone_model(given)
    network.set_weights(given.get_weights())
    sharing = {}
    for name in names:
        [kernel] = kernels_of(network.get_layer(name))
        columns = kernel.columns()
        groups = columns if config.per_channel else columns.reshape(-1, 1)
        books = share_values(groups, clusters, config.start, name in pruned, rng)
        kernel.assign(books.weights.reshape(columns.shape))
        sharing[name] = Sharing.of(books, kernel)
    student = with_shared_weights(network, sharing)
    zeros = keeping_zeros(student, sorted(pruned - sharing.keys()))
    history = fine_tune("cluster", student, teacher, data, config.training, seed, (zeros,))
    network.set_weights(student.get_weights())
    for name in names:
        [kernel] = kernels_of(network.get_layer(name))
        kernel.variable.assign(sharing[name].averaged(kernel.variable.numpy()))
    return network, history


def _recorded(record: LayerRecord, layer: Any, clusters: int) -> LayerRecord:
    [kernel] = kernels_of(layer)
    columns = kernel.columns()
    return replace(
        record,
        operations=(*record.operations, f"{clusters} clusters"),
        weights=columns.size,
        clusters=clusters,
        levels=clusters,
        distinct=distinct_values(columns),
    )


def _findings(layers: tuple[LayerRecord, ...], made: dict[str, int], config: ClustersConfig) -> Iterator[str]:
    """Say how many kernels have how many values, or that none has."""
    if not made:
        yield 'no kernel is clustered: [[compress]] method = "clusters" did nothing'
        return
    clusters = max(made.values())
    weights = sum(layer.weights for layer in layers if layer.name in made)
    where = " in each output channel" if config.per_channel else ""
    yield (
        f"clusters: {len(made)} kernels, {weights:,} weights in all, with at most {clusters} values each"
        f"{where}: {', '.join(made)}"
    )
