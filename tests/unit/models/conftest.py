"""Small models of both kinds of Keras, with random weights, saved and asked for their outputs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _randomise(model: Any) -> Any:
    """Give every float weight a random value; scales and variances stay positive."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            _randomise(layer)
            continue
        values = []
        for variable, array in zip(layer.weights, layer.get_weights(), strict=True):
            positive = any(word in variable.name for word in ("variance", "gamma"))
            random = rng.uniform(0.5, 1.5, array.shape) if positive else rng.normal(size=array.shape) * 0.5
            values.append(random.astype(array.dtype) if array.dtype.kind == "f" else array)
        layer.set_weights(values)
    return model


@pytest.fixture(scope="session")
def legacy_keras() -> None:
    """Let ``tf.keras`` be tf_keras before anything imports TensorFlow; TF-MOT needs it in this process."""
    tensorflow()


@pytest.fixture
def randomised(legacy_keras: None) -> Callable[[Any], Any]:
    """A model with random weights instead of its initial ones."""
    return _randomise


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(3)


@pytest.fixture
def save(tmp_path: Path, legacy_keras: None) -> Callable[[Any, str], Path]:
    """Save a model as ``model.keras`` or ``model.h5`` and return the path."""

    def save_model(model: Any, suffix: str) -> Path:
        path = tmp_path / f"model{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
        return path

    return save_model


@pytest.fixture
def outputs(legacy_keras: None) -> Callable[[Any, Any], list[Any]]:
    """What a model returns at inference, as a list of arrays."""

    def call(model: Any, inputs: Any) -> list[Any]:
        values = model(inputs, training=False)
        return [np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])]

    return call
