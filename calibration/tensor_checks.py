"""Checks of the ranges of tensors: outliers, resolution, stability, and whether the samples are enough."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.checks import listed
from calibration.curve import CurvePoint, best_range, curve, excess_db
from calibration.extremes import beyond, influence, spread
from calibration.findings import Finding
from calibration.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from calibration.extremes import Extremes
    from calibration.findings import Outcome

INFLUENCE = 0.2
"""Share of a range that one sample may set: the steps of int8 are 25 % larger because of it."""
FEW = 0.05
"""Share of the tensors: in a large model some tensor always depends on one sample."""
MAX_INFLUENCE = 0.5
"""From here on one sample costs a bit of resolution."""
OUTSIDE = 0.001
"""Share of the values that is left out of the range that is used, half of it at each end."""
USED = 0.125
"""Share of a range that contains 99.9 % of the values, below which they have fewer than 5 bits."""
MAX_BEYOND = 1.0
BIT_DB = 6.0
"""Four times the squared error: a bit of resolution."""
SPREAD = 0.25
MAX_ROWS = 5
"""Outliers that have a line each."""
ENOUGH_DB = 0.5
WIDE_FIX = "look for wrong samples; no way to choose ranges gives measurably better outputs"


@dataclass(frozen=True, kw_only=True)
class TensorRange:
    """The range of a tensor, or of several that share it; each share is one of the range's width.

    Attributes:
        low, high: the range, as configured.
        influence: by how much the min-max range without the most influential sample is narrower.
        row: that sample, by its row in the data.
        trimmed: by how much it is narrower without the 1 % most extreme samples at each end.
        used: share of the range that contains 99.9 % of the values.
        spread: how far the min-max ranges of disjoint subsets are apart; None if there are too few samples.
        error_db: error of the values in this range above that in the best range, in decibels.
        best_low, best_high: the range with the smallest error.
        beyond: how far other training samples leave the range.
        beyond_row: the one that does so furthest; -1 if there are no others.
    """

    name: str
    low: float
    high: float
    influence: float
    row: int
    trimmed: float
    used: float
    spread: float | None
    error_db: float
    best_low: float
    best_high: float
    beyond: float = 0.0
    beyond_row: int = -1

    @property
    def is_wide(self) -> bool:
        """Whether the range is wider than the best one: it wastes steps, and clips little."""
        return self.high - self.low > self.best_high - self.best_low


@dataclass(frozen=True, kw_only=True)
class TensorChecks:
    """What the extremes of samples say about the calibration set.

    Attributes:
        tensors: those whose range is not empty, in the model's order.
        constant: names of the tensors that are 0 for all samples.
        not_finite: names of the tensors with infinite values or NaN.
        curve: ranges of random subsets of the calibration samples and other training samples.
    """

    tensors: tuple[TensorRange, ...]
    constant: tuple[str, ...]
    not_finite: tuple[str, ...]
    curve: tuple[CurvePoint, ...]

    def findings(self, samples: int, available: int, other_ranges: str) -> list[Finding]:
        """Return the findings of all checks.

        Args:
            samples: number of calibration samples.
            available: number of training samples.
            other_ranges: how to choose ranges instead, as a fix; "" if all ways were compared.
        """
        found = []
        if self.not_finite:
            text = f"tensors with infinite values or NaN: {listed(self.not_finite)}"
            fix = "check the model and [preprocessing] on these samples"
            found.append(Finding(check="values", outcome="failed", subject="tensors", text=text, fix=fix))
        if not self.tensors:
            text = "all tensors are 0 on all calibration samples"
            return [*found, Finding(check="values", outcome="failed", text=text, fix="check [preprocessing]")]
        return [
            *found,
            *check_outliers(self.tensors, other_ranges),
            *check_resolution(self.tensors, self.constant, other_ranges),
            check_stability(self.tensors, samples, other_ranges),
            check_number(self.curve, samples, available),
        ]


@dataclass(frozen=True)
class Observed:
    """What the float model computed on samples: the calibration samples first, then others.

    Attributes:
        names: of the tensors.
        every: extremes of each sample.
        histograms: of each tensor over all samples.
        low, high: (tensors,) the ranges as configured; they contain zero.
        not_finite: (tensors,) how many values are infinite or NaN.
    """

    names: Sequence[str]
    every: Extremes
    histograms: Sequence[Histogram]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    not_finite: NDArray[np.int64]

    def of_tensors(self, places: NDArray[np.int64]) -> Observed:
        """Return what was observed of some tensors."""
        return Observed(
            [self.names[at] for at in places],
            self.every.of_tensors(places),
            [self.histograms[at] for at in places],
            self.low[places],
            self.high[places],
            self.not_finite[places],
        )

    def as_one(self, owners: NDArray[np.int64]) -> Observed:
        """Return what was observed with the tensors that share a range as one.

        It has the name of the first one, with the number of the others.

        Args:
            owners: (tensors,), equal for the tensors that share a range.
        """
        groups = [np.flatnonzero(owners == owner) for owner in dict.fromkeys(owners.tolist())]
        return Observed(
            [self.names[at[0]] + (f" (+{len(at) - 1})" if len(at) > 1 else "") for at in groups],
            self.every.as_one(groups),
            [sum((self.histograms[place] for place in at), Histogram()) for at in groups],
            np.array([self.low[at].min() for at in groups]),
            np.array([self.high[at].max() for at in groups]),
            np.array([self.not_finite[at].sum() for at in groups]),
        )


def tensor_checks(observed: Observed, rows: NDArray[np.int64], samples: int, seed: int) -> TensorChecks:
    """Measure the influence of samples on ranges.

    Args:
        observed: what the float model computed.
        rows: int64 (n,), how to name each sample.
        samples: how many of them are the calibration samples.
        seed: of random subsets.
    """
    is_wide = observed.high > observed.low
    known = observed.of_tensors(np.flatnonzero(is_wide))
    return TensorChecks(
        tensors=tuple(_tensors(known, rows, samples, seed)) if known.names else (),
        constant=tuple(observed.names[at] for at in np.flatnonzero(~is_wide)),
        not_finite=tuple(observed.names[at] for at in np.flatnonzero(observed.not_finite)),
        curve=curve(known.every, known.histograms, seed) if known.names else (),
    )


def _tensors(known: Observed, rows: NDArray[np.int64], samples: int, seed: int) -> Iterator[TensorRange]:
    chosen, others = known.every.take(slice(samples)), known.every.take(slice(samples, None))
    widths = known.high - known.low
    found, spreads = influence(chosen, widths), spread(chosen, seed)
    errors = excess_db(known.histograms, known.low, known.high)
    if len(others):
        left, which = beyond(others, known.low, known.high)
    for at, name in enumerate(known.names):
        best_low, best_high = best_range(known.histograms[at])
        yield TensorRange(
            name=name,
            low=float(known.low[at]),
            high=float(known.high[at]),
            influence=float(found.share[at]),
            row=int(rows[found.sample[at]]),
            trimmed=float(found.trimmed[at]),
            used=_used(known.histograms[at], widths[at]),
            spread=None if np.isnan(spreads[at]) else float(spreads[at]),
            error_db=float(errors[at]),
            best_low=best_low,
            best_high=best_high,
            beyond=float(left[at]) if len(others) else 0.0,
            beyond_row=int(rows[samples + which[at]]) if len(others) else -1,
        )


def _used(histogram: Histogram, width: float) -> float:
    """Return the share of a range that contains 99.9 % of the values and zero."""
    lower, upper = histogram.edges()
    below = np.cumsum(histogram.counts) / histogram.total
    high = upper[np.searchsorted(below, 1 - OUTSIDE / 2)]
    low = lower[np.searchsorted(below, OUTSIDE / 2, side="right")]
    return min(float(max(high, 0) - min(low, 0)) / width, 1.0)


def check_outliers(tensors: Sequence[TensorRange], other_ranges: str) -> list[Finding]:
    """Name the samples that alone set a large part of a tensor's range, the most influential first."""
    caused: dict[int, list[TensorRange]] = defaultdict(list)
    for tensor in tensors:
        if tensor.influence > INFLUENCE:
            caused[tensor.row].append(tensor)
    found = [
        _outlier(row, touched, len(tensors), other_ranges)
        for row, touched in caused.items()
        if len(touched) >= FEW * len(tensors) or max(each.influence for each in touched) > MAX_INFLUENCE
    ]
    found.sort(key=lambda each: each.outcome)  # "failed" comes before "warning"
    if not found:
        worst = max(tensors, key=lambda each: each.influence)
        text = f"no sample sets more than {worst.influence:.0%} of a range ({worst.name}, row {worst.row})"
        if caused:
            text += f", and none more than {INFLUENCE:.0%} in {FEW:.0%} of the tensors"
        found = [Finding(check="outliers", outcome="passed", text=text)]
    if len(found) > MAX_ROWS:
        text = f"{len(found) - MAX_ROWS} more samples set more than {INFLUENCE:.0%} of a range"
        fix = _or("look at these samples; remove those that are wrong", other_ranges)
        more = Finding(check="outliers", outcome="warning", subject="other rows", text=text, fix=fix)
        found = [*found[:MAX_ROWS], more]
    return [*found, _extreme(tensors, other_ranges), *_others(tensors)]


