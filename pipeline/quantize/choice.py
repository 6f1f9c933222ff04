"""Choose ranges by what the int8 file computes with them on held-out calibration samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from calibration.ranges import METHODS
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_outputs
from pipeline.progress import track
from pipeline.quantize.activations import observe, run_file, statistics
from pipeline.quantize.shared_scales import ranges_from, scale_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.flatbuffer import TfliteModel
    from pipeline.flatbuffer.edit import Range
    from pipeline.samples import Samples

    Quantize = Callable[[list[Range]], bytes]
    Errors = NDArray[np.float64]

DEFAULT = "min-max"
EVERY = 4
"""Every so many-th calibration sample is held out."""
PARTS = (2, 4, 8)
"""Into how many parts the tensors are split, to try the ranges of another method in each."""
MIN_GAIN = 0.2
"""Ranges that clip are a risk for inputs unlike the calibration samples, so they must gain something."""
MIN_ERROR = 1e-12
SATURATING = frozenset({"SOFTMAX", "LOGISTIC"})
UNCHANGED = frozenset({"RESHAPE", "QUANTIZE", "DEQUANTIZE"})


class Choice(NamedTuple):
    """Ranges, and how they were chosen.

    Attributes:
        ranges: one for each activation.
        method: whose ranges these are, a key of ``METHODS``.
        errors: for each method the error on the held-out samples; see ``OutputErrors.errors``.
        exceptions: names of the tensors that have the range of the method ``other``.
        other: the next best method.
        error: with these exceptions.
        samples: how many were held out.
    """

    ranges: list[Range]
    method: str
    errors: Mapping[str, float]
    exceptions: Sequence[str]
    other: str
    error: float
    samples: int

    def __str__(self) -> str:
        errors = ", ".join(f"{method} {decibels(error):.1f}" for method, error in self.errors.items())
        some = ""
        if self.exceptions:
            count, final = len(self.exceptions), decibels(self.error)
            some = f", {self.other} for {count} of {len(self.ranges)} tensors ({final:.1f} dB)"
        return f"ranges: {self.method}{some}; SQNR in dB on {self.samples} held-out samples: {errors}"


class OutputErrors:
    """The errors of int8 files against a float model on held-out samples."""

    def __init__(self, content: bytes, samples: Samples) -> None:
        """Run the float model.

        Args:
            content: the float .tflite file.
            samples: the held-out samples.
        """
        self._samples = samples
        self._signals = compared_tensors(read_tflite(content))
        found = [[batch[index] for index in self._signals] for batch in observe(content, samples)]
        self._expected = [_rows(np.concatenate(parts)) for parts in zip(*found, strict=True)]

    def errors(self, int8: bytes) -> Errors:
        """Return the error of an int8 file, outputs in the order of the float file, for each sample (n,).

        It is the squared difference from the float model as a share of the signal's power, averaged over the
        outputs and what the softmax or sigmoid before an output reads, because a saturated output hides
        errors. The power is the squared difference from the median output: that of the sample plus the 90th
        percentile over samples, so that a sample of outliers counts no more than any other. A thousandth of
        the squared output is added for outputs that hardly differ between samples.
        """
        flat = read_tflite(int8)
        found = run_file(with_outputs(flat, compared_tensors(flat)), self._samples)
        return relative_errors(self._expected, found)


def relative_errors(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> Errors:
    """Return errors as ``OutputErrors.errors`` does, (n,).

    Args:
        expected: for each signal what the float model gives, (n, ...).
        found: what another model gives.
    """
    per_signal = []
    for right, values in zip(map(_rows, expected), map(_rows, found), strict=True):
        power = np.square(right - np.median(right, axis=0)).sum(axis=1)
        square = np.median(np.square(right).sum(axis=1))
        scale = power + np.percentile(power, 90) + 1e-3 * square
        noise = np.square(values - right).sum(axis=1)
        per_signal.append(noise / np.maximum(scale, np.finfo(float).tiny))
    mean: Errors = np.mean(per_signal, axis=0)
    return mean


def compared_tensors(flat: TfliteModel) -> tuple[int, ...]:
    """Return the outputs that are real numbers, and what the softmax or sigmoid before each of them reads."""
    producers = {index: operator for operator in flat.operators for index in operator.outputs}
    found = []
    for output in flat.outputs:
        if output.is_float or output.scales:
            found.append(output.index)
            operator = producers.get(output.index)
            while operator is not None and operator.name in UNCHANGED:
                operator = producers.get(operator.inputs[0])
            if operator is not None and operator.name in SATURATING:
                found.append(operator.inputs[0])
    return tuple(found)


def best_ranges(content: bytes, samples: Samples, quantize: Quantize, percentile: float) -> Choice:
    """Return the ranges with which the int8 file is closest to the float file on held-out samples.

    Three of four samples give the ranges of every method; the fourth judges them. "min-max" is taken unless
    the error of another method is smaller by ``MIN_GAIN`` and by more than the standard error of the paired
    difference. Then the ranges of the next best method are tried in halves, quarters and eighths of the
    model, and kept where they are better by as much.

    Args:
        content: a float .tflite file.
        samples: the calibration samples.
        quantize: makes an int8 file with ranges of it.
        percentile: for the method "percentile".

    Raises:
        StageError: a tensor has no finite value.
    """
    places = np.arange(len(samples))
    is_held_out = places % EVERY == EVERY - 1 if len(places) >= EVERY else np.ones(len(places), bool)
    found = statistics(content, samples.take(places[~is_held_out]) if not is_held_out.all() else samples)
    candidates = {method: ranges_from(content, found, method, percentile) for method in METHODS}
    held_out = OutputErrors(content, samples.take(places[is_held_out]))

    def errors_of(ranges: list[Range]) -> Errors:
        return held_out.errors(quantize(ranges))

    with track("compare ranges", len(METHODS) + sum(PARTS), "files") as advance:
        errors = {}
        for method, ranges in candidates.items():
            errors[method] = errors_of(ranges)
            advance(note=method)
        best = min(errors, key=lambda method: float(errors[method].mean()))
        if not _is_better(errors[best], errors[DEFAULT]):
            best = DEFAULT
        means = {method: float(each.mean()) for method, each in errors.items()}
        other = min(set(means) - {best}, key=lambda method: means[method])
        ranges, error = _refined(
            content, candidates[best], candidates[other], errors[best], errors_of, advance
        )
    exceptions = [each.name for each, plain in zip(ranges, candidates[best], strict=True) if each != plain]
    count = int(is_held_out.sum())
    return Choice(ranges, best, means, exceptions, other, float(error.mean()), count)


def _refined(
    content: bytes,
    mine: list[Range],
    other: list[Range],
    error: Errors,
    errors_of: Callable[[list[Range]], Errors],
    advance: Callable[..., None],
) -> tuple[list[Range], Errors]:
    """Return ranges where parts of the model have those of the other method, and the error with them.

    Args:
        content: the float file.
        mine: ranges of the best method.
        other: those of the next best.
        error: of the best method's ranges.
        errors_of: returns those of other ranges.
    """
    chosen = list(mine)
    groups = sorted(set(scale_groups(read_tflite(content), [each.tensor for each in mine]).items()))
    owners = sorted({owner for _, owner in groups})
    for parts in PARTS:
        for part in np.array_split(np.array(owners), parts):
            inside = {tensor for tensor, owner in groups if owner in part}
            tried = [
                theirs if ours.tensor in inside else ours for ours, theirs in zip(chosen, other, strict=True)
            ]
            if tried != chosen:
                found = errors_of(tried)
                if _is_better(found, error):
                    chosen, error = tried, found
            advance()
    return chosen, error


def _is_better(one: Errors, other: Errors) -> bool:
    """Whether the mean of paired errors is smaller by ``MIN_GAIN`` and by more than its standard error."""
    difference = other - one
    noise = difference.std() / np.sqrt(len(difference))
    return bool(difference.mean() > max(noise, MIN_GAIN * other.mean()))


def decibels(error: float) -> float:
    """Return the signal-to-quantization-noise ratio of a mean error."""
    return float(-10 * np.log10(max(error, MIN_ERROR)))


def _rows(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.reshape(len(values), -1).astype(np.float64)
