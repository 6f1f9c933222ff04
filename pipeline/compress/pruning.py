"""Zero the smallest weights of a network: at once, or in a training with TF-MOT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.compress.amounts import by_magnitude, by_sensitivity, uniform, without_smallest
from pipeline.samples import Samples
from pipeline.training.fine_tuning import fine_tune, total_steps, training_samples
from pipeline.training.keras_io import open_model
from pipeline.training.tfmot import tensorflow_model_optimization

if TYPE_CHECKING:
    from pipeline.artifacts import Dataset, KerasModel
    from pipeline.compress.weights_config import WeightsConfig
    from pipeline.training_history import TrainingHistory

UPDATE_EVERY_STEPS = 20
PROBED_SAMPLES = 256


class Pruned(NamedTuple):
    """A pruned Keras model, the share of zeros that was tried, and the training, if it was trained."""

    student: Any
    sparsity: float
    history: TrainingHistory | None


@dataclass(frozen=True)
class Pruning:
    """What is pruned, and how.

    Attributes:
        given: the Keras model of ``model``; stays as it is.
        names: of the layers whose kernels get zeros.
        teacher: whose outputs the training is towards.
    """

    given: Any
    names: tuple[str, ...]
    model: KerasModel
    teacher: KerasModel
    data: Dataset
    config: WeightsConfig
    seed: int

    def targets(self, sparsity: float) -> dict[str, float]:
        """Return the share of zeros of each kernel for one of all kernels together."""
        kernels = {name: self.given.get_layer(name).kernel.numpy() for name in self.names}
        if self.config.is_uniform:
            return uniform(kernels, sparsity)
        if self.config.amounts == "sensitivity":
            samples = Samples.of(self.data, "train", self.teacher.preprocessing)
            probed = samples.choose(PROBED_SAMPLES, seed=0).model_inputs()
            return by_sensitivity(self.given, kernels, sparsity, probed)
        return by_magnitude(kernels, sparsity)

    def at_once(self, sparsity: float) -> Pruned:
        """Prune a copy without training it."""
        student = open_model(self.model.model)
        for name, target in self.targets(sparsity).items():
            kernel = student.get_layer(name).kernel
            kernel.assign(without_smallest(kernel.numpy(), target))
        return Pruned(student, sparsity, None)

    def in_training(self, sparsity: float) -> Pruned:
        """Prune a copy while it is fine-tuned (Zhu and Gupta, 2017, arXiv:1710.01878).

        Layers that already have more zeros than asked for keep them.
        """
        targets, config = self.targets(sparsity), self.config
        keras = tensorflow_model_optimization().sparsity.keras
        samples = training_samples(self.data, self.teacher, config.training, self.seed)
        steps = total_steps(len(samples), config.training)
        update_every = min(UPDATE_EVERY_STEPS, max(steps // 10, 1))

        def constant(target: float) -> dict[str, Any]:
            schedule = keras.ConstantSparsity(target, begin_step=0, frequency=update_every)
            return {"pruning_schedule": schedule}

        def rising(target: float) -> dict[str, Any]:
            schedule = keras.PolynomialDecay(
                initial_sparsity=0.0,
                final_sparsity=target,
                begin_step=0,
                end_step=max(int(steps * config.schedule.end), 1),
                power=config.schedule.power,
                frequency=update_every,
            )
            return {"pruning_schedule": schedule}

        asked = constant if config.schedule.shape == "constant" else rising
        options = {name: asked(target) | self._pattern(name) for name, target in targets.items()}
        options |= {
            layer.name: constant(layer.sparsity)
            for layer in self.model.layers
            if layer.sparsity > targets.get(layer.name, 0.0)
        }
        student = _wrapped(self.given, options)
        callbacks = (keras.UpdatePruningStep(),)
        history = fine_tune(
            "prune",
            student,
            self.teacher,
            self.data,
            config.training,
            self.seed,
            callbacks,
            config.schedule.end,
        )
        return Pruned(keras.strip_pruning(student), sparsity, history)

    def _pattern(self, name: str) -> dict[str, Any]:
        """Return TF-MOT's options for the pattern; it has blocks for dense layers alone."""
        if self.config.zeros_of[1]:
            return {"sparsity_m_by_n": self.config.zeros_of}
        is_dense = len(self.given.get_layer(name).kernel.shape) == 2
        return {"block_size": self.config.block} if is_dense and self.config.block != (1, 1) else {}


def _wrapped(model: Any, options: dict[str, dict[str, Any]]) -> Any:
    import tf_keras

    prune = tensorflow_model_optimization().sparsity.keras.prune_low_magnitude

    def wrap(layer: Any) -> Any:
        clone = layer.__class__.from_config(layer.get_config())
        return prune(clone, **options[layer.name]) if layer.name in options else clone

    wrapped = tf_keras.models.clone_model(model, clone_function=wrap)
    for layer in model.layers:
        is_pruned = layer.name in options
        twin = (
            wrapped.get_layer(f"prune_low_magnitude_{layer.name}").layer
            if is_pruned
            else wrapped.get_layer(layer.name)
        )
        twin.set_weights(layer.get_weights())
    return wrapped
