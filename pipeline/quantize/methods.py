"""Quantization methods: whether the model is trained for it first, and how it is converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.quantize.convert import convert_quantized, convert_unquantized
from pipeline.quantize.qat import QatConfig, train_qat
from pipeline.sections import MethodSection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.artifacts import KerasModel, QuantizedModel


class PtqConfig(MethodSection):
    """Post-training quantization: the converter takes the ranges from the calibration samples."""

    method: str = "ptq"


class FloatConfig(MethodSection):
    """No quantization: a float32 release."""

    method: str = "none"


class Quantization(NamedTuple):
    """A quantization method.

    Attributes:
        train: the stage that trains the model and its ranges, of the form of a compression step; None where
            the conversion needs no more than the calibration samples.
        convert: the stage that makes the .tflite.
        config: the settings of both in ``[quantize]``.
    """

    train: Callable[..., KerasModel] | None
    convert: Callable[..., QuantizedModel]
    config: type[MethodSection]


QUANTIZE = {
    "qat": Quantization(train_qat, convert_quantized, QatConfig),
    "ptq": Quantization(None, convert_quantized, PtqConfig),
    "none": Quantization(None, convert_unquantized, FloatConfig),
}
