"""Quantization-aware training with TF-MOT (Jacob et al., 2018, arXiv:1712.05877), keeping pruned zeros."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from models.layer_rules import rule_of
from models.layers import own_layers
from pipeline.artifacts import QatModel
from pipeline.quantize.keras_equalization import equalize_uneven
from pipeline.quantize.levels import int8_range
from pipeline.samples import Samples
from pipeline.sections import MethodSection
from pipeline.tasks.spec import TASKS
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.keras_io import open_model, open_weights, save_weights, start_tensorflow
from pipeline.training.kernels import kernels_of
from pipeline.training.tfmot import tensorflow_model_optimization
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipeline.artifacts import Dataset, KerasModel
    from pipeline.layer_records import LayerRecord

_OUTPUT_LIMIT = re.compile(r"(output|post_activation|quantize_layer(_\d+)?)_(min|max):0")
RANGE_BATCHES = 16
RANGE_BATCH_SIZE = 16


class QatConfig(MethodSection):
    """Quantization-aware training that preserves zeros."""

    method: str = "qat"
    training: TrainingConfig = TrainingConfig(learning_rate=1.5e-3)


def train_qat(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    config: QatConfig,
    seed: int,
    out: Path,
) -> QatModel:
    """Insert fake quantization where TF-MOT supports it and fine-tune with it.

    Channels of very unequal range are equalized before.

    The converter quantizes layers that TF-MOT does not support after training; the reason is recorded.
    Kernels with few values and ranges of rounded outputs are not trained.

    Raises:
        ToolchainError: TF-MOT cannot run in this process.
    """
    tensorflow_model_optimization()
    start_tensorflow(seed)
    network = open_model(model.model)
    samples = Samples.of(data, "train", model.preprocessing)
    free = unbounded_outputs(network, model)
    findings = _equalized(network, model, samples, seed)
    student = fake_quantized(network, free, _with_levels(model))
    held = set_activation_ranges(student, network, samples, seed, _fixed_ranges(model))
    held += _kernels_with_levels(student, network, model)
    callbacks = (_holding(held), _sharing(share_pooling_ranges(student)))
    history = fine_tune("quantization-aware", student, teacher, data, config.training, seed, callbacks)
    trained = QatModel(
        folder=out,
        inputs=model.inputs,
        outputs=model.outputs,
        tasks=model.tasks,
        from_logits=model.from_logits,
        preprocessing=model.preprocessing,
        layers=tuple(_records(network, student, model)),
        trainings=(*model.trainings, history),
        unbounded=free,
        findings=findings,
    )
    shutil.copytree(model.model, trained.model)
    save_weights(student, trained.weights)
    return trained


def _equalized(network: Any, model: KerasModel, samples: Samples, seed: int) -> tuple[str, ...]:
    """Equalize channels of very unequal range in place, unless weights or ranges are fixed; says so."""
    if any(layer.levels or layer.output_bits for layer in model.layers):
        return ()
    octaves = equalize_uneven(network, _batches(samples, seed))
    what = f"channels between layers were equalized before training, by scales that differ by 2^{octaves:.1f}"
    return (f"{what}; the model computes the same",) if octaves else ()


def _fixed_ranges(model: KerasModel) -> dict[str, tuple[float, float]]:
    """Return the ranges of the outputs that were rounded before, by layer."""
    return {
        layer.name: int8_range(layer.output_high, layer.output_bits)
        for layer in model.layers
        if layer.output_bits
    }


def unbounded_outputs(model: Any, described: KerasModel) -> tuple[str, ...]:
    """Return the layers with a kernel and a linear output, whose range the converter finds.

    In training, gradients vanish outside a fake-quantized range, so values that leave it cannot recover.
    """
    layers = [tensor.node.layer for tensor in model.outputs]
    return tuple(
        layer.name
        for layer, task in zip(layers, described.tasks, strict=True)
        if not TASKS[task].of_classes and hasattr(layer, "kernel") and layer.activation.__name__ == "linear"
    )


def fake_quantized(model: Any, unbounded: tuple[str, ...] = (), with_levels: tuple[str, ...] = ()) -> Any:
    """Return a copy of ``model`` with 8-bit fake quantization on all layers that TF-MOT supports.

    Args:
        model: a prepared tf_keras model.
        unbounded: layers of which only the weights are quantized.
        with_levels: layers whose weights have few values, which need a scale for each channel.
    """
    import tf_keras

    from models.prepare import unsupported_by_qat

    tfmot = tensorflow_model_optimization()
    left_out = unsupported_by_qat(model)
    # TF-MOT raises on an unknown activation even if the layer is excluded; the scheme of a layer without
    # weights quantizes the output only and accepts any activation.
    registry = tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry()
    output_only = registry.get_quantize_config(tf_keras.layers.Add())
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()

    def annotate(layer: Any) -> Any:
        if rule_of(type(layer).__name__).learns_range and layer.name in left_out:
            return tfmot.quantization.keras.quantize_annotate_layer(layer, output_only)
        if isinstance(layer, tf_keras.layers.InputLayer) or layer.name in left_out:
            return layer
        is_transposed = isinstance(layer, tf_keras.layers.Conv2DTranspose)
        if not (is_transposed or layer.name in unbounded):
            return tfmot.quantization.keras.quantize_annotate_layer(layer)
        # the scheme that preserves zeros does not support transposed convolutions
        of = registry if is_transposed else scheme.get_quantize_registry()
        config = of.get_quantize_config(layer)
        if layer.name in unbounded and not is_transposed:
            config.activation_attrs, config.quantize_output = [], False
        return tfmot.quantization.keras.quantize_annotate_layer(layer, config)

    weights = model.get_weights()
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(weights)
    if not {layer.name for layer in model.layers} - {*model.input_names, *left_out}:
        return copy
    annotated = tf_keras.models.clone_model(copy, clone_function=annotate)
    with tfmot.quantization.keras.quantize_scope(own_layers()):
        student = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    for wrapper in student.layers:
        layer = getattr(wrapper, "layer", None)
        if layer is not None and layer.name in with_levels and type(layer) is not tf_keras.layers.Conv2D:
            # A configuration of its own would take the layer out of TF-MOT's patterns with normalizations.
            wrapper._weight_vars = [(kernel, _as_it_is, {}) for kernel, _, _ in wrapper._weight_vars]
    return student


def _as_it_is(kernel: Any, training: bool, weights: Any, **_: Any) -> Any:
    """Leave a kernel to the converter, which finds a scale for each channel; TF-MOT has one for all."""
    return kernel


def set_activation_ranges(
    student: Any, pruned: Any, samples: Samples, seed: int, fixed: Mapping[str, tuple[float, float]]
) -> list[Any]:
    """Initialize the moving averages of the activation ranges from the activations of the pruned model.

    TF-MOT initializes them with -6..6 and decays that by 0.1 % per step, so that after a thousand steps the
    initial value still makes up a third of a range.

    Args:
        fixed: ranges of the outputs of some layers, by name.

    Returns:
        The variables of these fixed ranges.
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
    ranges = dict(zip(observed, np.mean(seen, axis=0).tolist(), strict=True)) | dict(fixed)
    for variable, key, is_maximum in limits:
        low, high = ranges[key]
        # Zero is exactly representable, as in the converter.
        variable.assign(max(high, 0.0) if is_maximum else min(low, 0.0))
    return [variable for variable, key, _ in limits if key in fixed]


