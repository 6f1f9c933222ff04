"""The one layer of our own: an operation between layers that no layer of tf_keras stands for.

A model that holds it is opened again with ``custom_objects=own_layers()``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OWN_LAYERS = frozenset({"Operation"})

# Each is given TensorFlow, the list of tensors and the settings. ``merge_steps`` makes a sample of each step
# of a sequence and ``split_steps`` a sequence of each ``steps`` samples; nothing else touches the batch.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": lambda tf, x: tf.abs(x[0]),
    "square": lambda tf, x: tf.square(x[0]),
    "sqrt": lambda tf, x: tf.sqrt(x[0]),
    "rsqrt": lambda tf, x: tf.math.rsqrt(x[0]),
    "exp": lambda tf, x: tf.exp(x[0]),
    "log": lambda tf, x: tf.math.log(x[0]),
    "sin": lambda tf, x: tf.sin(x[0]),
    "cos": lambda tf, x: tf.cos(x[0]),
    "floor": lambda tf, x: tf.floor(x[0]),
    "log_softmax": lambda tf, x: tf.nn.log_softmax(x[0]),
    "gelu_tanh": lambda tf, x: tf.nn.gelu(x[0], approximate=True),
    "reciprocal": lambda tf, x: tf.math.reciprocal(x[0]),
    "divide": lambda tf, x: tf.math.divide(x[0], x[1]),
    "power": lambda tf, x, exponent: tf.pow(x[0], exponent),
    "clip": lambda tf, x, low=None, high=None: _clip(tf, x[0], low, high),
    "mean": lambda tf, x, axis, keepdims=False: tf.reduce_mean(x[0], axis, keepdims),
    "sum": lambda tf, x, axis, keepdims=False: tf.reduce_sum(x[0], axis, keepdims),
    "max": lambda tf, x, axis, keepdims=False: tf.reduce_max(x[0], axis, keepdims),
    "min": lambda tf, x, axis, keepdims=False: tf.reduce_min(x[0], axis, keepdims),
    "rms_normalization": lambda tf, x, axis, epsilon: (
        x[0] * tf.math.rsqrt(tf.reduce_mean(x[0] * x[0], axis, keepdims=True) + epsilon)
    ),
    "merge_steps": lambda tf, x: _regrouped(tf, x[0], [-1], 2),
    "split_steps": lambda tf, x, steps: _regrouped(tf, x[0], [-1, steps], 1),
    "take": lambda tf, x, indices, axis: tf.gather(x[0], indices, axis=axis),
    "argmax": lambda tf, x, keepdims=False: (  # never built: models/endings.py
        tf.argmax(x[0], -1)[..., None] if keepdims else tf.argmax(x[0], -1)
    ),
    "where": lambda tf, x, high=None, low=None: _where(tf, x, high, low),
    "greater": lambda tf, x, value=None: tf.greater(*_pair(x, value)),
    "greater_equal": lambda tf, x, value=None: tf.greater_equal(*_pair(x, value)),
    "less": lambda tf, x, value=None: tf.less(*_pair(x, value)),
    "less_equal": lambda tf, x, value=None: tf.less_equal(*_pair(x, value)),
    "equal": lambda tf, x, value=None: tf.equal(*_pair(x, value)),
    "slice": lambda _, x, begin, end, strides: x[0][(slice(None), *map(slice, begin, end, strides))],
    "pad": lambda tf, x, paddings, value=0.0: tf.pad(x[0], paddings, constant_values=value),
    "tile": lambda tf, x, multiples: tf.tile(x[0], multiples),
    "stack": lambda tf, x, axis: tf.stack(x, axis),
    "matmul": lambda tf, x, transpose_a=False, transpose_b=False: tf.matmul(
        x[0], x[1], transpose_a=transpose_a, transpose_b=transpose_b
    ),
}


@cache
def own_layers() -> dict[str, Any]:
    """Return the layers that tf_keras does not know, by name, for ``custom_objects``."""
    import tensorflow as tf
    import tf_keras

    class Operation(tf_keras.layers.Layer):  # type: ignore[misc]
        """Apply one of ``FUNCTIONS`` to a list of tensors."""

        def __init__(self, function: str, **settings: Any) -> None:
            base = {key: settings.pop(key) for key in ("name", "trainable", "dtype") if key in settings}
            super().__init__(**base)
            self.function = function
            self.settings = settings

        def call(self, inputs: Any) -> Any:
            inputs = inputs if isinstance(inputs, list | tuple) else [inputs]
            return FUNCTIONS[self.function](tf, inputs, **self.settings)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "function": self.function, **self.settings}

    Operation.__module__ = __name__
    return {"Operation": Operation}


def _clip(tf: Any, x: Any, low: float | None, high: float | None) -> Any:
    x = x if low is None else tf.maximum(x, low)
    return x if high is None else tf.minimum(x, high)


def _regrouped(tf: Any, x: Any, front: list[int], kept: int) -> Any:
    """Reshape ``x`` to lengths that begin with ``front`` and end with its own from axis ``kept`` on."""
    own = x.shape[kept:]
    behind = own.as_list() if own.is_fully_defined() else tf.shape(x)[kept:]
    return tf.reshape(x, tf.concat([front, behind], 0) if tf.is_tensor(behind) else [*front, *behind])


def _pair(x: list[Any], value: float | None) -> tuple[Any, Any]:
    """Return what is compared: two tensors, or one with a number."""
    return x[0], x[1] if value is None else value


def _where(tf: Any, x: list[Any], high: float | None, low: float | None) -> Any:
    """Return ``high`` where the first tensor is true, else ``low``; None stands for the next tensor."""
    condition, *rest = x
    first = rest.pop(0) if high is None else high
    return tf.where(condition, first, rest.pop(0) if low is None else low)
