"""Fine-tuning of a Keras model towards a teacher's outputs and the targets."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.errors import StageError
from pipeline.events import Distributed, Finding, Metric, emit
from pipeline.progress import track
from pipeline.samples import Samples
from pipeline.training.aims import Mixture, aims, loss_weights, losses, position_weights, single
from pipeline.training.augmentation import augmented, check_augmentation
from pipeline.training.held_out import HeldOut
from pipeline.training.optimizers import make_optimizer
from pipeline.training.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, KerasModel, ModelArtifact
    from pipeline.training.aims import Aim, Arrays
    from pipeline.training.features import Features
    from pipeline.training_config import TrainingConfig
    from pipeline.training_history import TrainingHistory

STAGE = "training"


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
    features: Features | None = None,
) -> TrainingHistory:
    """Train ``student`` in place towards the teacher's outputs and the targets, showing progress.

    The training targets mix the teacher's outputs with the labels; cross-entropy is linear in its target, and
    so is the gradient of the squared error, so at temperature 1 this equals a weighted sum of the
    distillation loss (Hinton et al., 2015, arXiv:1503.02531) and the loss on the targets.

    The weights of an earlier epoch are taken instead of the last one's if they are measurably better on the
    held-out samples.

    Args:
        callbacks: tf_keras callbacks.
        complete_after: share of the training before which the student is unfinished, so that its weights of
            then are never taken.
        features: of the student to be compared with those of the teacher.

    Returns:
        What each epoch reached; it is part of the artifact that the training makes.

    Raises:
        StageError: a setting does not suit the model or the data.
    """
    check_augmentation(teacher, config.augmentation)
    samples = training_samples(data, teacher, config, seed)
    epochs, steps = total_epochs(len(samples), config), total_steps(len(samples), config)
    mixture, held_out = Mixture.of(teacher, config), HeldOut.of(data, teacher)
    _check_patience(held_out, config)
    trained = student if features is None else features.student
    kept = not config.augmentation.is_on
    aim = aims(teacher, samples, mixture, kept, None if features is None else features.teacher)
    goal = {"loss": losses(teacher, mixture), "loss_weights": loss_weights(teacher, aim, samples)}
    if features is not None:
        goal["loss"] += features.losses
        goal["loss_weights"] += features.weights
    trained.compile(make_optimizer(config, steps, trained), **goal)
    first_frozen = epochs - int(config.frozen_norms * epochs)
    watched = Watched(student, held_out, math.ceil(complete_after * epochs))
    heard = _callback_list(callbacks, student)
    course = Course(trained, teacher, samples, config, aim, np.random.default_rng(seed), heard)
    recorder = Recorder(name, student, samples)
    heard.on_train_begin()
    started = time.monotonic()
    with track(name, steps, "steps") as advance:
        for epoch in range(epochs):
            if epoch == first_frozen:
                _freeze_norms(student)
                trained.compile(trained.optimizer, **goal)
            loss = course.epoch(epoch, partial(_show, advance, f"epoch {epoch + 1}/{epochs}"))
            seconds = round(time.monotonic() - started, 3)
            metric = partial(Metric, task=name, epoch=epoch + 1, epochs=epochs, seconds=seconds)
            recorder.epoch(figures := {"loss": loss, **watched.after(epoch)})
            for figure, value in figures.items():
                emit(metric(name=figure, value=value))
            if config.patience is not None and watched.epochs_without_gain >= config.patience:
                break
    heard.on_train_end()
    watched.restore_best(name)
    history = recorder.history()
    _emit_histograms(name, history)
    return history


def _emit_histograms(name: str, history: TrainingHistory) -> None:
    for when, found in (("before", history.before), ("after", history.after)):
        for histogram in found:
            facts = asdict(histogram) | {"counts": list(histogram.counts)}
            emit(Distributed(task=name, when=when, **facts))


def _check_patience(held_out: HeldOut, config: TrainingConfig) -> None:
    """Refuse to wait for a better score where there is none.

    Raises:
        StageError: no samples are held out, or the task has no score.
    """
    if config.patience is None or held_out.has_score:
        return
    cause = "patience compares scores on held-out samples, and there are none"
    raise StageError(STAGE, cause, "remove it from training.patience")


class Course(NamedTuple):
    """What an epoch of training needs.

    Attributes:
        student: the tf_keras model that is trained; features that are compared are its last outputs.
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
        features = len(self.student.outputs) - len(self.teacher.outputs)
        weights = position_weights(self.teacher, samples, features)
        targets = single(self.aim(batch, inputs))
        found = self.student.train_on_batch(single(inputs), targets, sample_weight=weights)
        return float(found[0] if isinstance(found, list) else found)


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
