"""Magnitude pruning with TF-MOT (Zhu and Gupta, 2017, arXiv:1710.01878)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.artifacts import KerasModel  # noqa: TC001 - Run.step reads the return type
from pipeline.config import TrainingConfig
from pipeline.layer_records import require_no_clusters
from pipeline.samples import Samples
from pipeline.sections import MethodSection
from pipeline.training.fine_tuning import fine_tune, total_steps, training_samples
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.tfmot import tensorflow_model_optimization

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.layer_records import LayerRecord
    from pipeline.training_history import TrainingHistory

# Pruning smaller kernels hardly shortens the download, and costs the most accuracy.
MIN_KERNEL_WEIGHTS = 1000
# The polynomial schedule reaches the final sparsity here; the rest of the training recovers accuracy.
RAMP_SHARE = 0.5
UPDATE_EVERY_STEPS = 20
JUDGED_SAMPLES = 1024


class WeightsConfig(MethodSection):
    """Magnitude pruning of single weights with TF-MOT.

    Attributes:
        sparsity: final share of zeros in every pruned kernel.
        max_drop_points: if the pruned model loses more points of its score on held-out samples, try half
            the sparsity, then none.
        min_weights: prune only models with at least this many weights in the kernels to prune: the
            download of smaller ones would shrink by a few kilobytes only, and they need all their weights.
            Kernels with fewer than ``MIN_KERNEL_WEIGHTS`` are never pruned and do not count.
    """

    method: str = "weights"
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.75
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    min_weights: Annotated[int, Field(ge=0)] = 16384
    training: TrainingConfig = TrainingConfig(epochs=4)


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

    A model that loses too much, measured on held-out samples, gets half as many zeros, or none.

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
    student = open_model(model.model)
    left_out = unpruned_layers(student, config)
    names = tuple(name for name in prunable_layers(student) if name not in left_out)
    given, notes = student, []
    for sparsity in (config.sparsity, config.sparsity / 2) if names else ():
        targets = dict.fromkeys(names, sparsity)
        student, history = _pruned(given, targets, model, teacher, data, config.training, seed)
        trainings = (*model.trainings, history)
        lost = _lost_points(given, student, teacher, data)
        if lost <= config.max_drop_points:
            break
        notes.append(f"at {sparsity:.0%} zeros the model lost {lost:.1f} points on held-out samples")
    else:
        left_out |= dict.fromkeys(names, f"not pruned: {'; '.join(notes)}")
        student, names, trainings = given, (), model.trainings
    save_model(student, out / "model")
    layers = tuple(_recorded(layer, student, names, left_out) for layer in model.layers)
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


def _pruned(
    given: Any,
    targets: dict[str, float],
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    training: TrainingConfig,
    seed: int,
) -> tuple[Any, TrainingHistory]:
    """Train a copy of ``given`` while zeroing the smallest weights of ``targets``.

    Layers that already have at least that many zeros keep them.
    """
    sparsity = tensorflow_model_optimization().sparsity.keras
    steps = total_steps(len(training_samples(data, teacher, training, seed)), training)
    update_every = min(UPDATE_EVERY_STEPS, max(steps // 10, 1))
    schedules = {
        name: sparsity.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=target,
            begin_step=0,
            end_step=max(int(steps * RAMP_SHARE), 1),
            frequency=update_every,
        )
        for name, target in targets.items()
    }
    schedules |= {
        layer.name: sparsity.ConstantSparsity(layer.sparsity, begin_step=0, frequency=update_every)
        for layer in model.layers
        if layer.sparsity > targets.get(layer.name, 0.0)
    }
    student = _wrapped(given, schedules)
    callbacks = (sparsity.UpdatePruningStep(),)
    history = fine_tune("prune", student, teacher, data, training, seed, callbacks, RAMP_SHARE)
    return sparsity.strip_pruning(student), history


def _lost_points(given: Any, student: Any, teacher: KerasModel, data: Dataset) -> float:
    """Return how many points the score of the first output fell on held-out samples; 0 if it has no score.

    Of few samples none are held out, and training samples are used.
    """
    held_out = HeldOut.of(data, teacher)
    if not len(held_out.samples):
        samples = Samples.of(data, "train", teacher.preprocessing).choose(JUDGED_SAMPLES, seed=0)
        held_out = held_out._replace(samples=samples)
    before, after = (held_out.score(held_out.outputs(network)) for network in (given, student))
    return 0.0 if before is None or after is None else before - after


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
    if not config.sparsity:
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


def _wrapped(model: Any, schedules: dict[str, Any]) -> Any:
    import tf_keras

    prune = tensorflow_model_optimization().sparsity.keras.prune_low_magnitude

    def wrap(layer: Any) -> Any:
        clone = layer.__class__.from_config(layer.get_config())
        return prune(clone, schedules[layer.name]) if layer.name in schedules else clone

    wrapped = tf_keras.models.clone_model(model, clone_function=wrap)
    for layer in model.layers:
        is_pruned = layer.name in schedules
        twin = (
            wrapped.get_layer(f"prune_low_magnitude_{layer.name}").layer
            if is_pruned
            else wrapped.get_layer(layer.name)
        )
        twin.set_weights(layer.get_weights())
    return wrapped
