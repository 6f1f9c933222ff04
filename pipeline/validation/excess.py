"""Test whether int8 loses more than float under a shifted distribution.

The excess is the difference int8 - float under a shift minus the same difference on clean samples. Where
both are of the same samples, each sample is its own control: what makes it hard for both models drops out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.tasks.evidence import Accumulator, Estimate, merge
from pipeline.tasks.spec import TASKS
from pipeline.validation.accuracy import BOOTSTRAP, Evaluator
from pipeline.validation.resampling import CONFIDENCE, with_intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

ShiftVerdict = Literal["int8 loses more", "int8 loses less", "as float does", "inconclusive", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Excess:
    """Both models' primary metric under one distribution, and what int8 loses there beyond its clean loss.

    Attributes:
        difference: int8 - float, positive where int8 is better, in points.
        low: lower end of its 95 % interval.
        high: upper end.
        excess: ``difference`` minus that of the clean samples, in points; negative where int8 loses more.
        excess_low: lower end of its 95 % interval.
        excess_high: upper end.
        standard_error: of the excess.
    """

    baseline: float
    quantized: float
    difference: float
    low: float
    high: float
    excess: float
    excess_low: float
    excess_high: float
    standard_error: float

    def corrected(self, tests: int) -> tuple[float, float]:
        """The ends of an interval so wide that all of ``tests`` hold at once (Bonferroni), in points."""
        tail = (1 - CONFIDENCE) / 2 / max(tests, 1)
        reach = NormalDist().inv_cdf(1 - tail) * self.standard_error
        return self.excess - reach, self.excess + reach

    def verdict(self, margin: float, tests: int) -> ShiftVerdict:
        """Return whether int8 loses more.

        Args:
            margin: in points; a smaller loss does not count as one.
            tests: how many verdicts are given together.
        """
        low, high = self.corrected(tests)
        if self.excess <= -margin and high < 0:
            return "int8 loses more"
        if self.excess >= margin and low > 0:
            return "int8 loses less"
        return "as float does" if self.excess_low > -margin else "inconclusive"


class PrimaryEvaluator(Evaluator):
    """A judge that gives the primary metric before it has an interval."""

    @property
    def is_logits(self) -> bool | None:
        """Whether the outputs are logits, as declared or detected."""
        return self._from_logits

    def set_logits(self, from_logits: bool | None) -> None:
        """Copy what is known about the outputs: under a shift their range may be misleading."""
        if from_logits is not None:
            self._from_logits, self._told = from_logits, True

    @property
    def kept(self) -> Accumulator:
        """The accumulated counts of all samples."""
        return merge(self._kept)

    def primary(self) -> tuple[Estimate, str]:
        """Return the primary metric, and what keeps it from showing much or "".

        Raises:
            InputError: the task cannot be judged by these samples.
        """
        found = TASKS[self.task].evaluate(self.kept, self.classes)
        return found.estimates[0], found.note


def pool(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of one metric over several severities of the same samples."""
    return replace(
        estimates[0],
        baseline=float(np.mean([estimate.baseline for estimate in estimates])),
        quantized=float(np.mean([estimate.quantized for estimate in estimates])),
        influence=np.mean([_influence(estimate) for estimate in estimates], axis=0),
    )


def compare(
    estimates: Sequence[Estimate], clean: Estimate, *, paired: bool, seed: int, bootstrap: int = BOOTSTRAP
) -> tuple[Excess, ...]:
    """Set the figures of shifted samples against that of the clean ones.

    Args:
        estimates: of the primary metric, all of the same number of samples.
        clean: of the clean samples.
        paired: whether the shifted samples are the clean ones, in the same order.
        seed: of the bootstrap.
        bootstrap: how many resamples the intervals are made of.
    """
    sign = 1 if clean.better == "higher" else -1
    excesses = [_excess(estimate, clean, paired=paired) for estimate in estimates]
    differences = with_intervals(estimates, seed=seed, bootstrap=bootstrap)
    beyond = with_intervals(excesses, seed=seed, bootstrap=bootstrap)
    found = []
    for metric, excess, estimate in zip(differences, beyond, excesses, strict=True):
        difference, low, high = metric.gain
        ends = sorted((sign * _end(excess.low), sign * _end(excess.high)))
        found.append(
            Excess(
                baseline=metric.baseline,
                quantized=metric.quantized,
                difference=difference,
                low=low,
                high=high,
                excess=sign * excess.difference,
                excess_low=ends[0],
                excess_high=ends[1],
                standard_error=_standard_error(estimate),
            )
        )
    return tuple(found)


def _excess(estimate: Estimate, clean: Estimate, *, paired: bool) -> Estimate:
    """Return the change from the clean difference to the shifted one, as a figure of its own."""
    shifted, usual = _influence(estimate), _influence(clean)
    reach = max(estimate.reach, clean.reach)
    if paired:
        influence = shifted - usual
    else:
        # Two sets of samples: their variances add up when each counts as much as all samples together do.
        total = len(shifted) + len(usual)
        parts = [(shifted - shifted.mean(), len(shifted)), (usual.mean() - usual, len(usual))]
        influence = np.concatenate([part * total / size for part, size in parts])
        reach *= total / min(len(shifted), len(usual))
    return replace(
        estimate,
        baseline=clean.quantized - clean.baseline,
        quantized=estimate.quantized - estimate.baseline,
        influence=influence,
        reach=reach,
    )


def _standard_error(estimate: Estimate) -> float:
    """Return the standard error of the estimate, with the two half samples of the bootstrap."""
    influence = _influence(estimate)
    squares = float(((influence - influence.mean()) ** 2).sum()) + estimate.reach**2
    return float(np.sqrt(squares)) / len(influence)


def _influence(estimate: Estimate) -> Any:
    assert estimate.influence is not None, "every primary metric has influences"
    return estimate.influence


def _end(value: float | None) -> float:
    assert value is not None
    return value
