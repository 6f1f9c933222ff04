"""Held-out samples, which no training sees and choices between models are made on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.artifacts import Teacher
from pipeline.samples import Samples
from pipeline.tasks.scoring import Gain, macro_f1, paired_gain, score_of
from pipeline.tasks.spec import TASKS
from pipeline.training.keras_io import predict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, KerasModel, ModelArtifact

MAX_OUTPUT_BYTES = 128 << 20
PREDICT_BATCH = 256
JUDGED_SAMPLES = 1024


class HeldOut(NamedTuple):
    """Samples that no training sees, and the model whose outputs are scored on them.

    Unless they are validation or test samples, the user's own model was usually trained on them, so its score
    flatters it, and any training seems to cost more than it does.

    Attributes:
        samples: those of ``of`` fit, with the outputs of a model, in ``MAX_OUTPUT_BYTES``.
        model: gives tasks and forms of the outputs.
        is_held_out: False where training samples stand in.
        is_new: whether the user's model cannot have been trained on them: validation or test samples.
    """

    samples: Samples
    model: ModelArtifact
    is_held_out: bool = True
    is_new: bool = False

    @classmethod
    def of(cls, data: Dataset, model: ModelArtifact) -> HeldOut:
        """Return the held-out samples of a data set."""
        held_out = Samples.of(data, "held_out", model.preprocessing)
        values = sum(math.prod(port.fixed_shape) for port in (*model.outputs, model.inputs[0]))
        rows, trained = (np.load(data.rows(split)) for split in ("held_out", "train"))
        is_new = len(rows) > 0 and not np.isin(rows, trained).any()
        fitting = held_out.take(slice(0, max(MAX_OUTPUT_BYTES // (4 * values), 1)))
        return cls(fitting, model, is_new=is_new)

    @classmethod
    def or_training(cls, data: Dataset, model: ModelArtifact) -> HeldOut:
        """Return the held-out samples, or training samples where there are too few to hold some out."""
        held_out = cls.of(data, model)
        if len(held_out.samples):
            return held_out
        training = Samples.of(data, "train", model.preprocessing).choose(JUDGED_SAMPLES, seed=0)
        return held_out._replace(samples=training, is_held_out=False)

    @property
    def metric(self) -> str:
        """What the score of the first output is called."""
        return TASKS[self.model.tasks[0]].metric

    @property
    def has_score(self) -> bool:
        """Whether there are samples, and a score of the first output."""
        return len(self.samples) > 0 and TASKS[self.model.tasks[0]].score is not None

    def outputs(self, network: Any) -> NDArray[np.float32]:
        """Return a Keras model's first output, (n, ...)."""
        found = [predict(network, chunk.model_inputs())[0] for chunk in self.samples.chunks(PREDICT_BATCH)]
        return np.concatenate(found)

    def score(self, outputs: NDArray[Any]) -> float | None:
        """Score first outputs (n, ...) in points; None without samples, or for a task without a score."""
        if not len(self.samples):
            return None
        found = score_of(self.model.tasks[0], outputs, self.samples.model_inputs()[0], self.samples.target(0))
        return None if found is None else 100 * found

    def macro_f1(self, outputs: NDArray[Any]) -> float | None:
        """Return the mean F1 of the classes of first outputs (n, ...) in points; None if there are none."""
        target = self.samples.target(0)
        return None if target is None else macro_f1(self.model.tasks[0], outputs, target)

    def gain(self, before: NDArray[Any], after: NDArray[Any]) -> Gain | None:
        """Compare two models' first outputs (n, ...); None where there is no score."""
        if not len(self.samples):
            return None
        inputs, target = self.samples.model_inputs()[0], self.samples.target(0)
        return paired_gain(self.model.tasks[0], before, after, inputs, target)


def lost_points(given: Any, student: Any, teacher: KerasModel, data: Dataset) -> float:
    """Return how many points the score of the first output fell on held-out samples; 0 if it has no score.

    Of few samples none are held out, and training samples are used.
    """
    judges = HeldOut.or_training(data, teacher)
    before, after = (judges.score(judges.outputs(network)) for network in (given, student))
    return 0.0 if before is None or after is None else before - after


def cost_of_training(teacher: KerasModel, held_out: HeldOut) -> float:
    """Return the points that fine-tuning alone costs on the held-out samples, if it costs any.

    The user's model was trained on them, and no compression is to blame for what any training loses there.
    """
    found = teacher.baselines if isinstance(teacher, Teacher) and not teacher.fine_tuned else None
    if found is None or held_out.is_new:
        return 0.0
    return max(-found.held_out_gain, 0.0)
