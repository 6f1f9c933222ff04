"""Magnitude pruning with TF-MOT (Zhu and Gupta, 2017, arXiv:1710.01878)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import CompressedModel
from pipeline.samples import Samples
from pipeline.tasks.scoring import score_of
from pipeline.training.fine_tuning import fine_tune, total_steps, training_samples
from pipeline.training.keras_io import open_model, predict, save_model, start_tensorflow
from pipeline.training.tfmot import tensorflow_model_optimization

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset, PreparedModel
    from pipeline.config import PruneConfig

# Below this a kernel's zeros save nothing that a download would show, and cost the most accuracy.
SMALLEST_KERNEL = 1000
# The polynomial schedule reaches the final sparsity here; the rest of the training heals.
RAMP_SHARE = 0.5
UPDATE_EVERY_STEPS = 20
JUDGED_SAMPLES = 1024


def prune(
    model: PreparedModel,
    data: Dataset,
    *,
    config: PruneConfig,
    seed: int,
    out: Path,
) -> CompressedModel:
    """Zero the smallest weights of every large kernel while fine-tuning; an opaque model has none to reach.

    A model that does not bear it, as far as training samples tell, gets half as many zeros, or none.

    Raises:
        ToolchainError: TF-MOT cannot run in this process.
    """
    if model.opaque:
        return CompressedModel(pruned_layers=(), zero_weights=0)
    tensorflow_model_optimization()
    start_tensorflow(seed)
    student = open_model(model.prepared)
    left_out = unpruned_layers(student, config)
    names = tuple(name for name in prunable_layers(student) if name not in left_out)
    given, notes = student, []
    for sparsity in (config.sparsity, config.sparsity / 2) if names else ():
        student = _pruned(given, names, sparsity, model, data, config, seed)
        lost = _lost_points(given, student, model, data)
        if lost <= config.lost_points:
            break
        notes.append(f"at {sparsity:.0%} zeros the model lost {lost:.1f} points on training samples")
    else:
        left_out |= dict.fromkeys(names, f"not pruned: {'; '.join(notes)}")
        student, names = given, ()
    save_model(student, out / "model")
    zeros = sum(int(np.count_nonzero(student.get_layer(name).kernel.numpy() == 0)) for name in names)
    return CompressedModel(
        pruned_layers=names, zero_weights=zeros, unpruned=tuple(left_out.items()), notes=tuple(notes)
    )


def _pruned(
    given: Any,
    names: tuple[str, ...],
    sparsity: float,
    model: PreparedModel,
    data: Dataset,
    config: PruneConfig,
    seed: int,
) -> Any:
    """Train a copy of ``given`` while its kernels lose their smallest weights."""
    tfmot = tensorflow_model_optimization()
    steps = total_steps(len(training_samples(data, model, config, seed)), config)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=sparsity,
        begin_step=0,
        end_step=max(int(steps * RAMP_SHARE), 1),
        frequency=min(UPDATE_EVERY_STEPS, max(steps // 10, 1)),
    )
    student = _wrapped(given, names, schedule, tfmot)
    callback = tfmot.sparsity.keras.UpdatePruningStep()
    fine_tune("prune", student, model, data, config, seed, (callback,))
    return tfmot.sparsity.keras.strip_pruning(student)


def _lost_points(given: Any, student: Any, model: PreparedModel, data: Dataset) -> float:
    """How many points of its first output's score the model lost on training samples; 0 where none tells."""
    samples = Samples.of(data, "train", model.preprocessing).choose(JUDGED_SAMPLES, seed=0)
    inputs, target, task = samples.model_inputs(), samples.target(0), model.tasks[0]
    before, after = (
        score_of(task, predict(network, inputs)[0], inputs[0], target) for network in (given, student)
    )
    return 0.0 if before is None or after is None else 100 * (before - after)


def prunable_layers(model: Any) -> tuple[str, ...]:
    """Names of the layers whose kernels TF-MOT prunes and which are large enough to pay."""
    import tf_keras

    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    exempt = (tf_keras.layers.DepthwiseConv2D, tf_keras.layers.Conv2DTranspose)
    return tuple(
        layer.name
        for layer in model.layers
        if isinstance(layer, kinds)
        and not isinstance(layer, exempt)
        and layer.count_params() >= SMALLEST_KERNEL
    )


def unpruned_layers(model: Any, config: PruneConfig) -> dict[str, str]:
    """Say of each layer with a kernel that is not pruned why not."""
    prunable = set(prunable_layers(model))
    weights = sum(model.get_layer(name).count_params() for name in prunable)
    too_few = ""
    if not config.sparsity:
        too_few = "not pruned: [prune] sparsity is 0"
    elif weights < config.least_weights:
        too_few = f"not pruned: {weights:,} weights in all, [prune] least_weights is {config.least_weights:,}"
    reasons = {}
    for layer in model.layers:
        if layer.name in prunable:
            reasons[layer.name] = too_few
        elif type(layer).__name__ == "Conv2DTranspose":
            reasons[layer.name] = "not pruned: transposed convolutions are not"
        elif hasattr(layer, "kernel"):
            reasons[layer.name] = f"not pruned: its kernel has {layer.count_params():,} weights"
        elif hasattr(layer, "depthwise_kernel"):
            reasons[layer.name] = "not pruned: each channel has a few weights only"
    return {name: reason for name, reason in reasons.items() if reason}


def _wrapped(model: Any, names: tuple[str, ...], schedule: Any, tfmot: Any) -> Any:
    import tf_keras

    def wrap(layer: Any) -> Any:
        clone = layer.__class__.from_config(layer.get_config())
        if layer.name not in names:
            return clone
        return tfmot.sparsity.keras.prune_low_magnitude(clone, pruning_schedule=schedule)

    wrapped = tf_keras.models.clone_model(model, clone_function=wrap)
    for layer in model.layers:
        twin = (
            wrapped.get_layer(f"prune_low_magnitude_{layer.name}").layer
            if layer.name in names
            else wrapped.get_layer(layer.name)
        )
        twin.set_weights(layer.get_weights())
    return wrapped