def share_pooling_ranges(student: Any) -> list[tuple[Any, Any]]:
    """Give the output of each average pooling the range of its input, which the int8 kernel needs.

    With a smaller range of its own, the converter would clip the input to it.

    Returns:
        For each variable of such an output the one that it has to follow.
    """
    import tf_keras

    pairs: list[tuple[Any, Any]] = []
    for layer in student.layers:
        if isinstance(getattr(layer, "layer", None), tf_keras.layers.AveragePooling2D):
            before = layer
            while not (limits := output_limits(before)) or before is layer:
                tensors = [tensor for node in before.inbound_nodes for tensor in node.keras_inputs]
                if len(tensors) != 1:
                    break
                before = tensors[0].node.layer
            pairs += zip(output_limits(layer), limits if before is not layer else (), strict=False)
    for variable, source in pairs:
        variable.assign(source)
    return pairs


def output_limits(layer: Any) -> list[Any]:
    """Return the variables of the range of a layer's output, minimum first; none if it has no range."""
    limits = [
        variable
        for variable in layer.weights
        if variable.shape.rank == 0 and _OUTPUT_LIMIT.fullmatch(variable.name.rpartition("/")[2])
    ]
    return sorted(limits, key=lambda variable: variable.name, reverse=True)


def _sharing(pairs: list[tuple[Any, Any]]) -> Any:
    """Return a Keras callback that lets variables follow others after every batch."""
    import tf_keras

    def follow(batch: int, logs: Any) -> None:
        for variable, source in pairs:
            variable.assign(source)

    return tf_keras.callbacks.LambdaCallback(on_batch_end=follow)


