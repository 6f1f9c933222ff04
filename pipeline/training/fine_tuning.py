"""Fine-tuning of a Keras model towards a teacher's outputs and the targets."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.artifacts import Teacher
from pipeline.events import Distributed, Finding, Metric, emit
from pipeline.progress import track
from pipeline.samples import Samples
from pipeline.tasks.spec import TASKS
from pipeline.training.augmentation import augmented, check_augmentation
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import open_model, predict
from pipeline.training.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, KerasModel, ModelArtifact
    from pipeline.config import TrainingConfig
    from pipeline.training_history import TrainingHistory

    Arrays = list[NDArray[np.float32]]
    Aim = Callable[[NDArray[np.int64], list[NDArray[Any]]], Arrays]

PREDICT_BATCH = 256
# The teacher's outputs are computed once if they fit in this many bytes, else for every batch.
KEPT_TARGET_BYTES = 256 << 20
SMALLEST_VARIANCE = 1e-6
# Of the teacher in the loss, where nothing was measured.
DEFAULT_SHARE = 0.9


def training_samples(data: Dataset, model: ModelArtifact, config: TrainingConfig, seed: int) -> Samples:
    """Return the samples for fine-tuning: all training samples that are not held out, or a seeded choice."""
    samples = Samples.of(data, "fit", model.preprocessing)
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
    complete_after: float = 0.0,
) -> TrainingHistory:
    """Train ``student`` in place towards the teacher's outputs and the targets, showing progress.

    Adam with a learning rate that rises linearly during the warm-up and falls along a cosine. The training
    targets mix the teacher's outputs with the labels; cross-entropy is linear in its target, and so is the
    gradient of the squared error, so this equals a weighted sum of the distillation loss (Hinton et al.,
    2015, arXiv:1503.02531, at temperature 1) and the loss on the targets.

    The weights of an earlier epoch are taken instead of the last one's if they are measurably better on the
    held-out samples.

    Args:
        callbacks: tf_keras callbacks.
        complete_after: share of the training before which the student is unfinished, so that its weights of
            then are never taken.

    Returns:
        What each epoch reached; it is part of the artifact that the training makes.
    """
    check_augmentation(teacher, config.augmentation)
    samples = training_samples(data, teacher, config, seed)
    epochs, steps = total_epochs(len(samples), config), total_steps(len(samples), config)
    aim = aims(teacher, samples, share_of_teacher(teacher, config), kept=not config.augmentation.is_on)
    weights = loss_weights(teacher, aim, samples)
    student.compile(_optimizer(config, steps), loss=losses(teacher), loss_weights=weights)
    first_frozen = epochs - int(config.frozen_norms * epochs)
    watched = Watched(student, HeldOut.of(data, teacher), math.ceil(complete_after * epochs))
    heard = _callback_list(callbacks, student)
    course = Course(student, teacher, samples, config, aim, np.random.default_rng(seed), heard)
    recorder = Recorder(name, student, samples)
    heard.on_train_begin()
    started = time.monotonic()
    with track(name, steps, "steps") as advance:
        for epoch in range(epochs):
            if epoch == first_frozen:
                _freeze_norms(student)
                student.compile(student.optimizer, loss=losses(teacher), loss_weights=weights)
            note = f"epoch {epoch + 1} of {epochs}"
            loss = course.epoch(epoch, partial(_show, advance, note))
            seconds = round(time.monotonic() - started, 3)
            figures = {"loss": loss, **watched.after(epoch)}
            recorder.epoch(figures)
            for figure, value in figures.items():
                emit(
                    Metric(
                        task=name, name=figure, value=value, epoch=epoch + 1, epochs=epochs, seconds=seconds
                    )
                )
            if config.patience is not None and watched.epochs_without_gain >= config.patience:
                break
    heard.on_train_end()
    watched.restore_best(name)
    history = recorder.history()
    for when, found in (("before", history.before), ("after", history.after)):
        for histogram in found:
            facts = asdict(histogram) | {"counts": list(histogram.counts)}
            emit(Distributed(task=name, when=when, **facts))
    return history


class Course(NamedTuple):
    """What an epoch of training needs.

    Attributes:
        samples: to train on.
        aim: their targets.
        rng: of their order and their variations.
        heard: the callbacks.
    """

    student: Any
    teacher: KerasModel
    samples: Samples
    config: TrainingConfig
    aim: Aim
    rng: np.random.Generator
    heard: Any

    def epoch(self, number: int, after_step: Callable[[float], None]) -> float:
        """Train for one epoch (from 0); returns its mean loss, which ``after_step`` gets so far."""
        self.student.reset_metrics()  # makes the loss the mean over the epoch so far
        self.heard.on_epoch_begin(number)
        size, steps = self.config.batch_size, steps_per_epoch(len(self.samples), self.config)
        # The first samples fill up the last batch: one of another size would be traced once more.
        order = np.resize(self.rng.permutation(len(self.samples)), steps * size)
        loss = 0.0
        for step, start in enumerate(range(0, len(order), size)):
            self.heard.on_train_batch_begin(step)
            loss = self._step(order[start : start + size])
            self.heard.on_train_batch_end(step)
            after_step(loss)
        self.heard.on_epoch_end(number)
        return loss

    def _step(self, batch: NDArray[np.int64]) -> float:
        samples = self.samples.take(batch)
        inputs = samples.model_inputs()
        if self.config.augmentation.is_on:
            inputs = augmented(inputs, self.teacher, self.config.augmentation, self.rng)
        weights = position_weights(self.teacher, samples)
        targets = _single(self.aim(batch, inputs))
        found = self.student.train_on_batch(_single(inputs), targets, sample_weight=weights)
        return float(found[0] if isinstance(found, list) else found)


def _optimizer(config: TrainingConfig, steps: int) -> Any:
    import tf_keras

    warm_up = int(config.warm_up * steps)
    schedule = tf_keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else config.learning_rate,
        steps - warm_up,
        warmup_target=config.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )
    return tf_keras.optimizers.Adam(schedule)


def _callback_list(callbacks: tuple[Any, ...], student: Any) -> Any:
    import tf_keras

    return tf_keras.callbacks.CallbackList(callbacks, model=student)


def _freeze_norms(student: Any) -> None:
    """Keep the batch normalizations as they are, from the next ``compile`` on."""
    import tf_keras

    for layer in student.submodules:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.trainable = False


def _show(advance: Any, note: str, loss: float) -> None:
    advance(1, f"{note}, loss {loss:.4f}")


def share_of_teacher(teacher: KerasModel, config: TrainingConfig) -> float:
    """Return the share of the loss that compares with the teacher: configured, or chosen with the teacher."""
    if config.distillation != "auto":
        return config.distillation
    return teacher.share if isinstance(teacher, Teacher) else DEFAULT_SHARE


class Watched:
    """A student's outputs on the held-out samples after each epoch, and its best weights."""

    def __init__(self, student: Any, held_out: HeldOut, first_epoch: int) -> None:
        """Watch a student.

        Args:
            first_epoch: the first one (from 0) whose weights may be taken.
        """
        self._student, self._held_out, self._first = student, held_out, first_epoch
        self._best: tuple[float, int, Arrays, NDArray[np.float32]] | None = None
        self._last: NDArray[np.float32] | None = None
        self.epochs_without_gain = 0

    def after(self, epoch: int) -> dict[str, float]:
        """Score the student after an epoch (from 0); returns the figure by name, or nothing."""
        if not len(self._held_out.samples):
            return {}
        self._last = self._held_out.outputs(self._student)
        score = self._held_out.score(self._last)
        if score is None:
            return {}
        if epoch + 1 >= self._first:
            self.epochs_without_gain += 1
            if self._best is None or score >= self._best[0]:
                self._best = score, epoch, self._student.get_weights(), self._last
                self.epochs_without_gain = 0
        found = {f"held-out {self._held_out.metric}": score}
        f1 = self._held_out.macro_f1(self._last)
        return found if f1 is None else found | {"held-out macro F1": f1}

    def restore_best(self, name: str) -> None:
        """Take the best epoch's weights if they are measurably better than the last ones."""
        if self._best is None or self._last is None:
            return
        _, epoch, weights, outputs = self._best
        gain = self._held_out.gain(self._last, outputs)
        if gain is not None and gain.is_shown:
            self._student.set_weights(weights)
            emit(
                Finding(
                    text=f"{name}: the weights of epoch {epoch + 1} are taken, {gain} on held-out samples"
                )
            )


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


