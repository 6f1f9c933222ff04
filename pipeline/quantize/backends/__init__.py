"""Converters to .tflite: one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.quantize.backends import litert_quantizer, tflite_converter

if TYPE_CHECKING:
    from collections.abc import Callable


class Backend(NamedTuple):
    """A converter.

    Attributes:
        convert: ``(function, keeper, requested, samples) -> bytes`` of a .tflite, from a function that is
            float or has fake quantization.
        quantize: ``(content, ranges, requested) -> bytes`` of a .tflite of integers, from a float one and the
            ranges of its activations.
        distribution: the package that quantizes.
        takes_trained: whether ``convert`` makes integers of fake quantization.
    """

    convert: Callable[..., bytes]
    quantize: Callable[..., bytes]
    distribution: str = "tensorflow"
    takes_trained: bool = True


BACKENDS = {
    "tflite-converter": Backend(tflite_converter.convert, tflite_converter.quantize),
    litert_quantizer.NAME: Backend(
        litert_quantizer.convert, litert_quantizer.quantize, "litert-quantizer", takes_trained=False
    ),
}
