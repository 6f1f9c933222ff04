"""What the zoo holds: ``zoo:NAME`` stands for the settings in ``NAME.toml``, beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.task_rules import Task


@dataclass(frozen=True, kw_only=True)
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

ZOO = {
    "resnet8": Entry(
        description="MLPerf Tiny's residual network; what a build without a model takes",
        task="classification",
        input_shape=_IMAGE,
        data=_FASHION,
        metric="accuracy",
        score=0.9313,
    ),
    "lenet5": Entry(
        description="LeNet-5",
        task="classification",
        input_shape=_IMAGE,
        data=_FASHION,
        metric="accuracy",
        score=0.9028,
    ),
    "ds_cnn": Entry(
        description="the depthwise-separable network of keyword spotting, on images",
        task="classification",
        input_shape=_IMAGE,
        data=_FASHION,
        metric="accuracy",
        score=0.9029,
    ),
    "mobilenet_v1_025": Entry(
        description="MobileNetV1 at a quarter of its width",
        task="classification",
        input_shape=_IMAGE,
        data=_FASHION,
        metric="accuracy",
        score=0.9069,
    ),
    "mobilenet_v2_micro": Entry(
        description="seven narrow inverted residual blocks",
        task="classification",
        input_shape=_IMAGE,
        data=_FASHION,
        metric="accuracy",
        score=0.9158,
    ),
    "autoencoder": Entry(
        description="dense autoencoder; footwear is normal",
        task="anomaly",
        input_shape=_IMAGE,
        data=_FASHION,
        metric="AUC",
        score=0.9809,
    ),
    "conv1d_classifier": Entry(
        description="three 1-D convolutions",
        task="classification",
        input_shape=(24, 1),
        data=_POWER,
        metric="accuracy",
        score=0.9699,
    ),
    "lstm_classifier": Entry(
        description="one LSTM layer of 32 units",
        task="classification",
        input_shape=(24, 1),
        data=_POWER,
        metric="accuracy",
        score=0.9621,
    ),
    "gru_classifier": Entry(
        description="one GRU layer of 32 units",
        task="classification",
        input_shape=(25, 12),
        data="JapaneseVowels",
        metric="accuracy",
        score=0.9784,
    ),
}
