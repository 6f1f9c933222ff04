"""Prepare a model for pruning and quantization-aware training: the same function, in layers TF-MOT covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.describe import table_rows
from models.errors import ModelError
from models.graph import Graph, build_model
from models.keras3 import read_graph
from models.rewrites.constants import fold_constants
from models.rewrites.coverage import unsupported_by_qat, without_int8
from models.rewrites.covering import cover_scalings, fuse_relu
from models.rewrites.exponential import decompose_elu
from models.rewrites.folding import fold_scalings
from models.rewrites.local import normalise_layers
from models.rewrites.recurrent import unroll_recurrent
from models.rewrites.sequences import conv1d_to_conv2d

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import tf_keras
    from numpy.typing import NDArray

    from models.rewrites.edit import Rewrite

    Array = NDArray[Any]
    Arrays = list[Array]

__all__ = ["graph_of", "prepare", "random_inputs", "unsupported_by_qat", "without_int8"]

TOLERANCE = 1e-5  # maximum difference of the outputs, relative to the largest if that is above 1
_WIDE_TOLERANCE = 1e-3  # the same for random inputs, where rounding errors are larger
_LAST_BITS = 4  # also allowed: this many times the effect of the last bit of the inputs
_PASSES = (
    *(normalise_layers, fold_constants, decompose_elu, unroll_recurrent, conv1d_to_conv2d),
    *(fold_scalings, cover_scalings, fuse_relu),
)
_PROBES = 4  # random samples of each range on which the outputs are compared
_BATCH_VALUES = 1 << 22  # input values per comparison
_DEVIATION = 3.0  # standard deviation of random inputs
_OPEN_LENGTHS = {4: 96, 5: 16}  # replaces open dimensions of random inputs, by rank
_OPEN_LENGTH = 32  # the same for any other rank
_INDICES = 128  # upper limit of random integers that index no table


class Prepared(NamedTuple):
    """A prepared model.

    Attributes:
        model: computes what the given one does.
        rewrites: what was changed.
        made_of: the layer of the given model that each layer with a new name was made of.
    """

    model: tf_keras.Model
    rewrites: list[Rewrite]
    made_of: dict[str, str]


class _Probe(NamedTuple):
    """Samples of one range on which the outputs are compared."""

    name: str
    inputs: Arrays
    tolerance: float
    only_finite: bool = False  # whether to skip what overflows in the given model


def prepare(model: tf_keras.Model, samples: Sequence[Array] | None = None) -> Prepared:
    """Return a new model that computes the same and of which TF-MOT covers as much as it can.

    The given model is not touched (TF-MOT shares the layers it wraps). A layer without a better form stays as
    it is: ``unsupported_by_qat`` and ``without_int8`` name those of the prepared model.

    The outputs of both are compared on random inputs of several ranges, and on ``samples``.

    Args:
        model: a functional or Sequential tf_keras model.
        samples: for each input a few real values, (n, ...) as the model takes them.

    Raises:
        ModelError: the outputs would differ by more than rounding explains.
    """
    graph = graph_of(model)
    rewrites: list[Rewrite] = []
    for rewrite_graph in _PASSES:
        graph, done = rewrite_graph(graph)
        rewrites += done
    prepared = build_model(graph)
    _check_equal(model, prepared, samples)
    made_of = {layer.name: layer.made_of for layer in graph.layers.values() if layer.made_of}
    return Prepared(prepared, rewrites, made_of)


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


def _check_equal(model: tf_keras.Model, prepared: tf_keras.Model, samples: Sequence[Array] | None) -> None:
    probes = _probes(model, samples)
    inputs = [np.concatenate(arrays) for arrays in zip(*(probe.inputs for probe in probes), strict=True)]
    count = len(inputs[0])
    both = [np.concatenate(pair) for pair in zip(inputs, _nudged(model, inputs), strict=True)]
    ends = np.cumsum([len(probe.inputs[0]) for probe in probes])[:-1]
    for given, after in zip(_outputs(model, both), _outputs(prepared, inputs), strict=True):
        parts = (np.split(array, ends) for array in (given[:count], after, given[count:]))
        for probe, expected, got, near in zip(probes, *parts, strict=True):
            difference, allowed = _difference(probe, expected, got, near)
            if not difference <= allowed:
                msg = (
                    f"model {model.name!r}: preparing it would change its outputs by {difference:.1e}, "
                    f"more than {allowed:.1e}, on {probe.name}; please report the model's layers"
                )
                raise ModelError(msg)


def _difference(probe: _Probe, expected: Array, got: Array, near: Array) -> tuple[float, float]:
    """Return how far apart the outputs are, and how far they may be; ``near`` is of nudged inputs."""
    finite = np.isfinite(expected)
    allowed = probe.tolerance * max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    steady = finite & np.isfinite(near)
    allowed += _LAST_BITS * float(np.abs(near[steady] - expected[steady]).max(initial=0.0))
    differs = ~((expected == got) | (np.isnan(expected) & np.isnan(got)))
    if probe.only_finite:
        differs &= finite
    return float(np.abs(expected[differs] - got[differs]).max(initial=0.0)), allowed


def _probes(model: tf_keras.Model, samples: Sequence[Array] | None) -> list[_Probe]:
    """Return what the outputs are compared on: real samples, 0..1, both signs, and the data's own reach."""
    lengths = None if samples is None else [sample.shape[1:] for sample in samples]

    def draw(values: Callable[[int, Array], Array]) -> Arrays:
        drawn = random_inputs(model, _PROBES, lengths)
        floats = _takes_floats(model)
        return [
            values(index, array).astype(np.float32) if floats[index] else array
            for index, array in enumerate(drawn)
        ]

    rng = np.random.default_rng(1)
    spread = draw(lambda _, array: rng.normal(0, _DEVIATION, array.shape))
    probes = [
        _Probe("random inputs of 0..1", draw(lambda _, array: array), TOLERANCE),
        _Probe("random inputs around 0", spread, _WIDE_TOLERANCE, only_finite=True),
    ]
    if samples is not None:
        reach = [float(np.abs(sample[np.isfinite(sample)]).max(initial=0.0)) for sample in samples]
        across = draw(lambda index, array: rng.uniform(-reach[index], reach[index], array.shape))
        probes += [
            _Probe("random inputs of the data's range", across, _WIDE_TOLERANCE, only_finite=True),
            _Probe("samples of the data", list(samples), TOLERANCE),
        ]
    return probes


