"""The emulated board, provisioned once for all tests, and a small model to run on it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.board.image import BoardImage


@pytest.fixture(scope="session")
def image() -> BoardImage:
    from pipeline.board.image import provision_image

    return provision_image()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 model of two layers: (n, 8, 8, 1) to (n, 3)."""
    from pipeline.tfmot import tensorflow

    tf = tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    net = tf_keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    converter.representative_dataset = lambda: (
        [rng.uniform(-1, 1, (1, 8, 8, 1)).astype(np.float32)] for _ in range(16)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = tmp_path_factory.mktemp("board") / "tiny.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter's own
        path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="session")
def inputs() -> list[NDArray[Any]]:
    return [np.random.default_rng(1).integers(-128, 128, (80, 8, 8, 1)).astype(np.int8)]
