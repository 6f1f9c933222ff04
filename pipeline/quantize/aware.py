"""Quantization-aware training with TF-MOT (Jacob et al., 2018, arXiv:1712.05877), keeping pruned zeros."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from models.layers import own_layers
from models.prepare import unsupported_by_qat
from pipeline.artifacts import AwareModel, LayerTreatment
from pipeline.samples import Samples
from pipeline.tasks.spec import TASKS
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.keras_io import open_model, open_weights, save_weights, start_tensorflow
from pipeline.training.tfmot import tensorflow_model_optimization

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.artifacts import CompressedModel, Dataset, PreparedModel, Treatment
    from pipeline.config import TrainingConfig

# Without weights, and with an output of another range than their inputs': that range can be learned. TF-MOT
# stumbles where one of these is the only input of a layer that it quantizes.
OUTPUT_ONLY = frozenset({"Activation", "Multiply", "Subtract", "Average", "Operation"})
RANGE_BATCHES = 16
RANGE_BATCH_SIZE = 16


def train_quantization_aware(
    compressed: CompressedModel,
    model: PreparedModel,
    data: Dataset,
    *,
    config: TrainingConfig,
    seed: int,
    out: Path,
) -> AwareModel:
    """Insert fake quantization where TF-MOT supports it and fine-tune with it.

    Layers that TF-MOT does not support, and all of an opaque model, are left to the converter's post-training
    quantization, each named with the reason.

    Raises:
        ToolchainError: TF-MOT cannot run in this process.
    """
    if model.opaque:
        return AwareModel(folder=out, zero_weights=0, layers=_untouched(model))
    tensorflow_model_optimization()
    start_tensorflow(seed)
    pruned = open_model(compressed.model)
    free = unbounded_outputs(pruned, model)
    student = fake_quantized(pruned, free)
    set_activation_ranges(student, pruned, Samples.of(data, "train", model.preprocessing), seed)
    fine_tune("quantization-aware", student, model, data, config, seed)
    aware = AwareModel(
        folder=out,
        zero_weights=compressed.zero_weights,
        layers=tuple(_treatments(pruned, student, compressed)),
        unbounded=free,
    )
    shutil.copytree(compressed.model, aware.pruned)
    save_weights(student, aware.weights)
    return aware


def unbounded_outputs(model: Any, described: PreparedModel) -> tuple[str, ...]:
    """Layers with a kernel that give numbers without an activation: the converter finds the range of those.

    In training no gradient comes through a fake-quantized range from outside of it, and numbers that once
    left it, as the features before them moved, would stay at its end.
    """
    layers = [tensor.node.layer for tensor in model.outputs]
    return tuple(
        layer.name
        for layer, task in zip(layers, described.tasks, strict=True)
        if not TASKS[task].of_classes and hasattr(layer, "kernel") and layer.activation.__name__ == "linear"
    )


def fake_quantized(model: Any, unbounded: tuple[str, ...] = ()) -> Any:
    """A copy of ``model`` with TF-MOT's 8-bit fake quantization on every layer that it supports, if any.

    Args:
        model: a prepared tf_keras model.
        unbounded: layers whose weights alone are quantized.
    """
    import tf_keras

    tfmot = tensorflow_model_optimization()
    left_out = unsupported_by_qat(model)
    # TF-MOT raises on an activation that it does not know even where the layer is left out; the scheme of a
    # layer without weights, which quantizes nothing but the output, serves any.
    registry = tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry()
    output_only = registry.get_quantize_config(tf_keras.layers.Add())
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()

    def annotate(layer: Any) -> Any:
        if type(layer).__name__ in OUTPUT_ONLY and layer.name in left_out:
            return tfmot.quantization.keras.quantize_annotate_layer(layer, output_only)
        if isinstance(layer, tf_keras.layers.InputLayer) or layer.name in left_out:
            return layer
        if isinstance(layer, tf_keras.layers.Conv2DTranspose):  # the scheme that keeps zeros knows none
            return tfmot.quantization.keras.quantize_annotate_layer(
                layer, registry.get_quantize_config(layer)
            )
        if layer.name in unbounded:
            weights_only = scheme.get_quantize_registry().get_quantize_config(layer)
            weights_only.activation_attrs, weights_only.quantize_output = [], False
            return tfmot.quantization.keras.quantize_annotate_layer(layer, weights_only)
        return tfmot.quantization.keras.quantize_annotate_layer(layer)

    weights = model.get_weights()
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(weights)
    if not {layer.name for layer in model.layers} - {*model.input_names, *left_out}:
        return copy
    annotated = tf_keras.models.clone_model(copy, clone_function=annotate)
    with tfmot.quantization.keras.quantize_scope(own_layers()):
        return tfmot.quantization.keras.quantize_apply(annotated, scheme)


def set_activation_ranges(student: Any, pruned: Any, samples: Samples, seed: int) -> None:
    """Start the moving averages of the activations' ranges at what the pruned model's activations are.

    TF-MOT starts all of them at -6..6 and forgets that at 0.1 % a step, so that after a thousand steps a
    third of a range is still its initial value.
    """
    import tf_keras

    observed: dict[str, list[Any]] = {}
    limits = []
    for layer in student.layers:
        name = layer.layer.name if hasattr(layer, "quantize_config") else _input_name(layer)
        for variable in layer.weights:
            kind = variable.name.rpartition("/")[2]
            if (
                variable.shape.rank == 0
                and not kind.startswith("kernel")
                and kind.endswith(("_min:0", "_max:0"))
            ):
                key = f"{name}/linear" if kind.startswith("pre_activation") else name
                if key not in observed:
                    observed[key] = _observed(pruned, key)
                limits.append((variable, key, kind.endswith("_max:0")))
    probe = tf_keras.Model(pruned.inputs, list(observed.values()))
    seen = [
        [
            (min(o.min() for o in of_key), max(o.max() for o in of_key))
            for of_key in probe.predict_on_batch(batch)
        ]
        for batch in _batches(samples, seed)
    ]
    ranges = dict(zip(observed, np.mean(seen, axis=0).tolist(), strict=True))
    for variable, key, is_maximum in limits:
        low, high = ranges[key]
        # Zero has a code of its own, as in the converter.
        variable.assign(max(high, 0.0) if is_maximum else min(low, 0.0))


def _input_name(layer: Any) -> str:
    """The InputLayer that TF-MOT's own layer for an input's range reads."""
    tensors = [tensor for node in layer.inbound_nodes for tensor in node.keras_inputs]
    return str(tensors[0].node.layer.name) if tensors else str(layer.name)


def _observed(model: Any, key: str) -> list[Any]:
    """The tensors that a range is of, one a use: a layer's outputs, or these before the activation."""
    name, _, before = key.partition("/")
    layer = model.get_layer(name)
    if not before:
        return [node.outputs for node in layer.inbound_nodes]
    linear = type(layer).from_config({**layer.get_config(), "name": f"{name}_linear", "activation": "linear"})
    outputs = [linear(node.keras_inputs[0]) for node in layer.inbound_nodes]
    linear.set_weights(layer.get_weights())
    return outputs


