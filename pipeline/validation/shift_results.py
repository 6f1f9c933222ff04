"""Results of the shift suite: a verdict for every corruption, class prior and user data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pipeline.corruptions.suite import INFORMATIVE_SHARE
from pipeline.errors import InputError
from pipeline.tasks.spec import TASKS
from pipeline.validation.excess import Excess, PrimaryEvaluator, ShiftVerdict, compare, pool
from pipeline.validation.priors import class_weights, under_prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.tasks.evidence import Estimate

Source = Literal["corruption", "class prior", "own data"]

MAX_PRIORS = 20
"""Priors that are listed of a model with many classes: those where int8 loses most; all are corrected for."""


@dataclass(frozen=True, kw_only=True)
class SeverityResult:
    """One severity of a corruption.

    Attributes:
        informative: whether the float model keeps half of its clean score and is better than chance;
            otherwise there is little to lose.
        note: what keeps it from showing much.
    """

    severity: int
    found: Excess
    informative: bool = True
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ShiftResult:
    """One shift and one output.

    Attributes:
        name: of the corruption, prior or source.
        source: where the shift comes from.
        output: the output's name; "" if the model has one.
        metric: the primary one.
        samples: how many were judged.
        pooled: over all severities at which the float model is of use; None if the shift is skipped.
        low: lower end of the excess's interval after correction, in points; the verdict goes by it.
        high: upper end.
        verdict: given by ``ShiftReport.with_verdicts``.
        note: why it, or a severity, cannot be judged, or what keeps it from showing much.
    """

    name: str
    source: Source
    output: str
    metric: str
    samples: int
    pooled: Excess | None
    low: float | None = None
    high: float | None = None
    verdict: ShiftVerdict = "skipped"
    severities: tuple[SeverityResult, ...] = ()
    note: str = ""

    @property
    def excess(self) -> float:
        """Points that int8 loses beyond its clean loss, negative; 0 if the shift is skipped."""
        return 0.0 if self.pooled is None else self.pooled.excess


@dataclass(frozen=True, kw_only=True)
class ShiftReport:
    """Every shift.

    Attributes:
        samples: clean samples that every corruption was applied to.
        margin: points that int8 may lose more before it counts; None before it is judged.
        tests: verdicts that are given together, for which the intervals are corrected (Bonferroni).
        shifts: corruptions, class priors and own data, in that order for each output.
        left_out: what was not applied or is not listed, and why, a line each.
    """

    samples: int
    margin: float | None = None
    tests: int
    shifts: tuple[ShiftResult, ...]
    left_out: tuple[str, ...] = ()

    def with_verdicts(self, margin: float) -> ShiftReport:
        """Return the report with the verdict of every shift.

        Args:
            margin: points that int8 may lose more before it counts.
        """
        shifts = tuple(
            shift
            if shift.pooled is None
            else replace(shift, verdict=shift.pooled.verdict(margin, self.tests))
            for shift in self.shifts
        )
        return replace(self, margin=margin, shifts=shifts)

    @property
    def losing(self) -> tuple[ShiftResult, ...]:
        """The shifts under which int8 loses more than float does, the worst first."""
        found = [shift for shift in self.shifts if shift.verdict == "int8 loses more"]
        return tuple(sorted(found, key=lambda shift: shift.excess))

    @property
    def inconclusive(self) -> tuple[ShiftResult, ...]:
        """The shifts under which the samples do not tell."""
        return tuple(shift for shift in self.shifts if shift.verdict == "inconclusive")


class EvaluationState:
    """The judges of all outputs under one distribution, until one of them cannot go on."""

    def __init__(self, evaluators: list[PrimaryEvaluator]) -> None:
        self.evaluators, self.samples, self.problem = evaluators, 0, ""

    def primary(self, output: int) -> tuple[Estimate | None, str]:
        """Return the figure of one output and a note on it, or None and why there is none."""
        if self.problem:
            return None, self.problem
        try:
            return self.evaluators[output].primary()
        except InputError as error:
            return None, str(error)

    def raise_problem(self) -> None:
        """Raise InputError where a judge could not go on."""
        if self.problem:
            raise InputError(self.problem)


@dataclass(frozen=True)
class Evidence:
    """The judged results.

    Attributes:
        clean: the samples that were corrupted, before that.
        whole: the samples for the class priors: ``clean``, or more.
        corrupted: by name and severity.
        own: the user's shifted data by name.
    """

    clean: EvaluationState
    whole: EvaluationState
    corrupted: Mapping[str, Mapping[int, EvaluationState]]
    own: Mapping[str, EvaluationState]

    def report(self, *, seed: int, left_out: Sequence[str]) -> ShiftReport:
        """Compare both models under all shifts of all outputs.

        Args:
            seed: of the intervals.
            left_out: of the report.

        Raises:
            InputError: the clean samples cannot be judged.
        """
        shifts = [
            shift
            for output in range(len(self.clean.evaluators))
            for shift in _Output(self, output, seed).results()
        ]
        tests = sum(shift.pooled is not None for shift in shifts)
        listed, lines = _listed([_corrected(shift, tests) for shift in shifts])
        return ShiftReport(
            samples=self.clean.samples,
            tests=tests,
            shifts=listed,
            left_out=(*left_out, *lines),
        )


class _Output:
    """The shifts of one output; verdicts come later, since they depend on how many there are."""

    def __init__(self, evidence: Evidence, output: int, seed: int) -> None:
        self.evidence, self.output, self.seed = evidence, output, seed
        clean, note = evidence.clean.primary(output)
        if clean is None:
            raise InputError(note)
        self.clean, self.clean_note = clean, note

    def results(self) -> Iterator[ShiftResult]:
        for name, levels in self.evidence.corrupted.items():
            yield self._corruption(name, levels)
        yield from self._priors()
        for name, state in self.evidence.own.items():
            yield self._own(name, state)

    def _corruption(self, name: str, levels: Mapping[int, EvaluationState]) -> ShiftResult:
        primaries = {severity: self._comparable(state) for severity, state in levels.items()}
        good = {severity: estimate for severity, (estimate, _) in primaries.items() if estimate is not None}
        problems = [
            f"severity {severity}: {note}"
            for severity, (estimate, note) in primaries.items()
            if estimate is None
        ]
        empty = self._result(name, "corruption", 0, None, "; ".join(problems))
        if not good:
            return empty
        informative = {
            severity: self._is_informative(estimate, primaries[severity][1])
            for severity, estimate in good.items()
        }
        useful = [estimate for severity, estimate in good.items() if informative[severity]]
        estimates = [*good.values(), pool(useful or list(good.values()))]
        *each, pooled = compare(estimates, self.clean, paired=True, seed=self.seed)
        severities = tuple(
            SeverityResult(
                severity=severity,
                found=found,
                informative=informative[severity],
                note=primaries[severity][1],
            )
            for severity, found in zip(good, each, strict=True)
        )
        samples = max(state.samples for state in levels.values())
        if not useful:
            problems.append("the float model itself fails at every severity")
        return replace(
            empty,
            samples=samples,
            pooled=pooled if useful else None,
            severities=severities,
            note="; ".join(problems),
        )

    def _priors(self) -> Iterator[ShiftResult]:
        whole = self.evidence.whole
        evaluator, (clean, _) = whole.evaluators[self.output], whole.primary(self.output)
        if clean is None or not TASKS[evaluator.task].one_class:
            return
        kept = evaluator.kept
        names = evaluator.classes
        if len(names) != kept.classes:
            names = tuple(f"class {index}" for index in range(kept.classes))
        priors = class_weights(kept.rows["label"], names)
        if not priors:
            return
        estimates = [under_prior(kept, weights, clean) for weights in priors.values()]
        found = compare(estimates, clean, paired=True, seed=self.seed)
        for name, excess in zip(priors, found, strict=True):
            yield self._result(name, "class prior", whole.samples, excess, "")

    def _own(self, name: str, state: EvaluationState) -> ShiftResult:
        estimate, note = self._comparable(state)
        if estimate is None:
            return self._result(name, "own data", state.samples, None, note)
        (found,) = compare([estimate], self.clean, paired=False, seed=self.seed)
        return self._result(name, "own data", state.samples, found, note)

    def _is_informative(self, estimate: Estimate, note: str) -> bool:
        """Whether the float model keeps half of its score, without notes that clean samples lack.

        Of two classes half of the score is less than chance, which a note says.
        """
        if note and not self.clean_note:
            return False
        if estimate.better == "lower":
            return estimate.baseline <= self.clean.baseline / INFORMATIVE_SHARE
        return self.clean.baseline <= 0 or estimate.baseline >= self.clean.baseline * INFORMATIVE_SHARE

    def _comparable(self, state: EvaluationState) -> tuple[Estimate | None, str]:
        """Return the figure where it is of the clean samples' metric."""
        estimate, note = state.primary(self.output)
        if estimate is not None and estimate.name != self.clean.name:
            return None, f"it gives {estimate.name} where clean samples give {self.clean.name}"
        return estimate, note

    def _result(
        self, name: str, source: Source, samples: int, pooled: Excess | None, note: str
    ) -> ShiftResult:
        return ShiftResult(
            name=name,
            source=source,
            output=self.evidence.clean.evaluators[self.output].output,
            metric=self.clean.name,
            samples=samples,
            pooled=pooled,
            note=note,
        )


def _corrected(shift: ShiftResult, tests: int) -> ShiftResult:
    """Return a shift with its interval, corrected for the number of shifts."""
    if shift.pooled is None:
        return shift
    low, high = shift.pooled.corrected(tests)
    return replace(shift, low=low, high=high)


def _listed(shifts: Sequence[ShiftResult]) -> tuple[tuple[ShiftResult, ...], tuple[str, ...]]:
    """Leave out priors of many classes under which int8 loses least, and say so."""
    priors = sorted(
        (shift for shift in shifts if shift.source == "class prior"), key=lambda shift: shift.excess
    )
    spare = {id(shift) for shift in priors[MAX_PRIORS:]}
    lines = (f"{len(spare)} class priors are not listed, under which int8 loses less",) if spare else ()
    return tuple(shift for shift in shifts if id(shift) not in spare), lines
