"""What a model loses on held-out samples, as they are and corrupted: robustness is often lost first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.corruptions.suite import INFORMATIVE_SHARE, choose, corrupt, describe
from pipeline.tasks.scoring import Gain, paired_gain, score_of
from pipeline.training.held_out import HeldOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, ModelArtifact

    Inputs = list[NDArray[Any]]
    Answer = Callable[[Inputs], NDArray[Any]]
    """Maps model inputs (n, ...) to the first output, real numbers (n, ...)."""

CORRUPTED_SAMPLES = 500
CORRUPTED_BYTES = 256 << 20
SEVERITIES = (1, 3, 5)
CHUNK = 256
MAX_UNSHOWN_POINTS = 0.5
"""Of few held-out samples even a large loss is not measurable."""
MAX_POINTS_OF_ONE = 1.0
"""Of a single corruption, if measurable: the shift gate allows two, and the conversion takes its part."""


class Answers(NamedTuple):
    """A model's first output, (n, ...), for the samples as they are and for the corrupted ones."""

    clean: NDArray[Any]
    corrupted: NDArray[Any] | None


class Gains(NamedTuple):
    """What one model gains over another; None where there is no score, or nothing suits the inputs.

    Attributes:
        clean: on the samples as they are.
        corrupted: under all corruptions together.
        worst: under the corruption that costs the most, all severities together, and its name.
    """

    clean: Gain | None
    corrupted: Gain | None
    worst: tuple[Gain, str] | None = None

    @property
    def reason(self) -> str:
        """Why the second model is worse: measurably, or much under a corruption; "" if it is not."""
        return self.reason_beyond(0.0)

    def reason_beyond(self, points: float) -> str:
        """Return the reason if so many points on the samples as they are do not count."""
        if self.clean is not None and self.clean.high < -points:
            return "measurably worse"
        if self.corrupted is not None and self.corrupted.high < 0:
            return "measurably worse on corrupted samples"
        if self.worst is not None and self.worst[0].points < -MAX_POINTS_OF_ONE and self.worst[0].high < 0:
            return f"{self.worst[0].points:+.1f} points with {self.worst[1]}"
        return ""

    def costs_nothing(self, beyond: float = 0.0) -> bool:
        """Return whether the second model can take the place of the first.

        Args:
            beyond: points on the samples as they are that do not count.
        """
        is_small = self.clean is None or -self.clean.points <= MAX_UNSHOWN_POINTS + beyond
        return is_small and not self.reason_beyond(beyond)

    def __str__(self) -> str:
        found = "" if self.clean is None else f"{self.clean.points:+.1f} points on held-out samples"
        if self.corrupted is None or self.worst is None:
            return found
        gain, name = self.worst
        return f"{found}, {self.corrupted.points:+.1f} on corrupted ones, {gain.points:+.1f} with {name}"