def _batches(samples: Samples, seed: int) -> Iterator[Any]:
    for batch in samples.choose(RANGE_BATCHES * RANGE_BATCH_SIZE, seed).chunks(RANGE_BATCH_SIZE):
        inputs = batch.model_inputs()
        yield inputs[0] if len(inputs) == 1 else inputs


def open_aware_model(aware: AwareModel) -> Any:
    """Build the model with fake quantization again and give it the trained weights.

    TF-MOT's own round trip through the architecture's JSON comes back with other weights than it had.
    """
    student = fake_quantized(open_model(aware.pruned), aware.unbounded)
    open_weights(student, aware.weights)
    return student


def _untouched(model: PreparedModel) -> tuple[LayerTreatment, ...]:
    reason = "loaded by Keras itself: TF-MOT cannot take it apart"
    return tuple(
        LayerTreatment(name=name, kind=kind, treatment="post-training", reason=reason)
        for name, kind in model.layers
    )


def _treatments(model: Any, student: Any, compressed: CompressedModel) -> Iterator[LayerTreatment]:
    """Say what happened to each layer, looking at what TF-MOT did and not at what it was asked."""
    left_out, unpruned = unsupported_by_qat(model), dict(compressed.unpruned)
    wrappers = {layer.layer.name: layer for layer in student.layers if hasattr(layer, "quantize_config")}
    for layer in model.layers:
        kind, wrapper = type(layer).__name__, wrappers.get(layer.name)
        treatment: Treatment = "quantization-aware"
        reason = unpruned.get(layer.name, "")
        if kind == "InputLayer":
            treatment = "none"
        elif wrapper is not None and layer.name in left_out:
            reason = f"its output alone: {left_out[layer.name]}"
        elif wrapper is None:
            treatment = "post-training"
            reason = left_out.get(layer.name, "TF-MOT left it out")
        elif hasattr(layer, "kernel") and not wrapper.quantize_config.get_weights_and_quantizers(
            wrapper.layer
        ):
            treatment, reason = "post-training", "TF-MOT skips its weights where an activation follows"
        elif layer.name in compressed.pruned_layers:
            treatment = "pruned, quantization-aware"
        yield LayerTreatment(name=layer.name, kind=kind, treatment=treatment, reason=reason)