def _nudged(model: tf_keras.Model, inputs: Arrays) -> Arrays:
    """Return the inputs with the last bit of every float changed."""
    return [
        np.nextafter(array.astype(np.float32), np.float32(np.inf)) if is_float else array
        for array, is_float in zip(inputs, _takes_floats(model), strict=True)
    ]


def _takes_floats(model: tf_keras.Model) -> list[bool]:
    """Return whether each input takes any float; the others take integers, perhaps written as floats."""
    rows = table_rows(model)
    return [
        tensor.dtype.is_floating and name not in rows
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]


def random_inputs(
    model: tf_keras.Model, count: int, shapes: Sequence[tuple[int, ...]] | None = None
) -> Arrays:
    """Return ``count`` random samples for each input, in the model's order.

    Floats are in 0..1, integers are rows that every table which the input indexes has. Without ``shapes``, of
    one sample of each input, a length stands for each open dimension.
    """
    rng, rows = np.random.default_rng(0), table_rows(model)
    floats, samples = _takes_floats(model), []
    for index, (name, tensor) in enumerate(zip(model.input_names, model.inputs, strict=True)):
        length = _OPEN_LENGTHS.get(len(tensor.shape), _OPEN_LENGTH)
        own = tuple(known or length for known in tensor.shape[1:]) if shapes is None else shapes[index]
        shape = (count, *own)
        if floats[index]:
            samples.append(rng.random(shape, np.float32))
        else:
            whole = rng.integers(0, rows.get(name, _INDICES), shape)
            samples.append(whole.astype(tensor.dtype.as_numpy_dtype))
    return samples


def _outputs(model: tf_keras.Model, samples: Arrays) -> Arrays:
    batch = max(_PROBES, _BATCH_VALUES // max(1, sum(sample[0].size for sample in samples)))
    parts = []
    for start in range(0, len(samples[0]), batch):
        inputs = [
            sample[start : start + batch].astype(tensor.dtype.as_numpy_dtype)
            for sample, tensor in zip(samples, model.inputs, strict=True)
        ]
        values = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
        parts.append(
            [np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])]
        )
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
