"""Fine-tuning of a Keras model towards a teacher's outputs and the targets."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.events import Metric, emit
from pipeline.progress import track
from pipeline.samples import Samples
from pipeline.tasks.spec import TASKS
from pipeline.training.keras_io import open_model, predict

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, KerasModel, ModelArtifact
    from pipeline.config import TrainingConfig

    Arrays = list[NDArray[np.float32]]
    Aim = Callable[[NDArray[np.int64], list[NDArray[Any]]], Arrays]

PREDICT_BATCH = 256
# The teacher's outputs are computed once if they fit in this many bytes, else for every batch.
KEPT_TARGET_BYTES = 256 << 20
SMALLEST_VARIANCE = 1e-6


def training_samples(data: Dataset, model: ModelArtifact, config: TrainingConfig, seed: int) -> Samples:
    """Return the training samples for fine-tuning: all, or a seeded choice."""
    samples = Samples.of(data, "train", model.preprocessing)
    return samples.choose(config.samples or len(samples), seed)


def steps_per_epoch(samples: int, config: TrainingConfig) -> int:
    return -(-samples // config.batch_size)


def total_epochs(samples: int, config: TrainingConfig) -> int:
    """Return the number of epochs: the configured one, or more to reach the minimum number of steps."""
    return max(config.epochs, -(-config.min_steps // steps_per_epoch(samples, config)))


def total_steps(samples: int, config: TrainingConfig) -> int:
    return total_epochs(samples, config) * steps_per_epoch(samples, config)


def fine_tune(
    name: str,
    student: Any,
    teacher: KerasModel,
    data: Dataset,
    config: TrainingConfig,
    seed: int,
    callbacks: tuple[Any, ...] = (),
) -> None:
    """Train ``student`` in place towards the teacher's outputs and the targets, showing progress.

    Adam with a cosine learning-rate schedule. The training targets mix the teacher's outputs with the
    labels; cross-entropy is linear in its target, and so is the gradient of the squared error, so this
    equals a weighted sum of the distillation loss (Hinton et al., 2015, arXiv:1503.02531, at temperature 1)
    and the loss on the targets.
    """
    import tf_keras

    samples = training_samples(data, teacher, config, seed)
    epochs, steps = total_epochs(len(samples), config), total_steps(len(samples), config)
    aim = aims(teacher, samples, config.distillation)
    student.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)),
        loss=losses(teacher),
        loss_weights=loss_weights(teacher, aim, samples),
    )
    heard = tf_keras.callbacks.CallbackList(callbacks, model=student)
    rng = np.random.default_rng(seed)
    heard.on_train_begin()
    started = time.monotonic()
    with track(name, steps, "steps") as advance:
        for epoch in range(epochs):
            student.reset_metrics()  # makes the loss the mean over the epoch so far
            heard.on_epoch_begin(epoch)
            order = rng.permutation(len(samples))
            for step, start in enumerate(range(0, len(order), config.batch_size)):
                batch = order[start : start + config.batch_size]
                heard.on_train_batch_begin(step)
                inputs = samples.take(batch).model_inputs()
                found = student.train_on_batch(
                    _single(inputs),
                    _single(aim(batch, inputs)),
                    sample_weight=position_weights(teacher, samples.take(batch)),
                )
                heard.on_train_batch_end(step)
                loss = float(found[0] if isinstance(found, list) else found)
                advance(1, f"epoch {epoch + 1} of {epochs}, loss {loss:.4f}")
            heard.on_epoch_end(epoch)
            seconds = round(time.monotonic() - started, 3)
            epoch_loss = Metric(
                task=name, name="loss", value=loss, epoch=epoch + 1, epochs=epochs, seconds=seconds
            )
            emit(epoch_loss)
    heard.on_train_end()


def losses(model: ModelArtifact) -> list[Any]:
    """Return the training loss of each output's task."""
    return [
        TASKS[task].loss(TASKS[task].is_sigmoid(port.shape[-1], port.activation), bool(from_logits))
        for port, task, from_logits in zip(model.outputs, model.tasks, model.from_logits, strict=True)
    ]


