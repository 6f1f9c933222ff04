"""A model and data that build in seconds, and the command as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = Path(sys.executable).with_name("pipeline")
SETTINGS = """
[project]
name = "tiny"
version = "1.0"

[model]
path = "model.keras"

[data]
source = "data.npz"

[[compress]]
method = "weights"
sparsity = 0.5
min_weights = 0
training = { epochs = 6, min_steps = 1, batch_size = 16, learning_rate = 1e-3 }

[quantize]
method = "qat"
training = { epochs = 2, min_steps = 1, batch_size = 16, learning_rate = 3e-4 }

[calibration]
samples = 32

[validate]
operators = false

[validate.shift]
samples = 64
severities = [3]
"""
TRAIN, TEST = 320, 160


@dataclass(frozen=True)
class Built:
    """A finished build: where its files are, and what it printed."""

    out: Path
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        return json.loads(self.stdout)

    @property
    def record(self) -> Path:
        """A folder with run.json and events.jsonl of this build; a later one in ``out`` writes its own."""
        return self.out.with_name(f"{self.out.name}-record")

    @property
    def release(self) -> Path:
        return Path(self.result["release"])


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``pipeline ARGUMENTS`` in a process group of its own; none outlives the tests."""
    started = []

    def run(*arguments: Any, cwd: Path, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *python, COMMAND, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def build(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Built]:
    """Run ``pipeline build --json`` to its successful end, with a store of its own in ``out``."""

    def run(out: Path, *arguments: Any, cwd: Path, python: tuple[str, ...] = ()) -> Built:
        command = ("build", "--target", "arm64", "--out", out, "--store", out / "store", "--json", *arguments)
        process = start(*command, cwd=cwd, python=python)
        stdout, stderr = process.communicate(timeout=600)
        assert process.returncode == 0, stderr
        built = Built(out, stdout, stderr)
        if not built.record.exists():
            built.record.mkdir()
            for name in ("run.json", "events.jsonl"):
                shutil.copy(out / name, built.record)
        return built

    return run


def corners(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy uint8 images (count, 8, 8, 1) with one bright corner of four: the label."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 4
    images = rng.integers(0, 60, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 150
    return images.astype(np.uint8), labels


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small trained convolutional network, its data and a pipeline.toml."""
    from pipeline.training.tfmot import tensorflow

    tensorflow()
    import keras

    folder = tmp_path_factory.mktemp("tiny")
    images, labels = corners(TRAIN + TEST)
    np.savez(
        folder / "data.npz",
        x_train=images[:TRAIN],
        y_train=labels[:TRAIN],
        x_test=images[TRAIN:],
        y_test=labels[TRAIN:],
    )
    layers = keras.layers
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(images[:TRAIN] / 255, labels[:TRAIN], batch_size=16, epochs=8, verbose=0)
        model.save(folder / "model.keras")
    (folder / "pipeline.toml").write_text(SETTINGS, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def built(tiny: Path, build: Callable[..., Built], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tiny model, built once without a disturbance."""
    return build(tmp_path_factory.mktemp("built"), cwd=tiny)
