"""Import TF-MOT and the legacy Keras that it needs; no other module imports them.

TF-MOT supports only tf_keras models and accesses them as ``tf.keras``. That name means tf_keras if
TF_USE_LEGACY_KERAS is set before the first import of TensorFlow. With a Keras 3 model, TF-MOT raises
misleading errors or returns None.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def tensorflow() -> Any:
    """Import TensorFlow with legacy Keras as ``tf.keras``, without its messages at import.

    Raises:
        ToolchainError: TensorFlow was imported with Keras 3 before.
    """
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_closed():
        import tensorflow as tf
        import tf_keras

        legacy = tf.keras.Model is tf_keras.Model
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its warnings are expected for this use
    if not legacy:
        msg = (
            "TensorFlow was imported with Keras 3 before the pipeline, and TF-MOT needs Keras 2: "
            "export TF_USE_LEGACY_KERAS=1 before starting Python"
        )
        raise ToolchainError(msg)
    return tf


@cache
def tensorflow_model_optimization() -> Any:
    """Import TF-MOT on legacy Keras.

    AutoGraph would rewrite the code of its wrappers for each layer, though they have no control flow that
    depends on tensors. Without that, a model with fake quantization opens in half the time.

    Raises:
        ToolchainError: as ``tensorflow``.
    """
    tf = tensorflow()
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
        QuantizeWrapperV2,
    )
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

    for wrapper in (PruneLowMagnitude, QuantizeLayer, QuantizeWrapperV2):
        wrapper.call = tf.autograph.experimental.do_not_convert(wrapper.call)
    return tfmot


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Redirect file descriptor 2 to /dev/null: TensorFlow's C++ code logs before any log level is set."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - needs a file descriptor
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
