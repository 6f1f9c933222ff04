"""Run a float .tflite file on samples and see all of its activations, a batch at a time."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.histogram import Statistics
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_batch
from pipeline.progress import track
from pipeline.runtimes.quantization import dequantize, quantize_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pipeline.flatbuffer import TfliteModel
    from pipeline.samples import Samples

Activations = dict[int, "NDArray[np.float32]"]
"""Values by the tensor's index in the main subgraph: (n, ...), n samples, without the file's batch of 1."""

BATCH = 64
BATCH_BYTES = 64 << 20
"""Of all activations of a batch; the runtime keeps them at the same time."""

_RAW_INPUT = re.compile(r"^serving_default_input_(\d+)(:\d+)?$")


def observe(content: bytes, samples: Samples) -> Iterator[Activations]:
    """Yield the activations of a float model on samples, in order, a batch at a time.

    Activations are the float32 inputs and results of operators of the main subgraph. LiteRT computes them
    with its built-in kernels, because XNNPACK reuses the memory of tensors. The model may have a batch of 1:
    a larger one is set in memory if the first batch then has the same activations, up to rounding. Call this
    in a child process, because the runtime may crash.

    Args:
        content: the file; inputs in the order of ``samples``, or as the converter names them.
        samples: what to run it on.

    Raises:
        RuntimeError: LiteRT cannot run the file.
    """
    runner = _Runner(content)
    for place, chunk in enumerate(samples.chunks(runner.batch)):
        arrays = chunk.model_inputs()
        if place == 0:
            runner.try_batches(arrays)
        yield runner.run(arrays)


def statistics(content: bytes, samples: Samples) -> dict[int, Statistics]:
    """Return statistics of each activation of a float model on samples; see ``observe``."""
    found: dict[int, Statistics] = {}
    with track("observe activations", len(samples), "samples") as advance:
        for activations in observe(content, samples):
            for tensor, values in activations.items():
                found.setdefault(tensor, Statistics()).update(values)
            advance(len(values))
    return found


def run_file(content: bytes, samples: Samples) -> list[NDArray[Any]]:
    """Return the outputs of a float or an int8 model on samples as real numbers, (n, ...) each.

    LiteRT runs it as on a device, with XNNPACK and one sample at a time.

    Args:
        content: the file; inputs in the order of ``samples``.
        samples: what to run it on.

    Raises:
        RuntimeError: LiteRT cannot run the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    order = input_order(read_tflite(content))
    inputs.sort(key=lambda known: order.index(known["index"]))
    found: list[list[NDArray[Any]]] = [[] for _ in outputs]
    for arrays in _one_by_one(samples):
        interpreter.reset_all_variables()
        for known, values in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(known["index"], _stored(values, known))
        interpreter.invoke()
        for known, of_output in zip(outputs, found, strict=True):
            values = interpreter.get_tensor(known["index"])
            scale, zero_point = known["quantization"]
            of_output.append(dequantize(values, scale, zero_point) if scale else values)
    return [np.concatenate(of_output) for of_output in found]


def _one_by_one(samples: Samples) -> Iterator[list[NDArray[Any]]]:
    """Yield the inputs of each sample, (1, ...) each; many are read at once, because a file costs time."""
    for chunk in samples.chunks(BATCH):
        arrays = chunk.model_inputs()
        for row in range(len(chunk)):
            yield [array[row : row + 1] for array in arrays]


def _stored(values: NDArray[Any], known: dict[str, Any]) -> NDArray[Any]:
    """Return real values in the form of an interpreter's input."""
    scale, zero_point = known["quantization"]
    if scale:
        return quantize_inputs(values, scale, zero_point, known["dtype"])
    return values.astype(known["dtype"], copy=False)


def observed_tensors(flat: TfliteModel) -> tuple[int, ...]:
    """Return the tensors whose values ``observe`` yields."""
    graph = flat.subgraphs[0]
    computed = {index for operator in graph.operators for index in operator.outputs if index >= 0}
    return tuple(
        tensor.index
        for tensor in graph.tensors
        if tensor.dtype == "float32"
        and not tensor.is_constant
        and not tensor.is_variable
        and (tensor.index in computed or tensor.index in graph.inputs)
    )