def position_weights(model: ModelArtifact, samples: Samples) -> Any:
    """Return sample weights that exclude positions without a class from the loss.

    Returns:
        None if every position has a class. Else float32 for each output: (n, *positions) with mean 1 and 0
        at positions without a class, or (n,) ones. With one output, its array without a list.
    """
    weights, partial = [], False
    for index, task in enumerate(model.tasks):
        target = samples.target(index) if TASKS[task].has_positions else None
        counts = np.ones(len(samples), bool) if target is None else target >= 0
        partial = partial or not counts.all()
        weights.append(np.asarray(counts / max(float(counts.mean()), 1 / counts.size), np.float32))
    return _single(weights) if partial else None


def loss_weights(model: ModelArtifact, aim: Aim, samples: Samples) -> list[float]:
    """Return the loss weight of each output.

    Squared errors are divided by the variance of the targets, so that the unit of a regression output has no
    influence. Without this, an output with small numbers drifts out of the range that fake quantization
    learned, and gradients vanish there.
    """
    places = np.arange(min(len(samples), PREDICT_BATCH))
    found = aim(places, samples.take(places).model_inputs())
    return [
        1.0 if TASKS[task].of_classes else 1.0 / max(float(values.var()), SMALLEST_VARIANCE)
        for task, values in zip(model.tasks, found, strict=True)
    ]


def aims(teacher: KerasModel, samples: Samples, share: float) -> Aim:
    """Return the training targets: ``share`` of the teacher's outputs plus the rest of the labels.

    Returns:
        A function of sample indices and the model's inputs at these indices that returns float32
        (n, *output_shape) for each output.
    """
    if not share and all(samples.targets):
        return lambda places, inputs: mixed(teacher, samples.take(places), inputs, None, share)
    network = open_model(teacher.model)
    values = sum(math.prod(port.fixed_shape) for port in teacher.outputs)
    if 4 * len(samples) * values > KEPT_TARGET_BYTES:
        return lambda places, inputs: mixed(
            teacher, samples.take(places), inputs, predict(network, inputs), share
        )
    kept = [np.empty((len(samples), *port.fixed_shape), np.float32) for port in teacher.outputs]
    with track("teacher's outputs", len(samples), "samples") as advance:
        start = 0
        for chunk in samples.chunks(PREDICT_BATCH):
            inputs = chunk.model_inputs()
            found = mixed(teacher, chunk, inputs, predict(network, inputs), share)
            for of_output, values_found in zip(kept, found, strict=True):
                of_output[start : start + len(chunk)] = values_found
            start += len(chunk)
            advance(len(chunk))
    return lambda places, inputs: [of_output[places] for of_output in kept]


def mixed(
    model: ModelArtifact, samples: Samples, inputs: list[NDArray[Any]], taught: Arrays | None, share: float
) -> Arrays:
    """Mix the float model's outputs with the targets; outputs of classes as probabilities."""
    result = []
    for index, (port, task) in enumerate(zip(model.outputs, model.tasks, strict=True)):
        soft = None
        if taught is not None:
            is_logits = TASKS[task].of_classes and model.from_logits[index]
            soft = probabilities(taught[index], port.activation, task) if is_logits else taught[index]
        aim, shape = TASKS[task].aim, (len(samples), *port.fixed_shape)
        hard = None if aim is None else aim(samples.target(index), inputs, shape)
        if hard is None:
            assert soft is not None
            result.append(np.asarray(soft, np.float32))
            continue
        result.append(hard if soft is None else np.asarray(share * soft + (1 - share) * hard, np.float32))
    return result


def probabilities(logits: NDArray[np.float32], activation: str, task: str) -> NDArray[np.float32]:
    """Convert logits (n, ..., classes) to probabilities."""
    from scipy.special import expit, softmax

    if TASKS[task].is_sigmoid(logits.shape[-1], activation):
        return np.asarray(expit(logits), np.float32)
    return np.asarray(softmax(logits, axis=-1), np.float32)


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
