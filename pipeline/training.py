"""Fine-tuning of a Keras model towards the unchanged float model's outputs and the labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.progress import track
from pipeline.tfmot import tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, FloatModel, Preprocessing
    from pipeline.config import TrainingConfig

PREDICT_BATCH = 256


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


def steps_per_epoch(samples: int, config: TrainingConfig) -> int:
    return -(-samples // config.batch_size)


def total_epochs(samples: int, config: TrainingConfig) -> int:
    """Passes over the samples: as many as asked for, and more where that is too few steps."""
    return max(config.epochs, -(-config.least_steps // steps_per_epoch(samples, config)))


def total_steps(samples: int, config: TrainingConfig) -> int:
    return total_epochs(samples, config) * steps_per_epoch(samples, config)


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

    Adam with a cosine learning-rate schedule. The targets mix the float model's probabilities with the
    labels; cross-entropy is linear in its target, so this equals a weighted sum of the distillation loss
    (Hinton et al., 2015, arXiv:1503.02531, at temperature 1) and the loss on the labels.
    """
    import tf_keras

    chosen = choose_samples(data, config, seed)
    epochs, steps = total_epochs(len(chosen), config), total_steps(len(chosen), config)
    raw = np.load(data.train_inputs, mmap_mode="r")
    targets = soft_targets(model, data, preprocessing, config.distillation, chosen)
    binary = model.task == "binary"
    loss = tf_keras.losses.BinaryCrossentropy if binary else tf_keras.losses.CategoricalCrossentropy
    student.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)),
        loss=loss(from_logits=model.from_logits),
    )
    heard = tf_keras.callbacks.CallbackList(callbacks, model=student)
    rng = np.random.default_rng(seed)
    heard.on_train_begin()
    with track(name, steps, "steps") as advance:
        for epoch in range(epochs):
            heard.on_epoch_begin(epoch)
            order = rng.permutation(len(chosen))
            for step, start in enumerate(range(0, len(order), config.batch_size)):
                batch = order[start : start + config.batch_size]
                heard.on_train_batch_begin(step)
                found = student.train_on_batch(preprocessing.apply(raw[chosen[batch]]), targets[batch])
                heard.on_train_batch_end(step)
                advance(1, f"epoch {epoch + 1} of {epochs}, loss {found:.4f}")
            heard.on_epoch_end(epoch)
    heard.on_train_end()


def soft_targets(
    model: FloatModel, data: Dataset, preprocessing: Preprocessing, share: float, chosen: NDArray[np.int64]
) -> NDArray[np.float32]:
    """``share`` of the float model's probabilities and the rest of the labels, for the chosen samples.

    Returns:
        float32 (len(chosen), classes), or (len(chosen), 1) for a binary task.
    """
    labels = np.load(data.train_labels)[chosen]
    hard: NDArray[np.float32] = (
        labels[:, np.newaxis].astype(np.float32)
        if model.task == "binary"
        else np.eye(model.output_shape[-1], dtype=np.float32)[labels]
    )
    if not share:
        return hard
    teacher = open_model(model.prepared)
    raw = np.load(data.train_inputs, mmap_mode="r")
    soft = np.empty_like(hard)
    with track("float model's outputs", len(chosen), "samples") as advance:
        for start in range(0, len(chosen), PREDICT_BATCH):
            batch = chosen[start : start + PREDICT_BATCH]
            outputs = teacher.predict_on_batch(preprocessing.apply(raw[batch]))
            soft[start : start + len(batch)] = probabilities(outputs, model)
            advance(len(batch))
    return np.asarray(share * soft + (1 - share) * hard, np.float32)


def probabilities(outputs: NDArray[np.float32], model: FloatModel) -> NDArray[np.float32]:
    """The model's outputs (n, classes) as probabilities, or (n, 1) of a binary task."""
    if not model.from_logits:
        return outputs
    if model.task == "binary":
        return np.asarray(1 / (1 + np.exp(-outputs)), np.float32)
    shifted = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
