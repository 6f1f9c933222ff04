"""Converters from TensorFlow to .tflite: one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.quantize.backends import tflite_converter

if TYPE_CHECKING:
    from collections.abc import Callable


class Backend(NamedTuple):
    """A converter.

    Attributes:
        convert: ``(function, keeper, requested, samples) -> bytes`` of a .tflite, from a function that is
            float or has fake quantization.
        quantize: ``(content, ranges, requested) -> bytes`` of a .tflite of integers, from a float one and the
            ranges of its activations.
    """

    convert: Callable[..., bytes]
    quantize: Callable[..., bytes]


BACKENDS = {
    "tflite-converter": Backend(tflite_converter.convert, tflite_converter.quantize),
}
