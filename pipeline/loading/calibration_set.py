"""The stage that chooses the calibration samples among the training samples."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import calibration.manifest
import calibration.sampling
from calibration.features import features_of
from calibration.sampling import Choice, Pool
from calibration.strata import strata_of
from pipeline.artifacts import CalibrationSet
from pipeline.loading.field_calibration import choose_like_field
from pipeline.samples import Samples
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.strata import Strata
    from models.ports import Port
    from pipeline.artifacts import Dataset, Source
    from pipeline.config import CalibrationConfig

FIELD = "field statistics"
"""What the manifest says of samples that were chosen like the inputs in the field."""
TRAITS = {"ids": "class", "labels": "label", "masks": "class in mask", "numbers": "target"}


def choose_calibration(
    data: Dataset,
    *,
    config: CalibrationConfig,
    inputs: tuple[Port, ...] = (),
    field: Source | None = None,
    seed: int,
    out: Path,
) -> CalibrationSet:
    """Choose the representative data set from the training samples and write its manifest.

    Args:
        data: the samples.
        config: how many, and how.
        inputs: of the model; those of integers hold indices.
        field: statistics of devices, whose inputs the samples are to be like.
        seed: of the choice.

    Raises:
        CalibrationError: the samples cannot be chosen so, or cannot give ranges.
        InputError: the statistics cannot be used.
    """
    samples = Samples.of(data, "train", ())
    pool = training_pool(data, samples, inputs)
    notes: tuple[str, ...] = ()
    if field is None:
        choice = calibration.sampling.choose(pool, config.samples, seed, config.sampling)
    else:
        places, notes = choose_like_field(
            data, _labels(data, samples.rows), field, count=config.samples, seed=seed
        )
        choice = Choice(places, FIELD)
    # Moving averages depend on the order, and the data may be sorted by class.
    choice = choice._replace(places=np.random.default_rng(seed).permutation(choice.places))
    chosen = samples.take(choice.places)
    raw = [chosen.raw(index) for index in range(len(data.shapes))]
    calibration.sampling.check(raw)
    artifact = CalibrationSet(folder=out, samples=len(choice.places), sampling=choice.sampling, notes=notes)
    np.save(artifact.indices, choice.places)
    calibration.manifest.write_manifest(artifact.manifest, raw, pool, choice, seed)
    return artifact


def training_pool(data: Dataset, samples: Samples, inputs: tuple[Port, ...] = ()) -> Pool:
    """Return the training samples as ``calibration.sampling`` chooses from them.

    Args:
        data: the samples, with the task of each output.
        samples: its training samples.
        inputs: of the model.
    """
    found: list[Strata] = []
    for index, task in enumerate(data.tasks):
        rule = TASKS[task]
        if rule.content and samples.targets[index] is not None:
            trait = TRAITS[rule.content] + (f" of output {index}" if len(data.tasks) > 1 else "")
            targets = _targets(samples, index)
            found += strata_of(rule.content, trait, targets, data.classes if rule.of_classes else ())
    indices = [port.dtype != "float32" for port in inputs]
    return Pool(len(samples), tuple(found), partial(_features, samples, indices))


def _targets(samples: Samples, index: int) -> Iterator[NDArray[Any]]:
    for chunk in samples.chunks():
        targets = chunk.target(index)
        if targets is not None:
            yield targets


def _features(samples: Samples, indices: list[bool], places: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.concatenate(
        [
            features_of([chunk.raw(index) for index in range(len(chunk.inputs))], indices)
            for chunk in samples.take(places).chunks()
        ]
    )


def _labels(data: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class id of each training sample, where there are classes; else 0 for all."""
    for index, task in enumerate(data.tasks):
        if TASKS[task].content == "ids" and data.target(index).exists():
            labels: NDArray[np.int64] = np.load(data.target(index))[rows]
            return labels
    return np.zeros(len(rows), np.int64)
