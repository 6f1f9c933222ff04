"""The sole importer of TF-MOT, and of the legacy Keras it stands on.

TF-MOT works on tf_keras models only, and finds them through ``tf.keras``; that name means tf_keras where
TF_USE_LEGACY_KERAS is set before TensorFlow is first imported. On a Keras 3 model it raises misleading
errors, or returns None.
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
    """Import TensorFlow with legacy Keras as ``tf.keras``, without what it prints at import.

    Raises:
        ToolchainError: it was imported before with Keras 3.
    """
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_closed():
        import tensorflow as tf
        import tf_keras

        legacy = tf.keras.Model is tf_keras.Model
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its warnings are about how it is used here
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

    Raises:
        ToolchainError: as ``tensorflow``.
    """
    tensorflow()
    import tensorflow_model_optimization as tfmot

    return tfmot


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Send file descriptor 2 nowhere: TensorFlow's C++ writes to it before any log level is set."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - needs a file descriptor
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
