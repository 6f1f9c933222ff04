"""Golden vectors for generated code: raw samples made of a few values, and what ``predict.py`` makes of them.

A release holds the quantized golden tensors, not the raw samples they came from. So that each element of
however large a tensor is checked bit for bit and the test stays small, a vector is a rule and a hash: element
``n``, counted over all samples, is ``values[n % len(values)]``, and the bits of all results are hashed. The
first results stand in the test as well, to say what is different.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.device.predict import to_input, to_real
from deploy.device.resizing import resized
from deploy.device.samples import MODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.manifest import Input, Output

SHOWN = 64
PALETTE = 127  # a prime, so that each value meets each channel
BYTES = 257  # likewise; value 256 is written as byte 0
GOLDEN_SAMPLES = 4
LARGEST_GOLDEN = 1024
FLOAT32_RANGE = (-3e38, 3e38)
MAX_CHANNELS = 1024
PICTURES = ((37, 23), (5, 3), (64, 7))


@dataclass(frozen=True)
class Vector:
    """A rule for tensors and what becomes of them.

    Attributes:
        values: the distinct inputs, at most 257.
        runs: how many tensors in a row are made of them.
        first: the first results.
        hash: ``hash_of`` all results.
    """

    values: NDArray[Any]
    runs: int
    first: NDArray[Any]
    hash: int


@dataclass(frozen=True)
class Golden:
    """Golden outputs: (k, size) as stored and as real numbers, and the class each answers, or -1."""

    stored: NDArray[Any]
    real: NDArray[Any]
    classes: tuple[int, ...]


def preprocessing_vector(tensor: Input) -> Vector:
    """Raw values that reach all of the tensor's range, both its ends, and halves between two steps."""
    if tensor.preprocessing.indices:
        top = min(int(np.iinfo(tensor.dtype).max) if _is_integer(tensor.dtype) else 126, 126)
        return _preprocessed(tensor, np.arange(PALETTE).clip(0, top).astype(_index_type(tensor)))
    return _preprocessed(tensor, _palette(tensor))


def bytes_vector(tensor: Input) -> Vector:
    """Every byte, in every channel."""
    return _preprocessed(tensor, np.arange(BYTES).astype(np.uint8))


def picture_vector(tensor: Input) -> tuple[tuple[tuple[int, int], int], ...]:
    """Return (width, height) of pictures, and ``hash_of`` what they are resized to.

    Pixel ``n`` is red, green and blue in the bits of ``n * 40503``.
    """
    from PIL import Image

    resize, mode = tensor.preprocessing.model_dump(mode="json")["resize"], MODES[tensor.shape[-1]]
    found = []
    for width, height in PICTURES:
        bits = np.arange(width * height, dtype=np.int64) * 40503
        colours = np.stack([(bits >> shift) & 0xFF for shift in (16, 8, 0)], axis=-1).astype(np.uint8)
        picture = Image.fromarray(colours.reshape(height, width, 3)).convert(mode)
        pixels = np.asarray(picture).reshape(height, width, tensor.shape[-1])
        found.append(((width, height), hash_of(resized(pixels, resize))))
    return tuple(found)


def dequantizing_vector(tensor: Output) -> Vector:
    """Every value that the quantized tensor may hold, or 257 of them over its range."""
    limits = np.iinfo(tensor.dtype)
    count = min(limits.max - limits.min + 1, BYTES)
    stored = np.linspace(limits.min, limits.max, count).astype(tensor.dtype)
    runs = max(1, math.ceil(count / math.prod(tensor.shape[1:])))
    samples = _samples(stored, tensor.shape[1:], runs)
    real = np.stack([to_real(sample, tensor.model_dump(mode="json")) for sample in samples])
    return Vector(stored, runs, real.reshape(-1)[:SHOWN], hash_of(real))


def golden_outputs(tensor: Output, stored: NDArray[Any]) -> Golden | None:
    """Return the first golden outputs of small tensors.

    Args:
        tensor: the output.
        stored: (n, ...) as the model gave them.
    """
    if not len(stored) or math.prod(tensor.shape[1:]) > LARGEST_GOLDEN or not np.isfinite(stored).all():
        return None
    taken = stored[:GOLDEN_SAMPLES].reshape(min(len(stored), GOLDEN_SAMPLES), -1)
    contract = tensor.model_dump(mode="json")
    real = np.stack([to_real(sample, contract) for sample in taken])
    return Golden(taken, real, tuple(_class_of(tensor, values) for values in real))


def hash_of(values: NDArray[Any]) -> int:
    """Return a 64-bit hash of an array: FNV-1a with the bits of an element in the place of a byte."""
    code = 0xCBF29CE484222325
    for bits in values.reshape(-1).view(f"u{values.dtype.itemsize}").tolist():
        code = ((code ^ bits) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return code


def _preprocessed(tensor: Input, values: NDArray[Any]) -> Vector:
    shape = tensor.shape[1:]
    size, channels = math.prod(shape), shape[-1] if shape else 1
    runs = max(2, math.ceil(len(values) * min(channels, MAX_CHANNELS) / size))
    contract = tensor.model_dump(mode="json")
    results = np.stack([to_input(sample, contract) for sample in _samples(values, shape, runs)])
    return Vector(values, runs, results.reshape(-1)[:SHOWN], hash_of(results))


def _samples(values: NDArray[Any], shape: Sequence[int], runs: int) -> NDArray[Any]:
    return np.resize(values, (runs, *shape))


def _palette(tensor: Input) -> NDArray[np.float32]:
    """Raw values (127) for up to eight channels: their range with some beyond, halves between steps."""
    steps = tensor.preprocessing
    channels = max(len(steps.scale), len(steps.offset))
    chosen = np.linspace(0, channels - 1, min(channels, 8)).astype(int)
    scale = np.resize(np.asarray(steps.scale, np.float64), channels)[chosen]
    offset = np.resize(np.asarray(steps.offset, np.float64), channels)[chosen]
    scale = np.where(scale == 0, 1, scale)
    truncated = tensor.scale is None and _is_integer(tensor.dtype)
    if tensor.scale is None:
        low, high, step = (0.0, 100.0, 0.5) if truncated else (-4.0, 4.0, 1 / 64)
    else:
        limits = np.iinfo(tensor.dtype)
        low, high = ((limit - tensor.zero_point) * tensor.scale for limit in (limits.min, limits.max))
        step = tensor.scale
    real = np.linspace(low, high, PALETTE - 7)
    real[1::3] = (np.floor(real[1::3] / step) + 0.5) * step
    if not truncated:  # conversion beyond an integer's range differs between machines
        real[:: PALETTE // 8] *= 1.5
    lanes = np.arange(len(real)) % len(chosen)
    raw = (real - offset[lanes]) / scale[lanes]
    ends = raw[:7] if truncated else np.array([0.0, -0.0, 1.0, 255.0, -1e9, 1e9, 1e-6])
    with np.errstate(over="ignore"):
        values: NDArray[np.float32] = np.concatenate([raw, ends]).astype(np.float32)
    return np.clip(values, *FLOAT32_RANGE)


def _class_of(tensor: Output, real: NDArray[Any]) -> int:
    if tensor.task == "classification":
        return int(real.argmax())
    if tensor.task == "binary" and real.size == 1:
        return int(real[0] > (0 if tensor.logits else 0.5))
    return -1


def _is_integer(dtype: str) -> bool:
    return np.dtype(dtype).kind in "iu"


def _index_type(tensor: Input) -> str:
    return "int64" if tensor.dtype == "int64" else "int32"
