"""Prepare a model for pruning and quantization-aware training: the same function, in layers TF-MOT covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ModelError
from models.graph import Graph, build_model
from models.keras3 import read_graph
from models.rewrites.coverage import unsupported_by_qat, without_int8
from models.rewrites.covering import cover_rectifiers, cover_scalings
from models.rewrites.exponential import spell_exponentials
from models.rewrites.folding import fold_scalings
from models.rewrites.local import normalise_layers
from models.rewrites.recurrent import unroll_recurrent
from models.rewrites.sequences import lift_sequences

if TYPE_CHECKING:
    import tf_keras
    from numpy.typing import NDArray

    from models.rewrites.edit import Rewrite

    Arrays = list[NDArray[Any]]

__all__ = ["graph_of", "prepare", "random_inputs", "unsupported_by_qat", "without_int8"]

TOLERANCE = 1e-5  # of the outputs, relative to the largest of them where that is above 1
_PASSES = (
    *(normalise_layers, spell_exponentials, unroll_recurrent, lift_sequences),
    *(fold_scalings, cover_scalings, cover_rectifiers),
)
_PROBES = 4  # random samples on which the outputs are compared
_OPEN_LENGTHS = {4: 96, 5: 16}  # what stands for an open dimension then, by the number of dimensions
_OPEN_LENGTH = 32  # of any other
_INDICES = 128  # what integers that no table is indexed with stay below


def prepare(model: tf_keras.Model) -> tuple[tf_keras.Model, list[Rewrite]]:
    """Return a new model that computes the same and of which TF-MOT covers as much as it can.

    The given model is not touched (TF-MOT shares the layers it wraps). A layer without a better form stays as
    it is: ``unsupported_by_qat`` and ``without_int8`` name those of the prepared model.

    Args:
        model: a functional or Sequential tf_keras model.

    Returns:
        The model, and what was rewritten in it.

    Raises:
        ModelError: the outputs would differ by more than ``TOLERANCE``.
    """
    graph = graph_of(model)
    rewrites: list[Rewrite] = []
    for rewrite_graph in _PASSES:
        graph, done = rewrite_graph(graph)
        rewrites += done
    prepared = build_model(graph)
    _check_equal(model, prepared)
    return prepared, rewrites


def graph_of(model: tf_keras.Model) -> Graph:
    """Return a tf_keras model as plain data, nested models laid out flat.

    Raises:
        ModelError: it holds a layer that is not supported.
    """
    weights: dict[tuple[str, ...], tuple[NDArray[Any], ...]] = {}

    def collect(part: Any, place: tuple[str, ...]) -> None:
        for layer in part.layers:
            here = (*place, layer.name)
            inner = getattr(layer, "layer", layer)  # of a TimeDistributed
            if hasattr(inner, "layers"):
                collect(inner, here)
            else:
                weights[here] = tuple(layer.get_weights())

    collect(model, ())
    kind = "Sequential" if type(model).__name__ == "Sequential" else "Functional"
    return read_graph({"class_name": kind, "config": model.get_config()}, weights, is_keras3=False)


def _check_equal(model: tf_keras.Model, prepared: tf_keras.Model) -> None:
    samples = random_inputs(model, _PROBES)
    expected, got = (_outputs(candidate, samples) for candidate in (model, prepared))
    for before, after in zip(expected, got, strict=True):
        finite = before[np.isfinite(before)]
        allowed = TOLERANCE * max(1.0, float(np.abs(finite).max(initial=0.0)))
        differs = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        difference = float(np.abs(before[differs] - after[differs]).max(initial=0.0))
        if not difference <= allowed:
            msg = (
                f"model {model.name!r}: preparing it would change its outputs by {difference:.1e}, "
                f"more than {allowed:.1e}; please report the model's layers"
            )
            raise ModelError(msg)


def random_inputs(model: tf_keras.Model, count: int) -> Arrays:
    """Return ``count`` random samples for each input, in the model's order.

    Floats are in 0..1, integers are rows that every table which the input indexes has. A length stands for
    each open dimension.
    """
    rng, rows = np.random.default_rng(0), _table_rows(model)
    samples: Arrays = []
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        length = _OPEN_LENGTHS.get(len(tensor.shape), _OPEN_LENGTH)
        shape = (count, *(known or length for known in tensor.shape[1:]))
        if tensor.dtype.is_floating and name not in rows:
            samples.append(rng.random(shape, np.float32))
        else:
            whole = rng.integers(0, rows.get(name, _INDICES), shape)
            samples.append(whole.astype(tensor.dtype.as_numpy_dtype))
    return samples


def _table_rows(model: tf_keras.Model) -> dict[str, int]:
    """Return the number of rows of the smallest table that each input indexes, by the input's name."""
    found: dict[str, int] = {}
    for table in model.layers:
        if type(table).__name__ != "Embedding":
            continue
        waiting, seen = [table], set()
        while waiting:
            layer = waiting.pop()
            if layer.name in seen:
                continue
            seen.add(layer.name)
            if type(layer).__name__ == "InputLayer":
                found[layer.name] = min(found.get(layer.name, table.input_dim), table.input_dim)
            waiting += [parent.layer for node in layer.inbound_nodes for parent in node.parent_nodes]
    return found


def _outputs(model: tf_keras.Model, samples: Arrays) -> Arrays:
    inputs = [
        sample.astype(tensor.dtype.as_numpy_dtype)
        for sample, tensor in zip(samples, model.inputs, strict=True)
    ]
    values = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
    return [np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])]
