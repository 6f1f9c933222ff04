"""Checks of calibration samples that need no model: strata, values, duplicates and leakage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.findings import Finding
from calibration.neighbours import MIN_VALUES
from calibration.sampling import SAMPLING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from calibration.findings import Outcome

    Array = NDArray[Any]

FAR_FROM_TRAINING = 0.1
"""Total variation distance from which the strata of the calibration set are too unlike the training set's."""
FARTHEST = 0.3
MANY = 0.05
"""Share of duplicated or constant samples from which the user is warned."""
MOST = 0.25
MAX_FEATURES = 64
"""Inputs of more channels, such as flattened images, normally have some that hardly vary."""
UNLIKE_SCALES = 100.0
"""Ratio of the standard deviations of channels from which small ones vanish in the steps of large ones."""
SHOWN = 5
"""Names and rows that a line lists."""
TOO_FEW_VALUES = f"not looked for: samples of fewer than {MIN_VALUES} values are often alike by chance"


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A group of samples: how many are in the calibration set and in the training set."""

    name: str
    samples: int
    training_samples: int


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How the strata of one trait are distributed in the calibration set and in the training set.

    Attributes:
        distance: total variation distance between both distributions, 0 (equal) to 1 (disjoint).
    """

    trait: str
    distance: float
    strata: tuple[Stratum, ...]

    @classmethod
    def of(cls, trait: str, counts: Mapping[str, Mapping[str, int]]) -> Coverage:
        """Compare the counts of each stratum, as ``calibration.json`` has them."""
        strata = tuple(Stratum(name=name, **each) for name, each in counts.items())
        chosen, every = (
            np.array([getattr(each, key) for each in strata], np.float64)
            for key in ("samples", "training_samples")
        )
        shares = chosen / max(chosen.sum(), 1), every / max(every.sum(), 1)
        return cls(trait=trait, distance=float(np.abs(shares[0] - shares[1]).sum() / 2), strata=strata)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Values of one channel or feature of an input after preprocessing, over all calibration samples."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True, kw_only=True)
class InputValues:
    """The values of one input after preprocessing.

    Attributes:
        transform: the preprocessing in words, with its reason.
        channels: of the last axis, in its order; one for inputs of indices.
        constant: rows of the samples whose values are all equal.
        non_finite: rows of the samples with NaN or Inf.
    """

    name: str
    transform: str
    channels: tuple[Channel, ...]
    constant: tuple[int, ...] = ()
    non_finite: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataChecks:
    """What is known of calibration samples without a model; they are named by their rows in the data.

    Attributes:
        samples: number of calibration samples.
        training_samples: number of samples that they were chosen from.
        test_samples: number of test samples that they were compared with.
        sampling: how they were chosen.
        seed: random seed.
        fingerprint: short hash of the preprocessing of all inputs.
        coverage: of the strata of each trait; none without targets.
        inputs: values after preprocessing.
        duplicates: rows of equal samples, by group.
        equal: (calibration row, test row) of equal samples.
        near: likewise of nearly equal samples; None if they were not looked for.
    """

    samples: int
    training_samples: int
    test_samples: int
    sampling: str
    seed: int
    fingerprint: str
    coverage: tuple[Coverage, ...]
    inputs: tuple[InputValues, ...]
    duplicates: tuple[tuple[int, ...], ...]
    equal: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...] | None

    def findings(self) -> list[Finding]:
        """Return the findings of all checks, in a fixed order."""
        return [
            *check_coverage(self.coverage, self.samples, self.sampling),
            *check_values(self.inputs, self.samples),
            check_duplicates(self.duplicates, self.samples),
            *check_leakage(self.equal, self.near, self.test_samples),
        ]


