"""Calibration samples like those in the field: the way back from ``pipeline monitor`` into a build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.field import choose_like
from deploy.monitor.statistics import BINS, MAX_BYTES, read_saved
from pipeline.artifacts import Source, Transform
from pipeline.content import file_sha256
from pipeline.errors import InputError
from pipeline.runtimes.quantization import quantize_inputs
from pipeline.samples import Samples
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from deploy.manifest import Input
    from deploy.monitor.statistics import Saved
    from pipeline.artifacts import Dataset
    from pipeline.config import CalibrationConfig

COARSE = 4
"""Bins of a device's histogram that are one here: training samples are few."""
UNCOVERED = 0.02
"""Share of the field without similar training samples from which the user is warned."""

Trait = tuple[str, "NDArray[np.int64]", "NDArray[np.float64]"]
"""A histogram: its name, the bin of each training sample, and the field's counts."""


def field_statistics(config: CalibrationConfig) -> Source | None:
    """Return the file of statistics that is named, by its content.

    Raises:
        InputError: there is no such file.
    """
    if config.field_statistics is None:
        return None
    path = config.field_statistics
    if not path.is_file():
        msg = f"{path}: no such file; write it with: pipeline monitor RELEASE --from DEVICE --save"
        raise InputError(msg)
    return Source(location=str(path), digest=file_sha256(path))


def choose_like_field(
    data: Dataset, labels: NDArray[np.int64], source: Source, *, count: int, seed: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Choose training samples that are distributed as the inputs in the field are.

    Args:
        data: the samples.
        labels: (n,) class ids of the training samples; 0 if there are no classes.
        source: the file of statistics.
        count: how many to choose.
        seed: of the choice.

    Returns:
        Their places among the training samples, and what a user should know.

    Raises:
        InputError: the file is damaged, empty or of other inputs than the data's.
    """
    where = source.location
    with Path(where).open("rb") as stream:
        saved = read_saved(stream.read(MAX_BYTES + 1), where)
    if not saved.observed:
        msg = f"{where}: nothing was observed in the field; let the devices see some samples first"
        raise InputError(msg)
    if [one.shape[1:] for one in saved.contract.inputs] != list(data.shapes):
        msg = f"{where}: the statistics are of other inputs than [data] source; give those of this model"
        raise InputError(msg)
    traits = [*_of_inputs(data, saved), *_of_classes(data, labels, saved)]
    if not traits:
        msg = f"{where}: they say nothing by which samples can be chosen; drop [calibration] field_statistics"
        raise InputError(msg)
    names, bins, counts = zip(*traits, strict=True)
    match = choose_like(bins, counts, count, seed)
    notes = [
        f"{share:.0%} of the field's {name} lie where training samples are none or too few, so that "
        "calibration cannot cover them; collect such samples"
        for name, share in zip(names, match.uncovered, strict=True)
        if share >= UNCOVERED
    ]
    return match.places, tuple(notes)


def _of_inputs(data: Dataset, saved: Saved) -> Iterator[Trait]:
    """Mean and spread of each sample, as a device has them: in steps of the model that was there."""
    for index, (contract, seen) in enumerate(zip(saved.contract.inputs, saved.inputs, strict=True)):
        if contract.preprocessing.indices:
            continue
        means, spreads = _moments(data, index, contract)
        low, width = _range(contract)
        for name, values, start, step, counts in (
            ("means", means, low, width, seen.means),
            ("spreads", spreads, 0.0, width / 2, seen.spreads),
        ):
            places = np.clip((values - start) / (step * COARSE), 0, BINS // COARSE - 1).astype(np.int64)
            coarse = np.asarray(counts, np.float64).reshape(-1, COARSE).sum(axis=1)
            yield f"{seen.name} {name}", places, coarse


def _moments(data: Dataset, index: int, contract: Input) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps = contract.preprocessing
    transform = Transform(scale=steps.scale, offset=steps.offset, reverse_channels=steps.reverse_channels)
    means, spreads = [], []
    for chunk in Samples.of(data, "train", ()).chunks():
        values: NDArray[Any] = transform.apply(chunk.raw(index))
        if contract.scale is not None:
            values = quantize_inputs(values, contract.scale, contract.zero_point, contract.dtype)
        flat = values.reshape(len(values), -1).astype(np.float64)
        means.append(flat.mean(axis=1))
        spreads.append(flat.std(axis=1))
    return np.concatenate(means), np.concatenate(spreads)


def _range(contract: Input) -> tuple[float, float]:
    """Return the start of a device's first bin, and the width of its bins."""
    if contract.scale is not None:
        limits = np.iinfo(contract.dtype)
        return float(limits.min), (limits.max + 1.0 - limits.min) / BINS
    low, high = contract.range or (-1.0, 1.0)
    return low, (high - low if high > low else 1.0) / BINS


def _of_classes(data: Dataset, labels: NDArray[np.int64], saved: Saved) -> Iterator[Trait]:
    """Yield the classes' rates, changed as the model's answers changed from testing to the field."""
    for index, task in enumerate(data.tasks[: len(saved.outputs)]):
        tested, seen = saved.baseline.outputs[index].classes, saved.outputs[index].classes
        if not TASKS[task].one_class or tested is None or seen is None:
            continue
        if len(tested) != len(seen) or labels.max() >= len(seen):
            msg = "the field's statistics have other classes than the data; give those of this model"
            raise InputError(msg)
        before, now = (np.asarray(counts, np.float64) + 1 for counts in (tested, seen))
        own = np.bincount(labels, minlength=len(seen))
        yield "classes", labels, own * (now / now.sum()) / (before / before.sum())
        return