def _or(fix: str, other: str) -> str:
    return f"{fix}, or {other}" if other else fix


def _outlier(row: int, touched: Sequence[TensorRange], tensors: int, other_ranges: str) -> Finding:
    worst = max(touched, key=lambda each: each.influence)
    return Finding(
        check="outliers",
        outcome="failed" if worst.influence > MAX_INFLUENCE else "warning",
        subject=f"row {row}",
        text=f"sets {worst.influence:.0%} of the range of {worst.name}, "
        f"and more than {INFLUENCE:.0%} in {len(touched)} of {tensors} tensors",
        fix=_or("look at this sample; remove it if it is wrong", other_ranges),
    )


def _extreme(tensors: Sequence[TensorRange], other_ranges: str) -> Finding:
    """Judge the most extreme samples together: several outliers hide each other when one is left out."""
    worst = max(tensors, key=lambda each: each.trimmed)
    many = sum(each.trimmed > MAX_INFLUENCE for each in tensors)
    text = f"the 1 % most extreme samples set up to {worst.trimmed:.0%} of a range ({worst.name})"
    if not many:
        return Finding(check="outliers", outcome="passed", subject="1 % of the samples", text=text)
    text += f", and more than {MAX_INFLUENCE:.0%} in {many} of {len(tensors)} tensors"
    fix = _or("look for wrong samples among them", other_ranges)
    return Finding(check="outliers", outcome="warning", subject="1 % of the samples", text=text, fix=fix)


