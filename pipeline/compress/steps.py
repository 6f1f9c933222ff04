"""Compression steps: from a Keras model to a smaller one, in the order of ``[[compress]]``."""

from collections.abc import Callable
from typing import NamedTuple

from pipeline.artifacts import KerasModel
from pipeline.compress.channels import ChannelsConfig, remove_channels
from pipeline.compress.clusters import ClustersConfig, cluster_weights
from pipeline.compress.low_bit import LowBitConfig, train_low_bit
from pipeline.compress.low_rank import LowRankConfig, factorize_layers
from pipeline.compress.weights import WeightsConfig, prune_weights
from pipeline.sections import MethodSection


class CompressionStep(NamedTuple):
    """A compression method.

    Attributes:
        stage: ``stage(model, teacher, data, *, config, seed, out)`` opens ``model``, changes it, writes it
            to ``out / "model"`` and returns ``model`` with new records of its layers. It may learn from
            ``teacher``. It preserves the zeros and clusters in the records of ``model``, or raises
            ``StageError``.
        config: the keys of its table in ``[[compress]]``.
    """

    stage: Callable[..., KerasModel]
    config: type[MethodSection]


COMPRESS = {
    "weights": CompressionStep(prune_weights, WeightsConfig),
    "channels": CompressionStep(remove_channels, ChannelsConfig),
    "clusters": CompressionStep(cluster_weights, ClustersConfig),
    "low_rank": CompressionStep(factorize_layers, LowRankConfig),
    "low_bit": CompressionStep(train_low_bit, LowBitConfig),
}
