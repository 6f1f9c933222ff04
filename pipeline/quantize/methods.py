"""Quantization methods: how the model is trained and converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import field_validator

from pipeline.quantize.convert import convert_quantized, convert_unquantized
from pipeline.quantize.qat import QatConfig, train_qat
from pipeline.quantize.ranges import find_ranges
from pipeline.quantize.repair import AUTO, repair_model
from pipeline.sections import MethodSection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.artifacts import KerasModel, PreparedModel, QuantizedModel, Ranges


MAX_STEPS = 48
"""Of unrolled recurrent layers together: time and memory of the training grow with them."""


class PtqConfig(MethodSection):
    """Post-training quantization: the ranges are those of the calibration samples.

    Attributes:
        repairs: without training, before the conversion; "auto" keeps those that measurably help.
    """

    method: str = "ptq"
    repairs: tuple[Literal["auto", "equalization", "bias-correction", "rounding"], ...] = ("auto",)

    @field_validator("repairs")
    @classmethod
    def _check_auto(cls, repairs: tuple[str, ...]) -> tuple[str, ...]:
        if AUTO in repairs and len(repairs) > 1:
            msg = '"auto" stands alone; leave out the others'
            raise ValueError(msg)
        return repairs


class AutoConfig(QatConfig, PtqConfig):
    """Quantization-aware training, compared with post-training quantization; the better model is released."""

    method: str = "auto"


class FloatConfig(MethodSection):
    """No quantization: a float32 release."""

    method: str = "none"


class Quantization(NamedTuple):
    """A quantization method.

    Attributes:
        train: the stage that trains the model and its ranges, called like a compression step; None if the
            conversion needs only the calibration samples.
        calibrate: the stage that finds the ranges; None if they are trained, or there are none.
        repair: the stage that changes weights without training so that less is lost; None as ``calibrate``.
        convert: the stage that writes the .tflite file.
        config: the settings of both stages, in ``[quantize]``.
        beside: another method, whose results for the same and for the uncompressed weights are compared with
            this one's; "" if there is none.
        max_unrolled_steps: of recurrent layers, above which only the other method is used; None: any.
    """

    train: Callable[..., KerasModel] | None
    calibrate: Callable[..., Ranges] | None
    repair: Callable[..., Ranges] | None
    convert: Callable[..., QuantizedModel]
    config: type[MethodSection]
    beside: str = ""
    max_unrolled_steps: int | None = None

    def skips_training(self, model: PreparedModel) -> str:
        """Return why the model is not trained, but quantized by the other method alone; "" if it is."""
        if self.max_unrolled_steps is None or model.unrolled_steps <= self.max_unrolled_steps:
            return ""
        return (
            f"{', '.join(model.unrolled)}: {model.unrolled_steps} unrolled steps, and quantization-aware "
            f"training of more than {self.max_unrolled_steps} takes minutes and quantizes nothing inside "
            "them; it is left out, --method qat insists on it"
        )


QUANTIZE = {
    "auto": Quantization(
        train_qat, None, None, convert_quantized, AutoConfig, beside="ptq", max_unrolled_steps=MAX_STEPS
    ),
    "qat": Quantization(train_qat, None, None, convert_quantized, QatConfig),
    "ptq": Quantization(None, find_ranges, repair_model, convert_quantized, PtqConfig),
    "none": Quantization(None, None, None, convert_unquantized, FloatConfig),
}