@dataclass(frozen=True)
class Evidence:
    """Samples to judge models by.

    Attributes:
        held_out: the held-out samples, or training samples where there are few.
        names: of the corruptions.
        corrupted: model inputs (n, ...) of some of them under every corruption that suits them, one after
            another, at all severities; empty if none does.
        target: of the first output for these, (n, ...), or None.
    """

    held_out: HeldOut
    names: tuple[str, ...]
    corrupted: Inputs
    target: NDArray[Any] | None

    @classmethod
    def of(cls, data: Dataset, model: ModelArtifact) -> Evidence:
        """Corrupt held-out samples at a low, a medium and the highest severity.

        Args:
            model: gives preprocessing, tasks and forms of the outputs.
        """
        held_out = HeldOut.or_training(data, model)
        samples = held_out.samples.choose(CORRUPTED_SAMPLES, seed=0)
        raws = [samples.raw(index) for index in range(len(samples.inputs))]
        given = describe(raws, model.preprocessing)
        suitable, _ = choose(given, model.tasks, ())
        if not suitable:
            return cls(held_out, (), [], None)
        steps = [(name, severity) for name in suitable for severity in SEVERITIES]
        width = 4 * sum(raw[0].size for raw in raws) * len(steps)
        fitting = samples.take(slice(0, max(CORRUPTED_BYTES // width, 1)))
        raws = [raw[: len(fitting)] for raw in raws]
        found = [corrupt(raws, given, name, severity, (0,)) for name, severity in steps]
        inputs = [
            np.concatenate([transform.apply(each[index]) for each in found])
            for index, transform in enumerate(model.preprocessing)
        ]
        target = fitting.target(0)
        repeated = None if target is None else np.concatenate([target] * len(steps))
        return cls(held_out, suitable, inputs, repeated)

    def inputs(self) -> Iterator[Inputs]:
        """Yield the model inputs of all samples in chunks, first as they are, then corrupted."""
        for chunk in self.held_out.samples.chunks(CHUNK):
            yield chunk.model_inputs()
        for start in range(0, len(self.corrupted[0]) if self.corrupted else 0, CHUNK):
            yield [each[start : start + CHUNK] for each in self.corrupted]

    def answers(self, answer: Answer) -> Answers:
        """Run a model on all of the samples."""
        return self.as_answers(np.concatenate([answer(chunk) for chunk in self.inputs()]))

    def as_answers(self, outputs: NDArray[Any]) -> Answers:
        """Return first outputs (n, ...) for all ``inputs`` as answers."""
        count = len(self.held_out.samples)
        return Answers(outputs[:count], outputs[count:] if self.corrupted else None)

    def points(self, answers: Answers) -> float | None:
        """Return the mean of the scores on both kinds of samples, in points; None without a score."""
        scores = (self.held_out.score(answers.clean), self.corrupted_points(answers))
        known = [score for score in scores if score is not None]
        return float(np.mean(known)) if known else None

    def corrupted_points(self, answers: Answers) -> float | None:
        """Return the mean score under all corruptions, in points; None without a score or a corruption."""
        if answers.corrupted is None:
            return None
        found = [self._score(answers.corrupted, of) for of in self._parts()]
        return None if None in found else float(np.mean(found))  # type: ignore[arg-type]

    def gains(self, before: Answers, after: Answers) -> Gains:
        """Compare two models, where the first one keeps half of its score."""
        clean = self.held_out.gain(before.clean, after.clean)
        informative = self._informative(before)
        if clean is None or not informative:
            return Gains(clean, None)
        parts = [part for each in informative.values() for part in each]
        together = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        corrupted = self._gain(before, after, together)
        return Gains(clean, corrupted, self._worst(before, after, informative))

    def worst(self, before: Answers, after: Answers) -> tuple[Gain, str] | None:
        """Compare two models under the corruption that costs the second one the most; see ``Gains``."""
        informative = self._informative(before)
        return self._worst(before, after, informative) if informative else None

    def _worst(
        self, before: Answers, after: Answers, informative: dict[str, list[slice]]
    ) -> tuple[Gain, str]:
        changes = {
            name: np.mean([self._change(before, after, part) for part in parts])
            for name, parts in informative.items()
        }
        worst = min(changes, key=lambda name: changes[name])
        # The severities have the same samples, so that they do not narrow the interval.
        found = [self._gain(before, after, part) for part in informative[worst]]
        return Gain(*map(float, np.mean(found, axis=0))), worst

    def _parts(self) -> list[slice]:
        """Return the places of each corruption at each severity."""
        count = len(self.corrupted[0]) // (len(self.names) * len(SEVERITIES))
        return [slice(at * count, (at + 1) * count) for at in range(len(self.names) * len(SEVERITIES))]

    def _informative(self, answers: Answers) -> dict[str, list[slice]]:
        """Return the places of each corruption, without severities at which a model fails anyway."""
        clean = self.held_out.score(answers.clean)
        if clean is None or answers.corrupted is None:
            return {}
        named = zip((name for name in self.names for _ in SEVERITIES), self._parts(), strict=True)
        found: dict[str, list[slice]] = {}
        for name, part in named:
            score = self._score(answers.corrupted, part)
            if score is not None and score >= INFORMATIVE_SHARE * clean:
                found.setdefault(name, []).append(part)
        return found

    def _gain(self, before: Answers, after: Answers, of: NDArray[np.int64] | slice) -> Gain:
        assert before.corrupted is not None
        assert after.corrupted is not None
        task, target = self.held_out.model.tasks[0], None if self.target is None else self.target[of]
        gain = paired_gain(task, before.corrupted[of], after.corrupted[of], self.corrupted[0][of], target)
        assert gain is not None
        return gain

    def _change(self, before: Answers, after: Answers, part: slice) -> float:
        """Return how many points the second model gains."""
        found = (self._score(answers.corrupted, part) for answers in (before, after))
        first, second = (0.0 if score is None else score for score in found)
        return second - first

    def _score(self, corrupted: NDArray[Any] | None, of: slice) -> float | None:
        if corrupted is None:
            return None
        target = None if self.target is None else self.target[of]
        found = score_of(self.held_out.model.tasks[0], corrupted[of], self.corrupted[0][of], target)
        return None if found is None else 100 * found