def _others(tensors: Sequence[TensorRange]) -> list[Finding]:
    """Judge the other training samples: how far they leave the ranges."""
    worst = max(tensors, key=lambda each: each.beyond)
    if worst.beyond_row < 0:
        return []
    where = f"{worst.name}, row {worst.beyond_row}"
    text = f"they leave a range by at most {worst.beyond:.0%} of its width ({where})"
    far = worst.beyond > MAX_BEYOND
    fix = "look at this sample; if it is right, set [calibration] samples higher" if far else ""
    outcome: Outcome = "warning" if far else "passed"
    return [Finding(check="outliers", outcome=outcome, subject="other training samples", text=text, fix=fix)]


def check_resolution(
    tensors: Sequence[TensorRange], constant: Sequence[str], other_ranges: str
) -> list[Finding]:
    """Name the tensors whose range wastes steps or clips too much, and those that are always 0."""
    used = [(each.used, f"{each.name} {each.used:.1%}") for each in tensors if each.used < USED]
    poor = [each for each in tensors if each.error_db > BIT_DB]
    wide, narrow = (
        [(-each.error_db, f"{each.name} {each.error_db:.1f} dB") for each in poor if each.is_wide == is_wide]
        for is_wide in (True, False)
    )
    narrower = other_ranges or WIDE_FIX
    above = f"errors are {BIT_DB:g} dB (one bit) above those of the best ranges"
    found = [
        _resolution(
            used,
            f"99.9 % of the values use less than {USED:.1%} of the range",
            f"99.9 % of the values use at least {min(each.used for each in tensors):.0%} of each range",
            narrower,
        ),
        _resolution(wide, f"ranges are so wide that {above}", f"no range is so wide that {above}", narrower),
        _resolution(
            narrow,
            f"ranges clip so much that {above}",
            f"no range clips so much that {above}",
            _or("set [calibration] samples higher", other_ranges),
        ),
    ]
    if constant:
        text = f"always 0 on the calibration samples: {listed(constant)}"
        fix = "choose samples that reach these tensors, or check the model"
        found.append(Finding(check="resolution", outcome="warning", text=text, fix=fix))
    return found