def aims(teacher: KerasModel, samples: Samples, share: float, kept: bool = True) -> Aim:
    """Return the training targets: ``share`` of the teacher's outputs plus the rest of the labels.

    Args:
        kept: whether the teacher's outputs may be computed once, because inputs do not change.

    Returns:
        A function of sample indices and the model's inputs at these indices that returns float32
        (n, *output_shape) for each output.
    """
    if not share and all(samples.targets):
        return lambda places, inputs: mixed(teacher, samples.take(places), inputs, None, share)
    network = open_model(teacher.model)
    values = sum(math.prod(port.fixed_shape) for port in teacher.outputs)
    if not kept or 4 * len(samples) * values > KEPT_TARGET_BYTES:
        return lambda places, inputs: mixed(
            teacher, samples.take(places), inputs, predict(network, inputs), share
        )
    stored = [np.empty((len(samples), *port.fixed_shape), np.float32) for port in teacher.outputs]
    with track("teacher's outputs", len(samples), "samples") as advance:
        start = 0
        for chunk in samples.chunks(PREDICT_BATCH):
            inputs = chunk.model_inputs()
            found = mixed(teacher, chunk, inputs, predict(network, inputs), share)
            for of_output, values_found in zip(stored, found, strict=True):
                of_output[start : start + len(chunk)] = values_found
            start += len(chunk)
            advance(len(chunk))
    return lambda places, inputs: [of_output[places] for of_output in stored]


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
