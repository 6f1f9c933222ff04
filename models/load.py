"""Load a Keras model from a file without ever running what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.archive import open_archive
from models.errors import ModelError
from models.graph import build_model
from models.keras3 import read_entries, read_graph
from models.weights import read_weights

if TYPE_CHECKING:
    from pathlib import Path

    import tf_keras

    from models.graph import Graph


def load_model(path: Path) -> tf_keras.Model:
    """Load a model that Keras 3 or tf_keras saved, as a flat, trainable, float32 tf_keras model.

    The file is read against the allowlist of ``models.allowlist`` and rebuilt; Keras's own loaders, which
    resolve names from the file, are not used. Nested models are laid out flat, layers that act in training
    only by changing the input (augmentation) are left out, a fixed batch size is left open.

    Args:
        path: a ``.keras`` archive of Keras 3 or tf_keras, or the one-file HDF5 of either.

    Raises:
        ModelError: the file is damaged or dangerous, or holds something that is not supported.
    """
    graph = read_model(path)
    try:
        return build_model(graph)
    except ModelError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error


def read_model(path: Path) -> Graph:
    """Read a model file as plain data; imports no TensorFlow.

    Raises:
        ModelError: as :func:`load_model`.
    """
    with open_archive(path) as archive:
        try:
            entries = read_entries(archive.config)
        except ModelError as error:
            msg = f"{path}: {error}"
            raise ModelError(msg) from error
        weights = read_weights(path, archive, entries)
        try:
            return read_graph(archive.config, weights, is_keras3=archive.is_keras3)
        except ModelError as error:
            msg = f"{path}: {error}"
            raise ModelError(msg) from error
