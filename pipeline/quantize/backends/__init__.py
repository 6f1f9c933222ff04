"""Converters behind one function: ``convert(function, keeper, requested, samples) -> bytes of a .tflite``."""

from pipeline.quantize.backends import tflite_converter

BACKENDS = {
    "tflite-converter": tflite_converter.convert,
}
