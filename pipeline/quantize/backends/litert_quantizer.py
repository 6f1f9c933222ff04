"""Google's litert-quantizer, for float .tflite files; TFLiteConverter makes these."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StageError
from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.flatbuffer.edit import with_unique_names, with_unread_quantized
from pipeline.formats import has_integers
from pipeline.quantize.backends import tflite_converter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.flatbuffer.edit import Range
    from pipeline.formats import Format
    from pipeline.samples import Samples

STAGE = "convert"
NAME = "litert-quantizer"
FIX = 'set [convert] backend = "tflite-converter"'
HINT = "or allow another format: [convert] formats"
NAMED = 3  # operators in an error
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


def convert(function: Any, keeper: Any, requested: Format, samples: Samples | None) -> bytes:
    """Convert a concrete function to the bytes of a float .tflite file with TFLiteConverter.

    Args:
        function: as ``tflite_converter.convert``.
        keeper: likewise.
        requested: the format, without integers.
        samples: not used.

    Raises:
        StageError: the format has integers, whose ranges would be those of trained fake quantization.
    """
    if has_integers(requested):
        cause = f"{NAME} does not convert fake quantization"
        raise StageError(STAGE, cause, f'{FIX}, or [quantize] method = "ptq"')
    return tflite_converter.convert(function, keeper, requested, samples)


def quantize(content: bytes, ranges: Iterable[Range], requested: Format) -> bytes:
    """Quantize a float .tflite file with ranges: int8 activations, weights with a scale for each channel.

    Args:
        content: the file.
        ranges: of its activations, which take the place of litert-quantizer's own calibration.
        requested: "int8"; or with float operators, whose input and output are float, too.

    Raises:
        StageError: it cannot quantize the file, or "int8" is requested and it leaves an operator in float.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the interpreter that looks up the names of tensors
        made = with_unread_quantized(_quantized(with_unique_names(content), ranges, requested))
    if requested == "int8":
        _reject_floats(made)
    return made


def _reject_floats(content: bytes) -> None:
    """Name the operators that are left in float, without the conversions before and after them."""
    left = float_operators(read_tflite(content, allow_custom=None))
    found = [each for each in left if each.name not in CONVERSIONS] or left
    if found:
        named = [f"{each.name} ({each.tensor:.60})" for each in found[:NAMED]]
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise StageError(STAGE, f"{NAME} leaves in float: {', '.join(named)}{more}; {FIX}", HINT)


def _quantized(content: bytes, ranges: Iterable[Range], requested: Format) -> bytes:
    from litert_quantizer import quantizer, recipe
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import TFLOperationName

    graphs = read_tflite(content, allow_custom=None).subgraphs
    calibrated = {
        graphs[each.subgraph].tensors[each.tensor].name: {
            "min": np.array([[each.low]], np.float32),
            "max": np.array([[each.high]], np.float32),
        }
        for each in ranges
    }
    try:
        quantizing = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        if requested != "int8":
            for port in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
                quantizing.update_quantization_recipe(".*", port, None, AlgorithmName.NO_QUANTIZE)
        done = quantizing.quantize(calibrated, enable_progress_bar=False, enable_progress_report=False)
    except (RuntimeError, ValueError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise StageError(STAGE, f"{NAME} cannot quantize this model: {cause:.200}; {FIX}", HINT) from error
    return bytes(done.quantized_model or b"")
