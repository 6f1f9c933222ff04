"""Training of outputs: the target of each, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shape = tuple[int, ...]


# Losses: whether each number of the output is a probability of its own, and whether the numbers are logits.


def cross_entropy(sigmoid: bool, from_logits: bool) -> Any:
    import tf_keras

    kind = tf_keras.losses.BinaryCrossentropy if sigmoid else tf_keras.losses.CategoricalCrossentropy
    return kind(from_logits=from_logits)


def squared_error(sigmoid: bool, from_logits: bool) -> Any:
    import tf_keras

    return tf_keras.losses.MeanSquaredError()


# Aims: float32 (n, *output_shape) of stored targets and the inputs of the model; None where there is none.


def one_hot(
    target: NDArray[Any] | None, inputs: list[NDArray[Any]], shape: Shape
) -> NDArray[np.float32] | None:
    """Class ids as probabilities; a position without a class counts as class 0, with no weight."""
    if target is None or shape[-1] == 1:
        return as_stored(target, inputs, shape)
    classes: NDArray[np.float32] = np.eye(shape[-1], dtype=np.float32)
    return np.asarray(classes[np.maximum(target, 0)])


def as_stored(
    target: NDArray[Any] | None, inputs: list[NDArray[Any]], shape: Shape
) -> NDArray[np.float32] | None:
    return None if target is None else np.asarray(target, np.float32).reshape(shape)


def the_input(
    target: NDArray[Any] | None, inputs: list[NDArray[Any]], shape: Shape
) -> NDArray[np.float32] | None:
    return np.asarray(inputs[0], np.float32).reshape(shape)
