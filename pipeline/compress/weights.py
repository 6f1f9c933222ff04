"""Magnitude pruning with TF-MOT (Zhu and Gupta, 2017, arXiv:1710.01878)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.compress.pruning import Pruned, Pruning
from pipeline.compress.sparsity_search import highest_borne
from pipeline.compress.weights_config import MIN_KERNEL_WEIGHTS
from pipeline.layer_records import require_no_clusters
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.tfmot import tensorflow_model_optimization

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.compress.weights_config import WeightsConfig
    from pipeline.layer_records import LayerRecord


def prune_weights(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: WeightsConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Zero the smallest weights of every large kernel while fine-tuning.

    A model that loses too much, measured on held-out samples, gets the highest share of zeros that it was
    found to bear, or none.

    Raises:
        StageError: an earlier step clustered a layer, which pruning would undo.
        ToolchainError: TF-MOT cannot run in this process.
    """
    require_no_clusters(
        model.layers,
        prune_weights.__name__,
        undone_by="pruning",
        hint='put method = "weights" before the step that clusters or quantizes them in [[compress]]',
    )
    tensorflow_model_optimization()
    start_tensorflow(seed)
    given = open_model(model.model)
    left_out = unpruned_layers(given, config)
    names = tuple(name for name in prunable_layers(given) if name not in left_out)
    found: Pruned | None = None
    notes: list[str] = []
    if names:
        found, notes = highest_borne(Pruning(given, names, model, teacher, data, config, seed))
    if found is None:
        left_out |= dict.fromkeys(names, f"not pruned: {'; '.join(notes)}")
    student, trainings = given, model.trainings
    pruned: tuple[str, ...] = ()
    if found is not None:
        student, pruned = found.student, names
        trainings = (*trainings, *filter(None, [found.history]))
    save_model(student, out / "model")
    layers = tuple(_recorded(layer, student, pruned, left_out) for layer in model.layers)
    return replace(
        model, folder=out, digest="", layers=layers, trainings=trainings, notes=tuple(notes), findings=()
    )


def _recorded(
    layer: LayerRecord, model: Any, pruned: tuple[str, ...], left_out: dict[str, str]
) -> LayerRecord:
    if layer.name not in pruned:
        return replace(layer, reason=left_out.get(layer.name, layer.reason))
    kernel = model.get_layer(layer.name).kernel.numpy()
    return replace(
        layer,
        operations=(*layer.operations, "pruned"),
        weights=kernel.size,
        sparsity=1 - np.count_nonzero(kernel) / kernel.size,
    )


def prunable_layers(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that TF-MOT can prune and that are large enough to gain from it."""
    import tf_keras

    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    exempt = (tf_keras.layers.DepthwiseConv2D, tf_keras.layers.Conv2DTranspose)
    return tuple(
        layer.name
        for layer in model.layers
        if isinstance(layer, kinds)
        and not isinstance(layer, exempt)
        and _kernel_weights(layer) >= MIN_KERNEL_WEIGHTS
    )


def unpruned_layers(model: Any, config: WeightsConfig) -> dict[str, str]:
    """Return, for each layer whose kernel is not pruned, the reason."""
    prunable = set(prunable_layers(model))
    weights = sum(_kernel_weights(model.get_layer(name)) for name in prunable)
    too_few = ""
    if not config.most:
        too_few = "not pruned: sparsity is 0"
    elif weights < config.min_weights:
        too_few = f"not pruned: {weights:,} weights in all, min_weights is {config.min_weights:,}"
    reasons = {}
    for layer in model.layers:
        if layer.name in prunable:
            reasons[layer.name] = too_few
        elif type(layer).__name__ == "Conv2DTranspose":
            reasons[layer.name] = "not pruned: TF-MOT does not prune transposed convolutions"
        elif hasattr(layer, "kernel"):
            reasons[layer.name] = _why_exempt(layer)
        elif hasattr(layer, "depthwise_kernel"):
            reasons[layer.name] = "not pruned: it has few weights per channel"
    return {name: reason for name, reason in reasons.items() if reason}


def _kernel_weights(layer: Any) -> int:
    return math.prod(layer.kernel.shape)


def _why_exempt(layer: Any) -> str:
    weights = _kernel_weights(layer)
    if weights >= MIN_KERNEL_WEIGHTS:
        return f"not pruned: {type(layer).__name__} is never pruned"
    return f"not pruned: its kernel has {weights:,} weights, at least {MIN_KERNEL_WEIGHTS:,} are needed"
