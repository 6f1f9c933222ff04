"""Run .tflite files on samples in this process, and compare outputs with those of the float model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_batch
from pipeline.quantize.activations import input_order
from pipeline.runtimes.quantization import dequantize, quantize_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Tensor, TfliteModel

BATCH_BYTES = 64 << 20
"""Of the activations of a batch."""


def run_file(content: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a file on samples with LiteRT, many at a time where that gives the same values.

    Call this in a child process, because the runtime may crash.

    Args:
        content: the file.
        inputs: (n, *shape of the tensor), in the order of the file's inputs and in their dtypes.

    Returns:
        (n, *shape) for each output.

    Raises:
        RuntimeError: LiteRT cannot run the file.
    """
    model, count = read_tflite(content), len(inputs[0])
    single = _interpreter(content)
    single.allocate_tensors()
    last = _invoke(single, [each[-1] for each in inputs])
    if count > 1 and all(tensor.shape[:1] == (1,) for tensor in (*model.inputs, *model.outputs)):
        size = max(1, min(count, BATCH_BYTES // _activation_bytes(model)))
        found = _in_batches(content, inputs, size)
        if found is not None and all(_agree(each[-1], one) for each, one in zip(found, last, strict=True)):
            return found
    every = [_invoke(single, [each[row] for each in inputs]) for row in range(count)]
    return [np.stack(values) for values in zip(*every, strict=True)]


def run_real(content: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the outputs of a converter's file as real numbers, by name, for real samples; see ``run_file``.

    Args:
        content: the file.
        inputs: (n, ...), in the order of the model that the file was converted from.
    """
    model = read_tflite(content)
    found = run_file(content, ordered_inputs(model, inputs))
    named = sorted(zip(model.outputs, found, strict=True), key=lambda each: each[0].name)
    return [_real(values, tensor) for tensor, values in named]


def ordered_inputs(model: TfliteModel, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return real samples, (n, ...) each, as a converter's file takes them: (n, *shape), in its order."""
    by_tensor = dict(zip(input_order(model), inputs, strict=True))
    return [_stored(by_tensor[tensor.index], tensor) for tensor in model.inputs]


def output_errors(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return each sample's squared error as a share of the mean square of the expected values.

    Args:
        expected: outputs (n, ...), of the float model.
        found: outputs of the int8 model as real numbers, likewise.

    Returns:
        Float64 (n,): the mean of all outputs; its own mean over samples is 1 / SQNR.
    """
    errors = np.zeros(len(expected[0]))
    for real, other in zip(expected, found, strict=True):
        wide = real.reshape(len(real), -1).astype(np.float64)
        difference = other.reshape(len(other), -1) - wide
        power = max(float(np.mean(wide**2)), np.finfo(np.float32).tiny)
        errors += np.mean(difference**2, axis=1) / power / len(expected)
    return errors


def sqnr_db(errors: NDArray[np.float64]) -> float:
    """Return the signal-to-quantization-noise ratio of ``output_errors`` in dB."""
    return float(-10 * np.log10(max(float(errors.mean()), 1e-20)))


def _in_batches(content: bytes, inputs: Sequence[NDArray[Any]], size: int) -> list[NDArray[Any]] | None:
    """Return the outputs (n, 1, ...) of samples (n, 1, ...); None if the file takes no such batches."""
    interpreter = _interpreter(with_batch(content, size))
    try:
        for known, each in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.resize_tensor_input(known["index"], (size, *each.shape[2:]))
        interpreter.allocate_tensors()
        if any(known["shape"][:1] != [size] for known in interpreter.get_output_details()):
            return None
        parts = []
        for start in range(0, len(inputs[0]), size):
            rows = np.minimum(np.arange(start, start + size), len(inputs[0]) - 1)
            found = _invoke(interpreter, [each[rows, 0] for each in inputs])
            parts.append([each[: len(inputs[0]) - start, None] for each in found])
    except (RuntimeError, ValueError):
        return None
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))


def _invoke(interpreter: Any, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    for known, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(known["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(known["index"]) for known in interpreter.get_output_details()]


def _agree(found: NDArray[Any], one: NDArray[Any]) -> bool:
    """Whether a sample has the same values in a batch as alone, up to the order of additions."""
    scale = float(np.abs(one).max(initial=0.0))
    return found.shape == one.shape and bool(np.allclose(found, one, rtol=1e-4, atol=1e-5 * scale))


def _activation_bytes(model: TfliteModel) -> int:
    computed = {index for operator in model.operators for index in operator.outputs}
    return max(1, 4 * sum(model.tensors[index].elements for index in computed))


def _stored(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return real values (n, ...) as a tensor stores them, (n, *shape)."""
    if tensor.scales:
        values = quantize_inputs(values, tensor.scales[0], tensor.zero_points[0], tensor.dtype)
    return values.astype(tensor.dtype, copy=False).reshape(len(values), *tensor.shape)


def _real(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    return dequantize(values, tensor.scales[0], tensor.zero_points[0]) if tensor.scales else values
