"""Keras models as files, and TensorFlow in a reproducible state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from models.layers import own_layers
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def start_tensorflow(seed: int) -> None:
    """Make TensorFlow reproducible on this machine: fresh names, one seed, deterministic kernels."""
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
    """Load a model that ``save_model`` wrote."""
    import tf_keras

    model = tf_keras.models.model_from_json(
        (folder / "architecture.json").read_text(encoding="utf-8"), custom_objects=own_layers()
    )
    open_weights(model, folder / "weights.npz")
    return model


def save_weights(model: Any, path: Path) -> None:
    np.savez(path, **{f"{i:05d}": weight for i, weight in enumerate(model.get_weights())})


def open_weights(model: Any, path: Path) -> None:
    with np.load(path, allow_pickle=False) as weights:
        model.set_weights([weights[name] for name in sorted(weights.files)])


def predict(model: Any, inputs: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Return a model's outputs, (n, ...) each, for inputs (n, ...)."""
    outputs = model.predict_on_batch(inputs[0] if len(inputs) == 1 else inputs)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
