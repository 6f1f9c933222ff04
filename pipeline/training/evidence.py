"""What a model loses on held-out samples, as they are and corrupted: robustness is often lost first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.corruptions.suite import choose, corrupt, describe
from pipeline.tasks.scoring import Gain, paired_gain, score_of
from pipeline.training.held_out import HeldOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, ModelArtifact

    Inputs = list[NDArray[Any]]
    Answer = Callable[[Inputs], NDArray[Any]]
    """Maps model inputs (n, ...) to the first output, real numbers (n, ...)."""

CORRUPTED_SAMPLES = 300
CORRUPTED_BYTES = 128 << 20
SEVERITY = 3
CHUNK = 256
MAX_UNSHOWN_POINTS = 0.5
"""Of few held-out samples even a large loss is not measurable."""


class Answers(NamedTuple):
    """A model's first output, (n, ...), for the samples as they are and for the corrupted ones."""

    clean: NDArray[Any]
    corrupted: NDArray[Any] | None


class Gains(NamedTuple):
    """What one model gains over another; None where there is no score, or nothing suits the inputs."""

    clean: Gain | None
    corrupted: Gain | None

    @property
    def is_worse(self) -> bool:
        """Whether the second model is measurably worse."""
        return any(gain is not None and gain.high < 0 for gain in self)

    @property
    def costs_nothing(self) -> bool:
        """Whether the second model can take the place of the first."""
        return not self.is_worse and (self.clean is None or -self.clean.points <= MAX_UNSHOWN_POINTS)

    def __str__(self) -> str:
        clean, corrupted = ("" if gain is None else f"{gain.points:+.1f} points" for gain in self)
        return f"{clean} on held-out samples" + (f", {corrupted} on corrupted ones" if corrupted else "")


@dataclass(frozen=True)
class Evidence:
    """Samples to judge models by.

    Attributes:
        held_out: the held-out samples, or training samples where there are few.
        corrupted: model inputs (n, ...) of some of them under every corruption that suits them, one after
            another; empty if none does.
        target: of the first output for these, (n, ...), or None.
    """

    held_out: HeldOut
    corrupted: Inputs
    target: NDArray[Any] | None

    @classmethod
    def of(cls, data: Dataset, model: ModelArtifact) -> Evidence:
        """Corrupt held-out samples at a medium severity.

        Args:
            model: gives preprocessing, tasks and forms of the outputs.
        """
        held_out = HeldOut.or_training(data, model)
        samples = held_out.samples.choose(CORRUPTED_SAMPLES, seed=0)
        raws = [samples.raw(index) for index in range(len(samples.inputs))]
        given = describe(raws, model.preprocessing)
        names, _ = choose(given, model.tasks, ())
        if not names:
            return cls(held_out, [], None)
        width = 4 * sum(raw[0].size for raw in raws) * len(names)
        fitting = samples.take(slice(0, max(CORRUPTED_BYTES // width, 1)))
        raws = [raw[: len(fitting)] for raw in raws]
        found = [corrupt(raws, given, name, SEVERITY, (0,)) for name in names]
        inputs = [
            np.concatenate([transform.apply(each[index]) for each in found])
            for index, transform in enumerate(model.preprocessing)
        ]
        target = fitting.target(0)
        return cls(held_out, inputs, None if target is None else np.concatenate([target] * len(names)))

    def answers(self, answer: Answer) -> Answers:
        """Run a model on all of the samples."""
        clean = [answer(chunk.model_inputs()) for chunk in self.held_out.samples.chunks(CHUNK)]
        count = len(self.corrupted[0]) if self.corrupted else 0
        corrupted = [
            answer([each[start : start + CHUNK] for each in self.corrupted])
            for start in range(0, count, CHUNK)
        ]
        return Answers(np.concatenate(clean), np.concatenate(corrupted) if corrupted else None)

    def points(self, answers: Answers) -> float | None:
        """Return the mean of the scores on both kinds of samples, in points; None without a score."""
        scores = [self.held_out.score(answers.clean)]
        if answers.corrupted is not None:
            found = score_of(self.held_out.model.tasks[0], answers.corrupted, self.corrupted[0], self.target)
            scores.append(None if found is None else 100 * found)
        known = [score for score in scores if score is not None]
        return float(np.mean(known)) if known else None

    def gains(self, before: Answers, after: Answers) -> Gains:
        """Compare two models."""
        corrupted = None
        if before.corrupted is not None and after.corrupted is not None:
            task = self.held_out.model.tasks[0]
            corrupted = paired_gain(task, before.corrupted, after.corrupted, self.corrupted[0], self.target)
        return Gains(self.held_out.gain(before.clean, after.clean), corrupted)
