"""Settings of a training: of a compression step, or of quantization-aware training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.sections import Section

Count = Annotated[int, Field(ge=1, lt=2**31)]


class AugmentationConfig(Section):
    """Random variations of the training samples of a batch; none by default.

    Attributes:
        mirror: how half of the images are mirrored.
        shift: up to how many pixels images are moved in each direction; their border is repeated.
        noise: standard deviation of normal noise, as a share of that of the batch.
    """

    mirror: Literal["none", "horizontal", "vertical", "both"] = "none"
    shift: Annotated[int, Field(ge=0)] = 0
    noise: Annotated[float, Field(ge=0)] = 0.0

    @property
    def moves(self) -> bool:
        """Whether positions change."""
        return self.mirror != "none" or self.shift > 0

    @property
    def is_on(self) -> bool:
        """Whether anything varies."""
        return self.moves or self.noise > 0


class TrainingConfig(Section):
    """Fine-tuning settings of a step.

    Attributes:
        epochs: passes over the samples.
        min_steps: minimum number of batches; few samples are passed over more often than ``epochs``, because
            fewer steps do not recover what compression and rounding lose.
        optimizer: Adam, stochastic gradient descent with Nesterov momentum, or RMSprop.
        momentum: of "sgd".
        learning_rate: the highest.
        decay: how the learning rate falls after the warm-up: along a cosine or a line to zero, or not at all.
        warm_up: share of the steps in which the learning rate rises from zero.
        weight_decay: share of the weights that each step takes away, times its learning rate and apart from
            the gradients (AdamW: Loshchilov and Hutter, 2019, arXiv:1711.05101); of kernels and embeddings
            only, not of biases and normalizations.
        gradient_clip: longer gradients of all weights together are scaled to this norm; None: never.
        distillation: share of the loss that compares with the teacher's outputs; the rest compares with the
            labels. "auto" takes the one that was chosen together with the teacher.
        temperature: that classes of teacher and student are compared at; above 1, the less probable ones
            count more.
        label_smoothing: share of each label that is spread over all classes.
        patience: stop after this many epochs without a better score on the held-out samples; None: never.
        frozen_norms: share of the epochs, at the end, in which the statistics and weights of batch
            normalizations stay as they are.
        samples: maximum number of training samples; None: all.
        augmentation: random variations of the samples.
    """

    epochs: Count = 3
    min_steps: Count = 500
    batch_size: Count = 32
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    distillation: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    temperature: Annotated[float, Field(ge=0.1, le=100)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count | None = None
    frozen_norms: Annotated[float, Field(ge=0, le=1)] = 0.0
    samples: Count | None = None
    augmentation: AugmentationConfig = AugmentationConfig()

    @model_validator(mode="after")
    def _check_effects(self) -> TrainingConfig:
        """Refuse settings that others leave without effect."""
        msg = ""
        if "momentum" in self.model_fields_set and self.optimizer != "sgd":
            msg = f'momentum is that of optimizer = "sgd", not of "{self.optimizer}"; leave it out'
        elif self.weight_decay * self.learning_rate >= 1:
            msg = "weight_decay times learning_rate has to be below 1, or a step turns all weights round"
        elif self.label_smoothing and self.distillation == 1:
            msg = "label_smoothing changes labels, and distillation = 1 uses none; leave one out"
        elif self.temperature != 1 and self.distillation == 0:
            msg = "temperature is that of the teacher, whom distillation = 0 leaves out; leave one out"
        if msg:
            raise ValueError(msg)
        return self

    def on_labels(self) -> TrainingConfig:
        """Return the same training without distillation."""
        return self.model_copy(update={"distillation": 0.0, "temperature": 1.0})
