"""Catalogue of the zoo: ``zoo:NAME`` means the settings in ``NAME.toml``, next to the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.task_rules import Task


@dataclass(frozen=True)
class Entry:
    """One reference model.

    Attributes:
        input_shape: of one sample.
        data: the data set's name.
        metric: what ``score`` is.
        score: of the float model on the whole test set, 0..1.
    """

    description: str
    task: Task
    input_shape: tuple[int, ...]
    data: str
    metric: str
    score: float


_IMAGE = (28, 28, 1)
_FASHION = "Fashion-MNIST"
_POWER = "ItalyPowerDemand"
_DEFAULT = "MLPerf Tiny's residual network; the default model of a build"
_KEYWORDS = "the depthwise-separable network for keyword spotting, on images"

ZOO = {
    "resnet8": Entry(_DEFAULT, "classification", _IMAGE, _FASHION, "accuracy", 0.9313),
    "lenet5": Entry("LeNet-5", "classification", _IMAGE, _FASHION, "accuracy", 0.9028),
    "ds_cnn": Entry(_KEYWORDS, "classification", _IMAGE, _FASHION, "accuracy", 0.9029),
    "mobilenet_v1_025": Entry(
        "MobileNetV1 with width 0.25", "classification", _IMAGE, _FASHION, "accuracy", 0.9069
    ),
    "mobilenet_v2_micro": Entry(
        "seven narrow inverted residual blocks", "classification", _IMAGE, _FASHION, "accuracy", 0.9158
    ),
    "autoencoder": Entry("dense autoencoder; footwear is normal", "anomaly", _IMAGE, _FASHION, "AUC", 0.9809),
    "conv1d_classifier": Entry(
        "three 1-D convolutions", "classification", (24, 1), _POWER, "accuracy", 0.9699
    ),
    "lstm_classifier": Entry(
        "one LSTM layer of 32 units", "classification", (24, 1), _POWER, "accuracy", 0.9621
    ),
    "gru_classifier": Entry(
        "one GRU layer of 32 units", "classification", (25, 12), "JapaneseVowels", "accuracy", 0.9784
    ),
}
