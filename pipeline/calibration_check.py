"""Check the calibration set of a model and its data: open, check samples, check ranges."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.diagnosis import Diagnosis
from calibration.extremes import Extremes
from calibration.histogram import Histogram
from calibration.tensor_checks import Observed, TensorChecks, tensor_checks
from pipeline.artifacts import Artifact, Source
from pipeline.errors import StageError, StageKilledError, StageTimeoutError, leaf_errors_mapped
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.layers import layer_names
from pipeline.isolation import sandbox
from pipeline.loading.field_calibration import field_statistics
from pipeline.loading.load import model_digest, source_of
from pipeline.loading.sample_checks import check_samples
from pipeline.opening import open_inputs
from pipeline.progress import track
from pipeline.quantize.activations import input_order, observe
from pipeline.quantize.ranges import AUTO, find_ranges, is_compared, read_ranges
from pipeline.quantize.shared_scales import scale_groups
from pipeline.run import Run
from pipeline.samples import Samples
from pipeline.scratch import scratch
from pipeline.sections import Unkeyed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import CalibrationSet, Dataset, PreparedModel, Ranges
    from pipeline.build_config import BuildConfig
    from pipeline.flatbuffer import TfliteModel
    from pipeline.store import Store

MIN_OTHERS, MAX_OTHERS = 256, 1024
"""Other training samples, which show whether more calibration samples would widen the ranges."""


@dataclass(frozen=True, kw_only=True)
class CheckedRanges(Artifact):
    """The ranges of tensors on the calibration samples.

    Attributes:
        found: None if the model did not run.
        problem: why not; "" if it did.
    """

    found: TensorChecks | None
    problem: str = ""


def check_calibration(config: BuildConfig, store: Store) -> Diagnosis:
    """Choose the calibration samples as a build does, and check them.

    Args:
        config: the settings of the build.
        store: where the stages of builds are kept, and those of this check.

    Raises:
        InputError: the model or the data are refused.
        StageError: a stage could not finish.
    """
    with leaf_errors_mapped(), scratch("calibrate") as folder:
        run = Run(folder, store)
        model = Source(location=str(config.model.path), digest=model_digest(config.model))
        data = source_of(config.data)
        opened = open_inputs(model, data, field_statistics(config.calibration), config, run)
        chosen, read, prepared = opened.samples, opened.data, opened.prepared
        samples = run.step(check_samples, chosen, read, prepared)
        timeout = Unkeyed(config.convert.timeout_s)
        to_quantize = prepared if prepared.opaque else prepared.keras
        calibration = config.calibration
        ranges = run.step(find_ranges, to_quantize, chosen, read, config=calibration, timeout_s=timeout)
        checked = run.step(check_ranges, ranges, chosen, read, prepared, seed=config.seed, timeout_s=timeout)
    return Diagnosis(
        model=model.location,
        data=data.location,
        samples=samples.found,
        method=calibration.ranges,
        ranges=checked.found,
        problem=checked.problem,
        other_ranges=other_ranges(calibration.ranges, ranges),
    )


def other_ranges(method: str, ranges: Ranges) -> str:
    """Return how to choose ranges instead, as a fix; "" if all methods were compared, or there are no ranges.

    Args:
        method: of ``[calibration]``.
        ranges: what it gave; "auto" compares nothing where the int8 file does not convert or run.
    """
    if method != AUTO:
        return 'set [calibration] ranges to "auto"'
    if ranges.problem or is_compared(ranges):
        return ""
    return 'set [calibration] ranges to "percentile" or "mse"'


def check_ranges(
    ranges: Ranges,
    samples: CalibrationSet,
    data: Dataset,
    prepared: PreparedModel,
    *,
    seed: int,
    timeout_s: float,
    out: Path,
) -> CheckedRanges:
    """Run the float model on the calibration samples, and on as many other training samples, 256 to 1024.

    Args:
        ranges: the float model in the layers that are quantized, and the ranges of its tensors.
        samples: the calibration samples.
        data: what they were chosen from.
        prepared: the preprocessing.
        seed: of the other samples and of random subsets.
        timeout_s: seconds after which the process that does it is killed.

    Raises:
        StageTimeoutError: it took too long, which says nothing of the model.
        StageKilledError: it was killed, as where memory runs out, which says as little.
    """
    if ranges.problem:
        return CheckedRanges(folder=out, found=None, problem=f"there are no ranges: {ranges.problem}")
    training = Samples.of(data, "train", prepared.preprocessing)
    places = np.load(samples.indices)
    rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(training)), places))
    others = np.sort(rest[: min(max(len(places), MIN_OTHERS), MAX_OTHERS)])
    chosen, observed = training.take(np.concatenate([places, others])), out / "extremes.npz"
    try:
        sandbox.run("check_ranges", write_extremes, ranges.tflite, chosen, observed, timeout_s=timeout_s)
    except (StageKilledError, StageTimeoutError):
        raise
    except StageError as error:
        return CheckedRanges(folder=out, found=None, problem=f"the float model does not run: {error.cause}")
    flat = read_tflite(ranges.tflite)
    names = tensor_names(flat, [port.name for port in prepared.inputs])
    found = tensor_checks(_observed(observed, names, ranges, flat), chosen.rows, len(places), seed)
    return CheckedRanges(folder=out, found=found)


def _observed(file: Path, names: dict[int, str], ranges: Ranges, flat: TfliteModel) -> Observed:
    """Read what ``write_extremes`` wrote, for the tensors that have a range; those that share it are one."""
    known = {each.tensor: each for each in read_ranges(ranges) if each.subgraph == 0}
    with np.load(file) as kept:
        ends = np.cumsum(kept["bins_per_tensor"])[:-1]
        parts = zip(np.split(kept["bins"], ends), np.split(kept["counts"], ends), strict=True)
        tensors = kept["tensors"].tolist()
        every = Observed(
            [names.get(tensor, f"tensor {tensor}") for tensor in tensors],
            Extremes.of(kept["low"], kept["high"]),
            [Histogram(*part) for part in parts],
            np.array([known[tensor].low if tensor in known else 0.0 for tensor in tensors]),
            np.array([known[tensor].high if tensor in known else 0.0 for tensor in tensors]),
            kept["not_finite"],
        )
    kept_places = np.flatnonzero(np.isin(tensors, list(known)))
    owner = scale_groups(flat, known)
    return every.of_tensors(kept_places).as_one(np.array([owner[tensors[at]] for at in kept_places]))


def write_extremes(tflite: Path, samples: Samples, written: Path) -> None:
    """Write the extremes of each sample in each tensor and the tensors' histograms; runs in a child process.

    The file has ``low`` and ``high``, float32 (n, tensors); ``tensors``, their indices; ``not_finite``, their
    numbers of infinite values and NaN; and ``bins`` and ``counts`` of all histograms, one after the other,
    ``bins_per_tensor`` of each.
    """
    content = tflite.read_bytes()
    lows: dict[int, list[NDArray[Any]]] = {}
    highs: dict[int, list[NDArray[Any]]] = {}
    histograms: dict[int, Histogram] = {}
    not_finite: dict[int, int] = {}
    with track("observe activations", len(samples), "samples") as advance:
        for activations in observe(content, samples):
            for tensor, values in activations.items():
                rows = values.reshape(len(values), -1)
                finite = np.isfinite(rows)
                not_finite[tensor] = not_finite.get(tensor, 0) + int((~finite).sum())
                rows = np.where(finite, rows, 0)  # all ranges contain zero
                lows.setdefault(tensor, []).append(rows.min(axis=1))
                highs.setdefault(tensor, []).append(rows.max(axis=1))
                histograms[tensor] = histograms.get(tensor, Histogram()) + Histogram.of(values)
            advance(len(rows))
    tensors = list(histograms)
    np.savez(
        written,
        low=np.stack([np.concatenate(lows[tensor]) for tensor in tensors], axis=1),
        high=np.stack([np.concatenate(highs[tensor]) for tensor in tensors], axis=1),
        tensors=np.array(tensors),
        not_finite=np.array([not_finite[tensor] for tensor in tensors]),
        bins=np.concatenate([histograms[tensor].bins for tensor in tensors]),
        counts=np.concatenate([histograms[tensor].counts for tensor in tensors]),
        bins_per_tensor=np.array([len(histograms[tensor].bins) for tensor in tensors]),
    )


def tensor_names(flat: TfliteModel, inputs: Sequence[str]) -> dict[int, str]:
    """Name tensors by the layer that computes them, and by the operator where a layer has several.

    Args:
        flat: the model.
        inputs: names of its inputs.
    """
    layers = layer_names(flat)
    shared = Counter(layers)
    names = dict(zip(input_order(flat), inputs, strict=True))
    for operator, layer in zip(flat.operators, layers, strict=True):
        alone = layer and shared[layer] == 1
        name = layer if alone else f"{layer or 'operator'} {operator.name} {operator.index}"
        several = len(operator.outputs) > 1
        for place, tensor in enumerate(operator.outputs):
            names[tensor] = f"{name}:{place}" if several else name
    return names