def _resolution(tensors: Sequence[tuple[float, str]], problem: str, passed: str, fix: str) -> Finding:
    """Name the tensors with a problem in the order of their number."""
    if not tensors:
        return Finding(check="resolution", outcome="passed", text=passed)
    text = f"{problem}, in {len(tensors)} tensors: {listed([name for _, name in sorted(tensors)])}"
    return Finding(check="resolution", outcome="warning", text=text, fix=fix)


def check_stability(tensors: Sequence[TensorRange], samples: int, other_ranges: str) -> Finding:
    """Judge how far the ranges of disjoint subsets are apart."""
    spreads = {each.name: each.spread for each in tensors if each.spread is not None}
    if not spreads:
        text = f"{samples} samples are too few for disjoint subsets"
        return Finding(check="stability", outcome="skipped", text=text)
    middle = float(np.median(list(spreads.values())))
    name, worst = max(spreads.items(), key=lambda each: each[1])
    text = (
        f"ranges over disjoint quarters of the samples differ by {middle:.0%} (median), {worst:.0%} in {name}"
    )
    outcome: Outcome = "warning" if middle > SPREAD else "passed"
    fix = _or(f"set [calibration] samples to {2 * samples}", other_ranges) if outcome != "passed" else ""
    return Finding(check="stability", outcome=outcome, text=text, fix=fix)


def check_number(points: Sequence[CurvePoint], samples: int, available: int) -> Finding:
    """Judge whether more samples would change the errors of tensors.

    A number of samples is enough if 95 % of the subsets of that size have an error of at most 0.5 dB above
    the mean error with the largest number; 0.5 dB are 12 % of the squared error.

    Args:
        points: the curve.
        samples: number of calibration samples.
        available: number of training samples.
    """
    last = points[-1]
    if last.samples == points[0].samples:
        text, fix = f"{samples} samples are too few for a curve", "give more training samples"
        return Finding(check="number of samples", outcome="warning", text=text, fix=fix)
    enough = next(each.samples for each in points if each.high_db <= last.error_db + ENOUGH_DB)
    here = max(
        (each for each in points if each.samples <= samples), key=lambda each: each.samples, default=last
    )
    text = (
        f"with {here.samples} samples, errors of tensors are {here.error_db:.2f} dB "
        f"[{here.low_db:.2f}, {here.high_db:.2f}] above those of the best ranges, with {last.samples} "
        f"{last.error_db:.2f} dB; {enough} samples are enough"
    )
    if enough <= samples:
        return Finding(check="number of samples", outcome="passed", text=text)
    more = min(enough, available)
    fix = f"set [calibration] samples to {more}" if more > samples else "collect more samples"
    return Finding(check="number of samples", outcome="warning", text=text, fix=fix)