def input_values(
    name: str, transform: str, chunks: Iterable[Array], rows: Array, *, split: bool
) -> InputValues:
    """Summarize the values of one input, a chunk at a time.

    Args:
        name: of the input.
        transform: its preprocessing.
        chunks: preprocessed samples (n, ...) in order.
        rows: int64 (n,), how to name each sample.
        split: whether the last axis has channels; False for inputs of indices.
    """
    totals, constant, bad, done = [], [], [], 0
    for chunk in chunks:
        samples = chunk.reshape(len(chunk), -1).astype(np.float64)
        finite = np.isfinite(samples).all(axis=1)
        here = rows[done : done + len(chunk)]
        bad += here[~finite].tolist()
        constant += here[(samples == samples[:, :1]).all(axis=1) & (samples.shape[1] > 1)].tolist()
        done += len(chunk)
        values = samples[finite].reshape(-1, chunk.shape[-1] if split and chunk.ndim > 1 else 1)
        if len(values):
            sums = values.sum(axis=0), (values**2).sum(axis=0), values.min(axis=0), values.max(axis=0)
            totals.append((len(values), *sums))
    return InputValues(
        name=name, transform=transform, channels=_channels(totals), constant=tuple(sorted(constant)),
        non_finite=tuple(sorted(bad)),
    )  # fmt: skip


def _channels(totals: Sequence[tuple[int, Array, Array, Array, Array]]) -> tuple[Channel, ...]:
    if not totals:
        return ()
    counts, sums, squares, lows, highs = zip(*totals, strict=True)
    mean = np.sum(sums, axis=0) / sum(counts)
    std = np.sqrt(np.maximum(np.sum(squares, axis=0) / sum(counts) - mean**2, 0))
    columns = (mean, std, np.min(lows, axis=0), np.max(highs, axis=0))
    return tuple(
        Channel(mean=float(m), std=float(s), min=float(low), max=float(high))
        for m, s, low, high in zip(*columns, strict=True)
    )


def check_coverage(coverages: Sequence[Coverage], samples: int, sampling: str) -> list[Finding]:
    """Compare each trait's strata with the training set's.

    Args:
        coverages: one for each trait.
        samples: number of calibration samples.
        sampling: how they were chosen; those chosen like the field may differ from the training set.
    """
    if not coverages:
        text = "the training samples have no targets to group them by"
        return [Finding(check="coverage", outcome="skipped", text=text)]
    return [_coverage(each, samples, sampling) for each in coverages]


def _coverage(found: Coverage, samples: int, sampling: str) -> Finding:
    missing = [each.name for each in found.strata if each.training_samples and not each.samples]
    total = len(found.strata)
    text = f"{total - len(missing)} of {total} strata, total variation distance {found.distance:.3f}"
    if not missing and found.distance <= FAR_FROM_TRAINING:
        return Finding(check="coverage", outcome="passed", subject=found.trait, text=text)
    outcome: Outcome = "failed" if missing or found.distance > FARTHEST else "warning"
    if missing:
        text += f"; no sample of {listed(missing)}"
    else:
        every = sum(each.training_samples for each in found.strata)
        chosen = sum(each.samples for each in found.strata)
        shares = [(each.samples / chosen, each.training_samples / every, each.name) for each in found.strata]
        ours, theirs, name = max(shares, key=lambda each: abs(each[0] - each[1]))
        text += f"; {name} is {ours:.1%} of the set and {theirs:.1%} of the training samples"
    if sampling not in SAMPLING:
        outcome, fix = (
            "warning",
            f"intended if the samples were chosen by {sampling}; else collect such samples",
        )
    elif samples < total:
        fix = f"set [calibration] samples to at least {2 * total}"
    elif sampling != "stratified":
        fix = 'set [calibration] sampling to "stratified"'
    else:
        fix = f"set [calibration] samples to more than {samples}"
    return Finding(check="coverage", outcome=outcome, subject=found.trait, text=text, fix=fix)


def check_values(inputs: Sequence[InputValues], samples: int) -> list[Finding]:
    """Find samples that are not finite or constant, and channels that are constant or of unlike scales."""
    return [_values(each, samples) for each in inputs]