def _with_levels(model: KerasModel) -> tuple[str, ...]:
    return tuple(layer.name for layer in model.layers if layer.levels)


def _kernels_with_levels(student: Any, network: Any, model: KerasModel) -> list[Any]:
    """Return the variables of the student, a copy of ``network``, that are kernels with levels."""
    twins = {
        layer.layer.name if hasattr(layer, "quantize_config") else layer.name: layer
        for layer in student.layers
    }
    names = _with_levels(model)
    kernels = [(name, kernel) for name in names for kernel in kernels_of(network.get_layer(name))]
    return [
        next(
            variable
            for variable in twins[name].weights
            if variable.shape == kernel.variable.shape
            and np.array_equal(variable.numpy(), kernel.variable.numpy())
        )
        for name, kernel in kernels
    ]


def _holding(variables: list[Any]) -> Any:
    """Return a Keras callback that gives variables their values back after every batch."""
    import tf_keras

    values = [variable.numpy() for variable in variables]

    def restore(batch: int, logs: Any) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return tf_keras.callbacks.LambdaCallback(on_batch_end=restore)


def _input_name(layer: Any) -> str:
    """Return the InputLayer that feeds TF-MOT's layer for an input's range."""
    tensors = [tensor for node in layer.inbound_nodes for tensor in node.keras_inputs]
    return str(tensors[0].node.layer.name) if tensors else str(layer.name)


def _observed(model: Any, key: str) -> list[Any]:
    """Return the tensors of a range, one per use: a layer's outputs, or its values before the activation."""
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


def open_qat_model(trained: QatModel) -> Any:
    """Rebuild the model with fake quantization and load the trained weights.

    TF-MOT's own round trip through the architecture JSON changes the weights.
    """
    student = fake_quantized(open_model(trained.model), trained.unbounded, _with_levels(trained))
    open_weights(student, trained.weights)
    return student


def without_fake_quantization(student: Any, trained: QatModel) -> Any:
    """Return the float model of the weights of a trained one that ``open_qat_model`` opened."""
    network = open_model(trained.model)
    values = {variable.name: variable.numpy() for variable in student.weights}
    network.set_weights([values[variable.name] for variable in network.weights])
    return network


def _records(network: Any, student: Any, model: KerasModel) -> Iterator[LayerRecord]:
    """Record what TF-MOT did to each layer, which may differ from the request."""
    from models.prepare import unsupported_by_qat

    left_out = unsupported_by_qat(network)
    wrappers = {layer.layer.name: layer for layer in student.layers if hasattr(layer, "quantize_config")}
    for record in model.layers:
        layer, wrapper = network.get_layer(record.name), wrappers.get(record.name)
        if wrapper is None:
            yield record.quantized("post-training", left_out.get(record.name, "TF-MOT skipped it"))
        elif record.name in left_out:
            yield record.quantized("quantization-aware", f"output only: {left_out[record.name]}")
        elif record.levels:
            yield record.quantized("quantization-aware", "its weights keep their few values")
        elif hasattr(layer, "kernel") and not wrapper.quantize_config.get_weights_and_quantizers(
            wrapper.layer
        ):
            reason = "TF-MOT skips its weights if an activation follows"
            yield record.quantized("post-training", reason)
        else:
            yield record.quantized("quantization-aware")
