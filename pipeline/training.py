"""Fine-tuning of a Keras model towards the unchanged float model's outputs and the labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.progress import track
from pipeline.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, FloatModel, Preprocessing
    from pipeline.config import TrainingConfig


def start_tensorflow(seed: int) -> None:
    """Make what follows reproducible on this machine: fresh names, one seed, deterministic kernels."""
    tf = tensorflow()
    import tf_keras

    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def save_model(model: Any, folder: Path) -> None:
    """Write a tf_keras model as ``architecture.json`` and ``weights.npz``: equal models have equal bytes."""
    folder.mkdir(parents=True)
    (folder / "architecture.json").write_text(
        json.dumps(json.loads(model.to_json()), sort_keys=True), encoding="utf-8"
    )
    save_weights(model, folder / "weights.npz")


def open_model(folder: Path) -> Any:
    """Read what ``save_model`` wrote."""
    import tf_keras

    model = tf_keras.models.model_from_json((folder / "architecture.json").read_text(encoding="utf-8"))
    open_weights(model, folder / "weights.npz")
    return model


def save_weights(model: Any, path: Path) -> None:
    np.savez(path, **{f"{i:05d}": weight for i, weight in enumerate(model.get_weights())})


def open_weights(model: Any, path: Path) -> None:
    with np.load(path, allow_pickle=False) as weights:
        model.set_weights([weights[name] for name in sorted(weights.files)])


def choose_samples(data: Dataset, config: TrainingConfig, seed: int) -> NDArray[np.int64]:
    """Indices of the training samples that fine-tuning uses: all of them, or a seeded choice."""
    count = min(config.samples or data.train_samples, data.train_samples)
    return np.sort(np.random.default_rng(seed).permutation(data.train_samples)[:count])


def total_steps(samples: int, config: TrainingConfig) -> int:
    return config.epochs * -(-samples // config.batch_size)


def fine_tune(
    name: str,
    student: Any,
    model: FloatModel,
    data: Dataset,
    preprocessing: Preprocessing,
    config: TrainingConfig,
    seed: int,
    callbacks: tuple[Any, ...] = (),
) -> None:
    """Train ``student`` in place towards the unchanged float model and the labels, showing progress.

    Adam with a cosine learning-rate schedule. The float model's outputs are learnt on random mixtures of
    two samples (Beyer et al., 2022, arXiv:2106.05237): they are answers for inputs that the training set
    does not have, so a small one does not overfit.
    """
    import tf_keras

    chosen = choose_samples(data, config, seed)
    steps = total_steps(len(chosen), config)
    teacher = open_model(model.prepared)
    source = Batches(model, data, preprocessing, config, chosen, mixable(teacher))
    loss = (
        tf_keras.losses.BinaryCrossentropy
        if model.task == "binary"
        else tf_keras.losses.CategoricalCrossentropy
    )
    student.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)),
        loss=loss(from_logits=model.from_logits),
    )
    heard = tf_keras.callbacks.CallbackList(callbacks, model=student)
    rng = np.random.default_rng(seed)
    heard.on_train_begin()
    with track(name, steps, "steps") as advance:
        for epoch in range(config.epochs):
            heard.on_epoch_begin(epoch)
            for step, (inputs, hard) in enumerate(source.epoch(rng)):
                targets = hard
                if config.distillation:
                    soft = probabilities(teacher.predict_on_batch(inputs), model)
                    targets = config.distillation * soft + (1 - config.distillation) * hard
                heard.on_train_batch_begin(step)
                found = student.train_on_batch(inputs, targets)
                heard.on_train_batch_end(step)
                advance(1, f"epoch {epoch + 1} of {config.epochs}, loss {found:.4f}")
            heard.on_epoch_end(epoch)
    heard.on_train_end()


def mixable(model: Any) -> bool:
    """Whether a weighted sum of two inputs is an input: not where they are indices into a table."""
    return not any(type(layer).__name__ == "Embedding" for layer in model.layers)


@dataclass(frozen=True)
class Batches:
    """The chosen training samples, a shuffled epoch at a time, mixed in pairs where ``mix`` is set."""

    model: FloatModel
    data: Dataset
    preprocessing: Preprocessing
    config: TrainingConfig
    chosen: NDArray[np.int64]
    mix: bool

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield float32 inputs (batch, ...) and their labels as probabilities (batch, classes)."""
        raw = np.load(self.data.train_inputs, mmap_mode="r")
        labels = np.load(self.data.train_labels)
        order = self.chosen[rng.permutation(len(self.chosen))]
        for start in range(0, len(order), self.config.batch_size):
            batch = order[start : start + self.config.batch_size]
            inputs, hard = self.preprocessing.apply(raw[batch]), self._one_hot(labels[batch])
            if self.mix:
                share = rng.random((len(batch), *(1,) * (inputs.ndim - 1)), np.float32)
                inputs = share * inputs + (1 - share) * inputs[::-1]
                share = share.reshape(-1, 1)
                hard = share * hard + (1 - share) * hard[::-1]
            yield inputs, hard

    def _one_hot(self, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.model.task == "binary":
            return labels[:, np.newaxis].astype(np.float32)
        return np.eye(self.model.output_shape[-1], dtype=np.float32)[labels]


def probabilities(outputs: NDArray[np.float32], model: FloatModel) -> NDArray[np.float32]:
    """The model's outputs (n, classes) as probabilities, or (n, 1) of a binary task."""
    if not model.from_logits:
        return outputs
    if model.task == "binary":
        return np.asarray(1 / (1 + np.exp(-outputs)), np.float32)
    shifted = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
