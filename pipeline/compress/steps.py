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


class Notation(NamedTuple):
    """How a recipe writes a step: a word and its amount, e.g. ``weights75``.

    Attributes:
        word: that stands for the method.
        key: the setting that is the amount.
        is_percent: whether the setting is a share, and the amount per cent of it.
        names: amounts that are words, which stand alone.
    """

    word: str
    key: str
    is_percent: bool = False
    names: tuple[str, ...] = ()


class CompressionStep(NamedTuple):
    """A compression method.

    Attributes:
        stage: ``stage(model, teacher, data, *, config, seed, out)`` opens ``model``, changes it, writes it
            to ``out / "model"`` and returns ``model`` with new records of its layers. It may learn from
            ``teacher``. It preserves the zeros and clusters in the records of ``model``, or raises
            ``StageError``.
        config: the keys of its table in ``[[compress]]``.
        notation: its part of a recipe.
    """

    stage: Callable[..., KerasModel]
    config: type[MethodSection]
    notation: Notation


COMPRESS = {
    "weights": CompressionStep(
        prune_weights, WeightsConfig, Notation("weights", "sparsity", is_percent=True)
    ),
    "channels": CompressionStep(
        remove_channels, ChannelsConfig, Notation("channels", "macs", is_percent=True)
    ),
    "clusters": CompressionStep(cluster_weights, ClustersConfig, Notation("cluster", "clusters")),
    "low_rank": CompressionStep(factorize_layers, LowRankConfig, Notation("rank", "energy", is_percent=True)),
    "low_bit": CompressionStep(
        train_low_bit, LowBitConfig, Notation("bits", "weights", names=("ternary", "binary"))
    ),
}
