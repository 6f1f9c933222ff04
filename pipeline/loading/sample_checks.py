"""The stage that checks calibration samples as data: values, duplicates, leakage."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.checks import Coverage, DataChecks, InputValues, equal_groups, input_values
from calibration.features import features_of
from calibration.neighbours import MIN_VALUES, Nearest, nearly_equal
from calibration.sampling import sample_hashes
from pipeline.artifacts import Artifact
from pipeline.content import sha256_of
from pipeline.progress import track
from pipeline.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import CalibrationSet, Dataset, PreparedModel, Preprocessing

FINGERPRINT = 12
"""Hexadecimal digits of the hash of the preprocessing."""
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class CheckedSamples(Artifact):
    """The calibration samples as data."""

    found: DataChecks


def check_samples(
    samples: CalibrationSet, data: Dataset, prepared: PreparedModel, *, out: Path
) -> CheckedSamples:
    """Check the calibration samples without running the model.

    Args:
        samples: the calibration samples.
        data: what they were chosen from, and the test samples.
        prepared: the model with its preprocessing.
    """
    chosen = Samples.of(data, "train", prepared.preprocessing).take(np.load(samples.indices))
    tested = Samples.of(data, "test", prepared.preprocessing)
    manifest = json.loads(samples.manifest.read_text(encoding="utf-8"))
    inputs = tuple(_input_values(chosen, prepared))
    equal, near = _shared(chosen, tested, manifest["sha256"], prepared.preprocessing)
    found = DataChecks(
        samples=len(chosen),
        training_samples=manifest["training_samples"],
        test_samples=len(tested),
        sampling=manifest["sampling"],
        seed=manifest["seed"],
        fingerprint=fingerprint(prepared.preprocessing),
        coverage=tuple(Coverage.of(trait, counts) for trait, counts in manifest["strata"].items()),
        inputs=inputs,
        duplicates=equal_groups(manifest["sha256"], chosen.rows.tolist()),
        equal=equal,
        near=near,
    )
    return CheckedSamples(folder=out, found=found)


def fingerprint(preprocessing: Preprocessing) -> str:
    """Return a short hash of what preprocessing does; the reasons for it do not count."""
    steps = [
        [[f"{value:.6g}" for value in values] for values in (each.scale, each.offset)]
        + [each.reverse_channels, each.indices]
        for each in preprocessing
    ]
    return sha256_of(steps)[:FINGERPRINT]


def _input_values(chosen: Samples, prepared: PreparedModel) -> Iterator[InputValues]:
    for index, (port, transform) in enumerate(zip(prepared.inputs, prepared.preprocessing, strict=True)):
        chunks = (transform.apply(chunk.raw(index)) for chunk in chosen.chunks())
        yield input_values(port.name, str(transform), chunks, chosen.rows, split=not transform.indices)


def _shared(
    chosen: Samples, tested: Samples, hashes: list[str], preprocessing: Preprocessing
) -> tuple[tuple[Pair, ...], tuple[Pair, ...] | None]:
    """Return the pairs of equal, and those of nearly equal samples; None if they are not looked for."""
    rows = dict(zip(reversed(hashes), reversed(chosen.rows.tolist()), strict=True))
    ours, indices = _raw(chosen), [each.indices for each in preprocessing]
    features = features_of(ours, indices)
    nearest, equal = Nearest.none(len(chosen)), []
    with track("compare with test samples", len(tested), "samples") as advance:
        for chunk in tested.chunks():
            theirs = _raw(chunk)
            pairs = zip(sample_hashes(theirs), chunk.rows.tolist(), strict=True)
            equal += [(rows[digest], row) for digest, row in pairs if digest in rows]
            nearest = nearest.among(features, features_of(theirs, indices), chunk.rows)
            advance(len(chunk))
    if sum(values[0].size for values in ours) < MIN_VALUES:
        return tuple(sorted(equal)), None
    near = {pair for pair in _near(chosen, tested, ours, nearest, indices) if pair not in equal}
    return tuple(sorted(equal)), tuple(sorted(near))


def _near(
    chosen: Samples, tested: Samples, ours: list[NDArray[Any]], nearest: Nearest, indices: list[bool]
) -> Iterator[Pair]:
    """Yield the pairs whose values are nearly equal among those that are nearest by their features."""
    spreads = [
        np.zeros(1) if ids else values.reshape(-1, values.shape[-1]).std(axis=0)
        for values, ids in zip(ours, indices, strict=True)
    ]
    for candidates in nearest.rows.T:
        there = np.flatnonzero(candidates >= 0)
        if len(there):
            theirs = _raw(replace(tested, rows=candidates[there]))
            same = nearly_equal([values[there] for values in ours], theirs, spreads)
            yield from zip(chosen.rows[there[same]].tolist(), candidates[there[same]].tolist(), strict=True)


def _raw(samples: Samples) -> list[NDArray[Any]]:
    return [samples.raw(index) for index in range(len(samples.inputs))]