def _values(found: InputValues, samples: int) -> Finding:
    outcome: Outcome = "passed"
    problems, fixes = [], []
    if found.non_finite:
        outcome = "failed"
        problems.append(f"{len(found.non_finite)} samples with NaN or Inf ({rows_listed(found.non_finite)})")
        fixes.append("remove or impute them, or check [preprocessing]")
    few = len(found.channels) <= MAX_FEATURES
    flat = [str(index) for index, each in enumerate(found.channels) if each.min == each.max]
    if flat:
        outcome = "failed" if len(flat) == len(found.channels) else outcome
        problems.append(f"constant channels: {listed(flat)}")
        fixes += ["check the data and [preprocessing], or choose samples in which they vary"] * few
    if found.constant:
        problems.append(f"{len(found.constant)} constant samples ({rows_listed(found.constant)})")
        if len(found.constant) > MANY * samples:
            fixes.append("remove blank samples from the data")
        if len(found.constant) > MOST * samples:
            outcome = "failed"
    spreads = [each.std for each in found.channels if each.std > 0]
    if few and spreads and max(spreads) > UNLIKE_SCALES * min(spreads):
        problems.append(f"standard deviations from {min(spreads):.3g} to {max(spreads):.3g} share one scale")
        fixes.append("scale each feature: [preprocessing] standardize, or mean and std")
    if fixes and outcome == "passed":
        outcome = "warning"
    text = "; ".join([_span(found.channels), *problems])
    return Finding(check="values", outcome=outcome, subject=found.name, text=text, fix="; ".join(fixes))


def _span(channels: Sequence[Channel]) -> str:
    if not channels:
        return "no finite value"
    low, high = min(each.min for each in channels), max(each.max for each in channels)
    return f"{len(channels)} channel{'s' if len(channels) > 1 else ''} from {low:.4g} to {high:.4g}"


def equal_groups(hashes: Sequence[str], rows: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the rows of samples that are equal, largest group first.

    Args:
        hashes: of each sample.
        rows: how to name each sample.
    """
    groups: dict[str, list[int]] = {}
    for digest, row in zip(hashes, rows, strict=True):
        groups.setdefault(digest, []).append(row)
    repeated = (tuple(sorted(group)) for group in groups.values() if len(group) > 1)
    return tuple(sorted(repeated, key=lambda group: (-len(group), group)))


def check_duplicates(groups: Sequence[Sequence[int]], samples: int) -> Finding:
    """Judge equal samples: they count several times in ranges that follow from frequencies."""
    repeats = sum(len(group) - 1 for group in groups)
    if not repeats:
        return Finding(check="duplicates", outcome="passed", text=f"{samples} samples, all different")
    share, first = repeats / samples, groups[0]
    text = (
        f"{repeats} of {samples} samples repeat others, {samples - repeats} are different; "
        f"most often {rows_listed(first)}, {len(first)} times"
    )
    outcome: Outcome = "failed" if share > MOST else "warning" if share > MANY else "passed"
    fix = "remove repeated samples from the training data" if outcome != "passed" else ""
    return Finding(check="duplicates", outcome=outcome, text=text, fix=fix)


def check_leakage(
    equal: Sequence[tuple[int, int]], near: Sequence[tuple[int, int]] | None, tested: int
) -> list[Finding]:
    """Judge test samples in the calibration set: the accuracy is then measured on samples seen before.

    Args:
        equal: (calibration row, test row) of equal samples.
        near: likewise of nearly equal ones; None if they were not looked for.
        tested: number of test samples that were compared.
    """
    if not tested:
        return [
            Finding(check="leakage", outcome="skipped", subject="equal", text="there are no test samples")
        ]
    return [
        _leaked("equal", equal, tested, "failed"),
        Finding(check="leakage", outcome="skipped", subject="nearly equal", text=TOO_FEW_VALUES)
        if near is None
        else _leaked("nearly equal", near, tested, "warning"),
    ]


def _leaked(kind: str, pairs: Sequence[tuple[int, int]], tested: int, outcome: Outcome) -> Finding:
    if not pairs:
        text = f"none of {tested:,} test samples"
        return Finding(check="leakage", outcome="passed", subject=kind, text=text)
    shown = listed([f"{ours} = {theirs}" for ours, theirs in pairs])
    text = f"{len(pairs)} calibration samples are {kind} to test samples (rows {shown})"
    fix = "remove them from the training or the test samples, or split by [data] group or time"
    return Finding(check="leakage", outcome=outcome, subject=kind, text=text, fix=fix)


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def rows_listed(rows: Sequence[int]) -> str:
    """Return "row 3" or "rows 3, 4, 5": rows of the data, as it was read."""
    return f"row{'s' if len(rows) > 1 else ''} {listed([str(row) for row in rows])}"
