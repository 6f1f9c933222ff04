"""What a student is trained towards: a mixture of the labels and the outputs of a teacher."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.artifacts import Teacher
from pipeline.errors import StageError
from pipeline.progress import track
from pipeline.tasks.spec import TASKS
from pipeline.training.keras_io import open_model, predict
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.artifacts import KerasModel, ModelArtifact
    from pipeline.samples import Samples
    from pipeline.training_config import TrainingConfig

    Arrays = list[NDArray[np.float32]]
    Aim = Callable[[NDArray[np.int64], list[NDArray[Any]]], Arrays]

STAGE = "training"
PREDICT_BATCH = 256
# The teacher's outputs are computed once if they fit in this many bytes, else for every batch.
KEPT_TARGET_BYTES = 256 << 20
SMALLEST_VARIANCE = 1e-6
SMALLEST_PROBABILITY = 1e-7
# Of the teacher in the loss, where nothing was measured.
DEFAULT_SHARE = 0.9


class Mixture(NamedTuple):
    """How the outputs of the teacher and the labels are mixed.

    Attributes:
        share: of the loss that compares with the teacher's outputs.
        temperature: that the classes of teacher and student are compared at.
        smoothing: share of a label that is spread over all classes.
    """

    share: float
    temperature: float = 1.0
    smoothing: float = 0.0

    @classmethod
    def of(cls, teacher: KerasModel, config: TrainingConfig) -> Mixture:
        """Return the configured mixture; the share may have been chosen together with the teacher.

        Raises:
            StageError: a setting for classes, and the model has none.
        """
        share = config.distillation
        if share == "auto":
            share = teacher.share if isinstance(teacher, Teacher) else DEFAULT_SHARE
        found = cls(share, config.temperature, config.label_smoothing)
        if found[1:] != (1.0, 0.0) and not any(TASKS[task].of_classes for task in teacher.tasks):
            what = "label_smoothing" if found.smoothing else "temperature"
            cause = f"{what} suits outputs that are classes, not the task {', '.join(teacher.tasks)}"
            raise StageError(STAGE, cause, f"remove it from training.{what}")
        return found

    def is_tempered(self, task: str) -> bool:
        """Return whether the loss of an output compares with the teacher at another temperature."""
        return self.temperature != 1 and TASKS[task].of_classes


LABELS_ALONE = Mixture(share=0.0)


def losses(model: ModelArtifact, mixture: Mixture = LABELS_ALONE) -> list[Any]:
    """Return the training loss of each output's task.

    At another temperature the targets of an output are those of the labels, then those of the teacher.
    """
    found = []
    for port, task, logits in zip(model.outputs, model.tasks, model.from_logits, strict=True):
        sigmoid = TASKS[task].is_sigmoid(port.shape[-1], port.activation)
        loss = TASKS[task].loss(sigmoid, bool(logits))
        found.append(_tempered()(loss, sigmoid, bool(logits), mixture) if mixture.is_tempered(task) else loss)
    return found


@cache
def _tempered() -> Any:
    tf = tensorflow()
    import tf_keras

    class Tempered(tf_keras.losses.Loss):  # type: ignore[misc]
        """The loss on labels, and the cross-entropy with the teacher's classes at a temperature T.

        The latter is multiplied by T^2, since its gradients fall with 1 / T^2 (Hinton et al., 2015,
        arXiv:1503.02531, section 2).
        """

        def __init__(self, on_labels: Any, sigmoid: bool, from_logits: bool, mixture: Mixture) -> None:
            super().__init__(name="tempered")
            self.on_labels, self.sigmoid, self.from_logits, self.mixture = (
                on_labels, sigmoid, from_logits, mixture
            )  # fmt: skip

        def call(self, targets: Any, outputs: Any) -> Any:
            labels, taught = tf.split(targets, 2, axis=-1)
            share, temperature = self.mixture.share, self.mixture.temperature
            logits = self._logits(outputs) / temperature
            if self.sigmoid:
                entropies = tf.nn.sigmoid_cross_entropy_with_logits(taught, logits)
                soft = tf.reduce_mean(entropies, axis=-1)
            else:
                soft = tf.nn.softmax_cross_entropy_with_logits(taught, logits)
            hard = self.on_labels.call(labels, outputs)
            return (1 - share) * hard + share * temperature**2 * soft

        def _logits(self, outputs: Any) -> Any:
            """Return the logits: those that Keras noted, else the logarithm of the probabilities."""
            if self.from_logits:
                return outputs
            logits = getattr(outputs, "_keras_logits", None)
            if logits is not None:
                return logits
            likely = tf.clip_by_value(outputs, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
            return tf.math.log(likely) - (tf.math.log1p(-likely) if self.sigmoid else 0.0)

    return Tempered


def position_weights(model: ModelArtifact, samples: Samples, features: int = 0) -> Any:
    """Return sample weights that exclude positions without a class from the loss.

    Args:
        features: how many are trained beside the outputs.

    Returns:
        None if every position has a class. Else float32 for each output: (n, *positions) with mean 1 and 0
        at positions without a class, or (n,) ones; and such ones for each feature. With one output alone,
        its array without a list.
    """
    weights, partial = [], False
    for index, task in enumerate(model.tasks):
        target = samples.target(index) if TASKS[task].has_positions else None
        counts = np.ones(len(samples), bool) if target is None else target >= 0
        partial = partial or not counts.all()
        weights.append(np.asarray(counts / max(float(counts.mean()), 1 / counts.size), np.float32))
    weights += [np.ones(len(samples), np.float32)] * features
    return single(weights) if partial else None


def loss_weights(model: ModelArtifact, aim: Aim, samples: Samples) -> list[float]:
    """Return the loss weight of each output of the model.

    Squared errors are divided by the variance of the targets, so that the unit of a regression output has no
    influence. Without this, an output with small numbers drifts out of the range that fake quantization
    learned, and gradients vanish there.
    """
    places = np.arange(min(len(samples), PREDICT_BATCH))
    found = aim(places, samples.take(places).model_inputs())
    return [
        1.0 if TASKS[task].of_classes else 1.0 / max(float(values.var()), SMALLEST_VARIANCE)
        for task, values in zip(model.tasks, found, strict=False)
    ]


def aims(
    teacher: KerasModel, samples: Samples, mixture: Mixture, kept: bool = True, network: Any = None
) -> Aim:
    """Return the training targets: a mixture of the teacher's outputs and the labels.

    Args:
        kept: whether the teacher's outputs may be computed once, because inputs do not change.
        network: a tf_keras model of the teacher's outputs and of features behind them; None: of its outputs.

    Returns:
        A function of sample indices and the model's inputs at these indices that returns float32
        (n, *output_shape) for each output, twice as many along the last axis of one whose loss is tempered,
        and then the features.
    """
    if network is None and not mixture.share and all(samples.targets):
        return lambda places, inputs: mixed(teacher, samples.take(places), inputs, None, mixture)
    network = network or open_model(teacher.model)

    def computed(chunk: Samples, inputs: list[NDArray[Any]]) -> Arrays:
        return mixed(teacher, chunk, inputs, predict(network, inputs), mixture)

    shapes = [tuple(tensor.shape[1:]) for tensor in network.outputs]
    for index, (port, task) in enumerate(zip(teacher.outputs, teacher.tasks, strict=True)):
        *positions, last = port.fixed_shape
        shapes[index] = (*positions, last * (2 if mixture.is_tempered(task) else 1))
    if not kept or 4 * len(samples) * sum(map(math.prod, shapes)) > KEPT_TARGET_BYTES:
        return lambda places, inputs: computed(samples.take(places), inputs)
    stored = [np.empty((len(samples), *shape), np.float32) for shape in shapes]
    with track("teacher's outputs", len(samples), "samples") as advance:
        start = 0
        for chunk in samples.chunks(PREDICT_BATCH):
            for of_output, values in zip(stored, computed(chunk, chunk.model_inputs()), strict=True):
                of_output[start : start + len(chunk)] = values
            start += len(chunk)
            advance(len(chunk))
    return lambda places, inputs: [of_output[places] for of_output in stored]


def mixed(
    model: ModelArtifact,
    samples: Samples,
    inputs: list[NDArray[Any]],
    taught: Arrays | None,
    mixture: Mixture,
) -> Arrays:
    """Mix the float model's outputs with the targets; outputs of classes as probabilities.

    Args:
        taught: the float model's outputs, and then features, which are returned as they are.
    """
    result = []
    for index, (port, task) in enumerate(zip(model.outputs, model.tasks, strict=True)):
        soft = None if taught is None else taught[index]
        if soft is not None and TASKS[task].of_classes and model.from_logits[index]:
            soft = probabilities(soft, port.activation, task)
        aim, shape = TASKS[task].aim, (len(samples), *port.fixed_shape)
        sigmoid = TASKS[task].is_sigmoid(port.shape[-1], port.activation)
        hard = None if aim is None else aim(samples.target(index), inputs, shape)
        if hard is not None and mixture.smoothing and TASKS[task].of_classes:
            spread = mixture.smoothing / (2 if sigmoid else shape[-1])
            hard = (1 - mixture.smoothing) * hard + np.float32(spread)
        if soft is not None and mixture.is_tempered(task):
            tempered = at_temperature(soft, mixture.temperature, sigmoid)
            result.append(np.concatenate([soft if hard is None else hard, tempered], axis=-1))
        elif hard is None:
            assert soft is not None
            result.append(np.asarray(soft, np.float32))
        else:
            share = mixture.share
            result.append(hard if soft is None else np.asarray(share * soft + (1 - share) * hard, np.float32))
    return result + ([] if taught is None else taught[len(result) :])


def at_temperature(found: NDArray[np.float32], temperature: float, sigmoid: bool) -> NDArray[np.float32]:
    """Return probabilities (n, ..., classes) as they are with logits divided by the temperature."""
    likely = np.maximum(found.astype(np.float64), SMALLEST_PROBABILITY**2) ** (1 / temperature)
    if sigmoid:
        others = np.maximum(1 - found.astype(np.float64), SMALLEST_PROBABILITY**2) ** (1 / temperature)
    else:
        others = likely.sum(axis=-1, keepdims=True) - likely
    return np.asarray(likely / (likely + others), np.float32)


def probabilities(logits: NDArray[np.float32], activation: str, task: str) -> NDArray[np.float32]:
    """Convert logits (n, ..., classes) to probabilities."""
    from scipy.special import expit, softmax

    if TASKS[task].is_sigmoid(logits.shape[-1], activation):
        return np.asarray(expit(logits), np.float32)
    return np.asarray(softmax(logits, axis=-1), np.float32)


def single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
