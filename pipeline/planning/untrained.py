"""Compression steps without their trainings: the shapes and the form of the weights that they leave."""

from __future__ import annotations

from dataclasses import replace
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
from pipeline.compress.low_rank import chosen, costed_layers, energy_for, factorized
from pipeline.compress.quantizers import INT8
from pipeline.compress.straight_through import LatentKernel
from pipeline.compress.weights import prunable_layers, unpruned_layers
from pipeline.training.kernels import kernels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.artifacts import KerasModel
    from pipeline.compress.channels import ChannelsConfig
    from pipeline.compress.clusters import ClustersConfig
    from pipeline.compress.low_bit import LowBitConfig
    from pipeline.compress.low_rank import LowRankConfig
    from pipeline.compress.weights_config import WeightsConfig


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


UNTRAINED: dict[str, Callable[[Any, KerasModel, Any], Any]] = {
    "weights": pruned,
    "channels": narrowed,
    "clusters": clustered,
    "low_rank": factored,
    "low_bit": rounded,
}
"""By the method of the step; of another one only a build can tell what it buys."""
