"""Compression steps without their trainings: the shapes and the form of the weights that they leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.graph import build_model
from models.prepare import graph_of
from pipeline.compress import low_bit
from pipeline.compress.amounts import by_magnitude, uniform, without_smallest
from pipeline.compress.channel_budget import full_counts, with_counts, within_budget
from pipeline.compress.channel_criteria import scores_of
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channel_removal import without
from pipeline.compress.clusters import unclustered_layers
from pipeline.compress.codebooks import share_values
from pipeline.compress.distill import architecture_file
from pipeline.compress.layers import collapsed, least_important, without_blocks
from pipeline.compress.low_rank import chosen, costed_layers, energy_for, factorized
from pipeline.compress.quantizers import INT8
from pipeline.compress.straight_through import LatentKernel
from pipeline.compress.students import narrower, other_architecture
from pipeline.compress.weights import prunable_layers, unpruned_layers
from pipeline.errors import StageError
from pipeline.training.kernels import kernels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.artifacts import KerasModel
    from pipeline.compress.channels import ChannelsConfig
    from pipeline.compress.clusters import ClustersConfig
    from pipeline.compress.distill import DistillConfig
    from pipeline.compress.layers import LayersConfig
    from pipeline.compress.low_bit import LowBitConfig
    from pipeline.compress.low_rank import LowRankConfig
    from pipeline.compress.weights_config import WeightsConfig

PROBES = 16


def pruned(network: Any, model: KerasModel, config: WeightsConfig) -> Any:
    """Zero the smallest weights, of each layer or of all of them; "auto" as far as it may go."""
    left_out = unpruned_layers(network, config)
    kernels = {
        name: network.get_layer(name).kernel.numpy()
        for name in prunable_layers(network)
        if name not in left_out
    }
    shares = uniform(kernels, config.most)
    if not config.is_uniform and kernels:  # the sensitivity of kernels needs samples
        shares = by_magnitude(kernels, config.most)
    for name, kernel in kernels.items():
        network.get_layer(name).kernel.assign(without_smallest(kernel, shares[name]))
    return network


def narrowed(network: Any, model: KerasModel, config: ChannelsConfig) -> Any:
    """Remove the channels with the smallest filters; those that samples would choose are as many."""
    channels = ChannelGraph.of(graph_of(network))
    scores = scores_of(channels, "l2")
    groups = tuple(
        replace(each, kept="no norm") if np.isnan(scores[each.channels]).any() else each
        for each in channels.groups
    )
    channels, scores = replace(channels, groups=groups), np.nan_to_num(scores)
    counts, kept = full_counts(channels), config.kept(1.0)
    if config.share is None:
        cost = config.cost(channels)
        choice = within_budget(channels, scores, kept * cost.of(counts), config.multiple, cost)
    else:
        choice = with_counts(channels, scores, [kept * count for count in counts], config.multiple)
    return build_model(without(channels, choice.removed))


def clustered(network: Any, model: KerasModel, config: ClustersConfig) -> Any:
    """Let weights share values; zeros stay the only zeros."""
    left_out, rng = unclustered_layers(network, config, config.clusters), np.random.default_rng(0)
    for layer in network.layers:
        if layer.name not in left_out:
            for kernel in kernels_of(layer):
                columns = kernel.columns()
                groups = columns if config.per_channel else columns.reshape(-1, 1)
                books = share_values(groups, config.clusters, config.start, True, rng)
                kernel.assign(books.weights.reshape(columns.shape))
    return network


def factored(network: Any, model: KerasModel, config: LowRankConfig) -> Any:
    """Replace layers by products of smaller ones."""
    graph = graph_of(network)
    costs = costed_layers(graph, config)
    energy = config.energy if config.macs is None else energy_for(costs, config.macs)
    return build_model(factorized(graph, chosen(costs, energy)))


def rounded(network: Any, model: KerasModel, config: LowBitConfig) -> Any:
    """Round weights to few levels; activations keep 8 bits, which changes neither shapes nor sizes."""
    plans = low_bit.plan(network, model, config)
    for layer in network.layers:
        plan = plans[layer.name]
        if plan.weights != INT8:
            for kernel in kernels_of(layer):
                LatentKernel(kernel, plan.weights, plan.range == "max", pruned=True)
    return network


def shortened(network: Any, model: KerasModel, config: LayersConfig) -> Any:
    """Leave out the blocks that change the outputs for noise least; samples may choose others.

    Raises:
        StageError: no layer can be left out, or not as many as asked for.
    """
    graph, inputs = graph_of(network), _noise(model)
    removed = least_important(graph, inputs, config)
    made = collapsed(without_blocks(graph, removed), set(), config, inputs)
    if not (removed or made.merged):
        raise StageError(shortened.__name__, "no layer can be left out", "use another step")
    return build_model(made.graph)


def student(network: Any, model: KerasModel, config: DistillConfig) -> Any:
    """Put the student in the model's place.

    Raises:
        InputError: the file of its architecture is missing.
        StageError: no layer can be narrower, or the student has other inputs or outputs.
    """
    if config.keeps_layers:
        return network
    if config.into:
        [file] = architecture_file(config)
        path = Path(file.location)
        return build_model(other_architecture(path, config.into, network, model, _noise(model)))
    graph = narrower(graph_of(network), config.width, config.multiple)
    if graph is None:
        raise StageError(student.__name__, "no layer can be narrower", "give a smaller multiple")
    return build_model(graph)


def _noise(model: KerasModel) -> list[NDArray[Any]]:
    """Return inputs of a model: normal noise, and zeros for integers, which may be indices."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(PROBES, *port.fixed_shape)) * (np.dtype(port.dtype).kind == "f")).astype(port.dtype)
        for port in model.inputs
    ]


UNTRAINED: dict[str, Callable[[Any, KerasModel, Any], Any]] = {
    "weights": pruned,
    "channels": narrowed,
    "clusters": clustered,
    "low_rank": factored,
    "low_bit": rounded,
    "layers": shortened,
    "distill": student,
}
"""By the method of the step."""
