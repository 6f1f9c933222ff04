"""Run parts of a float .tflite file on many samples at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_batch
from pipeline.quantize.activations import agree, input_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import TfliteModel

BATCH_BYTES = 64 << 20
"""Of the activations of a batch."""


def run_batched(content: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
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
        if found is not None and all(agree(each[-1], one) for each, one in zip(found, last, strict=True)):
            return found
    every = [_invoke(single, [each[row] for each in inputs]) for row in range(count)]
    return [np.stack(values) for values in zip(*every, strict=True)]


def ordered_inputs(model: TfliteModel, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return samples, (n, ...) each, as a converter's float file takes them: (n, *shape), in its order."""
    by_tensor = dict(zip(input_order(model), inputs, strict=True))
    return [
        by_tensor[tensor.index].astype(tensor.dtype, copy=False).reshape(-1, *tensor.shape)
        for tensor in model.inputs
    ]


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


def _activation_bytes(model: TfliteModel) -> int:
    computed = {index for operator in model.operators for index in operator.outputs}
    return max(1, 4 * sum(model.tensors[index].elements for index in computed))
