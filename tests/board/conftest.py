"""The emulated board, provisioned once for all tests, and a small model to run on it."""

from __future__ import annotations

import os
import socket
import subprocess
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.board.board import Board
    from pipeline.board.image import BoardImage


@pytest.fixture(scope="session")
def image() -> BoardImage:
    from pipeline.board.image import provision_image

    return provision_image()


@pytest.fixture(scope="session")
def board(image: BoardImage, openssh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """One board for all tests, over ssh and adb, with a disk that outlives its power."""
    from pipeline.board.board import Board
    from pipeline.targets import get_device

    assert image.adb.is_file()
    assert openssh.is_dir()
    disk = tmp_path_factory.mktemp("disk") / "lasting.ext4"
    with Board(get_device("rpi4"), adb=True, disk=disk) as board:
        yield board


@pytest.fixture(scope="session")
def adb_server(image: BoardImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An adb server for the tests alone, which ``adb_program()`` then uses; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADB", str(image.adb))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        home = {**os.environ, "HOME": str(tmp_path_factory.mktemp("home"))}  # where it keeps its key
        subprocess.run([image.adb, "start-server"], env=home, capture_output=True, check=True, timeout=60)
        yield port
        subprocess.run([image.adb, "kill-server"], capture_output=True, check=True, timeout=60)


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
