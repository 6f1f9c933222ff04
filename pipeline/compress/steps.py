"""Compression steps: from a Keras model to a smaller one, in the order of ``[[compress]]``."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pipeline.artifacts import KerasModel, Source
from pipeline.compress.channels import ChannelsConfig, remove_channels
from pipeline.compress.clusters import ClustersConfig, cluster_weights
from pipeline.compress.distill import DistillConfig, architecture_file, distill_model
from pipeline.compress.layers import LayersConfig, remove_layers
from pipeline.compress.low_bit import LowBitConfig, train_low_bit
from pipeline.compress.low_rank import LowRankConfig, factorize_layers
from pipeline.compress.weights import prune_weights
from pipeline.compress.weights_config import WeightsConfig
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


def no_files(settings: Any) -> tuple[Source, ...]:
    """Return no files."""
    return ()


class CompressionStep(NamedTuple):
    """A compression method.

    Attributes:
        stage: ``stage(model, teacher, data, *, config, seed, out)`` opens ``model``, changes it, writes it
            to ``out / "model"`` and returns ``model`` with new records of its layers. It may learn from
            ``teacher``. It preserves the zeros and clusters in the records of ``model``, or raises
            ``StageError``.
        config: the keys of its table in ``[[compress]]``.
        notation: its part of a recipe.
        files: returns the files that its settings name, by content; the stage gets them after ``data``.
    """

    stage: Callable[..., KerasModel]
    config: type[MethodSection]
    notation: Notation
    files: Callable[[Any], tuple[Source, ...]] = no_files


COMPRESS = {
    "weights": CompressionStep(
        prune_weights, WeightsConfig, Notation("weights", "sparsity", is_percent=True)
    ),
    "channels": CompressionStep(
        remove_channels, ChannelsConfig, Notation("channels", "macs", is_percent=True)
    ),
    "layers": CompressionStep(remove_layers, LayersConfig, Notation("layers", "blocks")),
    "clusters": CompressionStep(cluster_weights, ClustersConfig, Notation("cluster", "clusters")),
    "low_rank": CompressionStep(factorize_layers, LowRankConfig, Notation("rank", "energy", is_percent=True)),
    "low_bit": CompressionStep(
        train_low_bit, LowBitConfig, Notation("bits", "weights", names=("ternary", "binary"))
    ),
    "distill": CompressionStep(
        distill_model, DistillConfig, Notation("distill", "width", is_percent=True), architecture_file
    ),
}
