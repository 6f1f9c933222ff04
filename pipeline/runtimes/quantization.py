"""Between real numbers and a tensor's integers: ``real = scale * (integer - zero point)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

    from pipeline.runtimes.session import ModelDetails, Session, Tensor


def quantize_inputs(
    inputs: NDArray[Any], scale: float, zero_point: int, dtype: DTypeLike
) -> NDArray[np.integer[Any]]:
    """Return ``inputs`` as the integers that LiteRT's QUANTIZE operator would feed the model.

    The operator (XNNPACK and builtin kernels of LiteRT 2.3 alike) multiplies by the float32 inverse of the
    scale and rounds half to even; this is bit-exact with it. The reference kernels divide and round
    half away from zero instead, so they differ where an input lies midway between two steps.

    Args:
        inputs: real numbers of any shape; taken as float32.
        scale: real width of one step.
        zero_point: the integer that stands for 0.0.
        dtype: int8, uint8 or int16.
    """
    limits = np.iinfo(dtype)
    steps = np.rint(np.asarray(inputs, np.float32) * (np.float32(1) / np.float32(scale)))
    integers: NDArray[np.integer[Any]] = np.clip(steps + np.float32(zero_point), limits.min, limits.max)
    return integers.astype(dtype)


def dequantize(outputs: NDArray[Any], scale: float, zero_point: int) -> NDArray[np.float32]:
    """Return a tensor's integers, of any shape, as the float32 numbers that they stand for."""
    return (outputs.astype(np.int32) - np.int32(zero_point)).astype(np.float32) * np.float32(scale)


def as_input(samples: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return real samples (n, ...) in the dtype of a model's input."""
    if tensor.scale is None or tensor.zero_point is None:
        return samples.astype(tensor.dtype, copy=False)
    return quantize_inputs(samples, tensor.scale, tensor.zero_point, tensor.dtype)


def tensor_inputs(values: Sequence[NDArray[Any]], details: ModelDetails) -> list[NDArray[Any]]:
    """Return real samples, for each input (n, ...), in the dtypes that a model takes.

    Raises:
        InputError: they are of another number of inputs than the model's.
    """
    if len(values) != len(details.inputs):
        msg = (
            f"the data has {len(values)} inputs and the model {len(details.inputs)}; give one array for each"
        )
        raise InputError(msg)
    return [as_input(array, tensor) for array, tensor in zip(values, details.inputs, strict=True)]


def as_real(outputs: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return a model's outputs (n, ...) as real numbers."""
    if tensor.scale is None or tensor.zero_point is None:
        return outputs
    return dequantize(outputs, tensor.scale, tensor.zero_point)


def real_outputs(outputs: Sequence[NDArray[Any]], details: ModelDetails) -> list[NDArray[Any]]:
    """Return a model's outputs, each (n, ...), as real numbers."""
    return [as_real(array, tensor) for array, tensor in zip(outputs, details.outputs, strict=True)]


def run_real(
    session: Session, values: Sequence[NDArray[Any]], *, batches: bool = False
) -> list[NDArray[Any]]:
    """Infer real samples, for each input (n, ...), and return real outputs; see ``Session.run``."""
    details = session.describe()
    return real_outputs(session.run(tensor_inputs(values, details), batches=batches), details)
