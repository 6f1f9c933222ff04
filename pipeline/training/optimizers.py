"""The optimizer of a training, and the course of its learning rate."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from pipeline.training_config import TrainingConfig

_DECAYED = ("kernel", "embeddings")


def make_optimizer(config: TrainingConfig, steps: int, network: Any) -> Any:
    """Return the tf_keras optimizer of a training.

    Args:
        steps: of the whole training.
        network: whose kernels and embeddings decay, where weights do; wrapped layers count.
    """
    import tf_keras

    rate, kinds = _learning_rate(config, steps), tf_keras.optimizers
    options = {"weight_decay": config.weight_decay or None, "global_clipnorm": config.gradient_clip}
    if config.optimizer == "sgd":
        options |= {"momentum": config.momentum, "nesterov": config.momentum > 0}
    kind = {"adam": kinds.Adam, "sgd": kinds.SGD, "rmsprop": kinds.RMSprop}[config.optimizer]
    made = kind(rate, **options)
    if config.weight_decay:
        kept = [each for each in network.trainable_variables if not _decays(each)]
        made.exclude_from_weight_decay(var_list=kept)
    return made


def _decays(variable: Any) -> bool:
    """Return whether a variable is a kernel or a table; a bias, a factor or a range is not."""
    kind = variable.name.rpartition("/")[2]
    return variable.shape.rank >= 2 and any(word in kind for word in _DECAYED)


def _learning_rate(config: TrainingConfig, steps: int) -> Any:
    import tf_keras

    warm_up = int(config.warm_up * steps)
    if config.decay != "cosine":
        return _straight()(config.learning_rate, warm_up, steps, falls=config.decay == "linear")
    return tf_keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else config.learning_rate,
        steps - warm_up,
        warmup_target=config.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )


@cache
def _straight() -> Any:
    tf = tensorflow()
    import tf_keras

    class Straight(tf_keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        """Rise along a line during the warm-up, then stay or fall along a line to zero."""

        def __init__(self, highest: float, warm_up: int, steps: int, falls: bool) -> None:
            self.highest, self.warm_up, self.steps, self.falls = highest, warm_up, steps, falls

        def __call__(self, step: Any) -> Any:
            step = tf.cast(step, tf.float32)
            rising = step / self.warm_up if self.warm_up else tf.ones_like(step)
            left = (self.steps - step) / (self.steps - self.warm_up) if self.falls else tf.ones_like(step)
            return self.highest * tf.clip_by_value(tf.minimum(rising, left), 0.0, 1.0)

        def get_config(self) -> dict[str, Any]:
            return {
                "highest": self.highest, "warm_up": self.warm_up, "steps": self.steps, "falls": self.falls
            }  # fmt: skip

    return Straight