class _Runner:
    """A float model in LiteRT that keeps all tensors, for one sample at a time or for a batch."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        flat = read_tflite(content)
        self._tensors = observed_tensors(flat)
        self._inputs = input_order(flat)
        self._shapes = {index: _sample_shape(flat.tensors[index].shape) for index in self._tensors}
        one = 4 * sum(flat.tensors[index].elements for index in self._tensors)
        self.batch = max(1, min(BATCH, BATCH_BYTES // max(one, 1)))
        self._single = _interpreter(content)
        self._batched: Any = None

    def run(self, arrays: list[NDArray[Any]]) -> Activations:
        """Return the activations of at most ``batch`` samples."""
        return self._one_by_one(arrays) if self._batched is None else self._at_once(arrays)

    def try_batches(self, arrays: list[NDArray[Any]]) -> None:
        """Infer in batches from now on, if that gives the same values for these samples, the first batch."""
        if len(arrays[0]) < self.batch or self.batch == 1:
            return
        self._batched = _interpreter(with_batch(self._content, self.batch), self._inputs, self.batch)
        if self._batched is None:
            return
        expected = self._one_by_one(arrays)
        try:
            found = self._at_once(arrays)
        except (RuntimeError, ValueError):
            found = {}
        if not all(index in found and agree(found[index], expected[index]) for index in self._tensors):
            self._batched = None

    def _one_by_one(self, arrays: list[NDArray[Any]]) -> Activations:
        found: dict[int, list[NDArray[np.float32]]] = {index: [] for index in self._tensors}
        for row in range(len(arrays[0])):
            self._invoke(self._single, [array[row : row + 1] for array in arrays])
            for index in self._tensors:
                found[index].append(self._single.get_tensor(index))
        count = len(arrays[0])
        return {
            index: np.stack(values).reshape(count, *self._shapes[index]) for index, values in found.items()
        }

    def _at_once(self, arrays: list[NDArray[Any]]) -> Activations:
        """Infer one batch; a smaller one is filled up with its last sample.

        Raises:
            ValueError: a tensor has no value for each sample.
        """
        count = len(arrays[0])
        filled = [array[np.minimum(np.arange(self.batch), count - 1)] for array in arrays]
        self._invoke(self._batched, filled)
        found = {}
        for index in self._tensors:
            values, shape = self._batched.get_tensor(index), self._shapes[index]
            if values.size == np.prod(shape, dtype=int):  # computed from constants alone
                found[index] = np.broadcast_to(values.reshape(shape), (count, *shape))
            else:
                found[index] = values.reshape(self.batch, *shape)[:count]
        return found

    def _invoke(self, interpreter: Any, arrays: list[NDArray[Any]]) -> None:
        interpreter.reset_all_variables()
        dtypes = {each["index"]: each["dtype"] for each in interpreter.get_input_details()}
        for index, array in zip(self._inputs, arrays, strict=True):
            interpreter.set_tensor(index, array.astype(dtypes[index], copy=False))
        interpreter.invoke()


def _interpreter(content: bytes, inputs: tuple[int, ...] = (), batch: int = 1) -> Any:
    """Return an interpreter of built-in kernels that keeps all tensors; None if it takes no batch."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(
        model_content=content,
        num_threads=len(os.sched_getaffinity(0)),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    for index in inputs:
        shape = next(each["shape"] for each in made.get_input_details() if each["index"] == index)
        made.resize_tensor_input(index, [batch, *shape[1:]])
    try:
        made.allocate_tensors()
    except (RuntimeError, ValueError):
        if not inputs:
            raise
        return None
    return made


def input_order(flat: TfliteModel) -> tuple[int, ...]:
    """Return the input tensors in the model's order, which the converter changes, as its names tell."""
    inputs = flat.subgraphs[0].inputs
    places = [_RAW_INPUT.match(flat.tensors[index].name) for index in inputs]
    if not all(places):
        return inputs
    by_place = {int(place[1]): index for place, index in zip(places, inputs, strict=True) if place}
    return tuple(by_place[place] for place in sorted(by_place))


def _sample_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if shape[:1] == (1,) else shape


def agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Return whether values are equal up to the order of additions."""
    finite = np.isfinite(other)
    scale = float(np.abs(other[finite]).max()) if finite.any() else 0.0
    return one.shape == other.shape and bool(
        np.allclose(one, other, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)
    )
