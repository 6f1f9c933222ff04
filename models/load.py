"""Load a Keras model from a file without ever running what is in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from models.archive import open_archive
from models.entries import read_entries
from models.errors import ModelError
from models.graph import build_model
from models.keras3 import read_graph
from models.settings import dropped_settings
from models.shape_inference import check_weights, infer_shapes
from models.weights import read_weights
from models.wrappers import unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import tf_keras

    from models.graph import Graph

_SHOWN = 4  # layers of a note, which is one line
# Raised when a part is missing or has another type or length.
_OF_DAMAGE = (
    AttributeError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def load_model(path: Path, weights: Path | None = None) -> tf_keras.Model:
    """Load a model that Keras 3 or tf_keras saved, as a flat, trainable, float32 tf_keras model.

    The file is read against the layers of ``models.layer_rules`` and rebuilt; Keras's own loaders, which
    resolve names from the file, are not used. Nested models are laid out flat, layers that do nothing at
    inference (augmentation) are left out, a fixed batch size is left open.

    Args:
        path: a ``.keras`` archive of Keras 3 or tf_keras, the one-file HDF5 of either, a SavedModel folder of
            tf_keras, or an architecture in JSON.
        weights: the file of the weights, for an architecture in JSON.

    Raises:
        ModelError: the file is damaged or dangerous, or holds something that is not supported.
    """
    graph, _ = read_file(path, weights)
    with _named(path):
        try:
            return build_model(graph)
        except (ValueError, TypeError, MemoryError, OverflowError) as error:
            lines = str(error).strip().splitlines() or ["no message"]
            msg = f"Keras cannot build it: {lines[0]:.200}; save the model again"
            raise ModelError(msg) from error


def read_file(path: Path, weights: Path | None = None) -> tuple[Graph, str]:
    """Read a model file as plain data, and the version of Keras that wrote it; imports no TensorFlow.

    Raises:
        ModelError: as :func:`load_model`.
    """
    with open_archive(path, weights) as archive:
        with _named(path):
            config = unwrapped(archive.config)
            entries = read_entries(config)
        arrays = read_weights(weights or path, archive, entries)
        with _named(path):
            graph = read_graph(config, arrays, is_keras3=archive.is_keras3)
            check_weights(graph, infer_shapes(graph))
        return graph, archive.keras_version


def notes_on_dropped(path: Path, weights: Path | None = None) -> tuple[str, ...]:
    """Return one line for each setting of a model file that is dropped although users may rely on it.

    Raises:
        ModelError: as :func:`load_model`.
    """
    with open_archive(path, weights) as archive, _named(path):
        dropped = dropped_settings(unwrapped(archive.config))
    lines = []
    if dropped.states:
        lines.append(
            "no state is kept between inferences, each sample starts with zeros: "
            f"{_listing(dropped.states)}; for a stream, build the model with the states as inputs "
            "(initial_state=...) and outputs (return_state=True)"
        )
    if dropped.argmax:
        lines.append(
            f"the argmax at the end is left out ({_listing(dropped.argmax)}): the model gives the scores, "
            "which training and validation need, and predict.py names the best class"
        )
    if dropped.constraints:
        lines.append(
            "constraints are not kept while pruning and quantization-aware training change the weights: "
            f"{_listing(dropped.constraints)}; if the model relies on them, build with --trust-model, which "
            "quantizes after training only"
        )
    if dropped.penalties:
        lines.append(f"regularizers are no part of the loss in this training: {_listing(dropped.penalties)}")
    return tuple(lines)


def _listing(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before an error about what is in it; a config of another form is damaged."""
    try:
        yield
    except ModelError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    except _OF_DAMAGE as error:
        what = (
            "nested too deeply" if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
        )
        msg = f"{path}: its configuration is damaged ({what:.120}); save the model again"
        raise ModelError(msg) from error
