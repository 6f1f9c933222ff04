"""Repairs without training, before post-training quantization: try each and keep what helps."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.artifacts import Ranges
from pipeline.choices import Repair
from pipeline.errors import StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import read_tflite
from pipeline.isolation import sandbox
from pipeline.quantize.activations import observed_tensors
from pipeline.quantize.backends import BACKENDS
from pipeline.quantize.choice import OutputErrors, decibels
from pipeline.quantize.levels import with_output_levels
from pipeline.quantize.ranges import choose_ranges, read_ranges, write_files
from pipeline.quantize.repairs.equalization import channel_magnitudes, equalize, find_pairs
from pipeline.quantize.repairs.layerwise import Layerwise, repair_kernels, unrepairable
from pipeline.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import CalibrationSet, Dataset, ModelArtifact
    from pipeline.config import CalibrationConfig
    from pipeline.flatbuffer.edit import Range
    from pipeline.layer_records import LayerRecord

STAGE = "repair_model"
AUTO = "auto"
EQUALIZATION, BIAS_CORRECTION, ROUNDING = "equalization", "bias-correction", "rounding"
REPAIRS = (EQUALIZATION, BIAS_CORRECTION, ROUNDING)
"""In the order in which they are tried: each builds on the ones before it."""

HELD_OUT = 256
# With fewer training samples besides the calibration samples, a part of these is held out instead.
MIN_HELD_OUT = 40
MIN_GAIN_DB = 0.1
SIGMAS = 2.0
"""How many standard errors a gain must have, so that it is none by chance."""


class Samplings(NamedTuple):
    """Samples to repair with, and others to measure on."""

    calibration: Samples
    held_out: Samples

    @classmethod
    def of(cls, data: Dataset, model: ModelArtifact, chosen: NDArray[np.int64]) -> Samplings:
        """Hold out training samples that are not for calibration, or a quarter of the calibration samples."""
        training = Samples.of(data, "train", model.preprocessing)
        others = np.setdiff1d(np.arange(len(training)), chosen)
        if len(others) >= MIN_HELD_OUT:
            return cls(training.take(chosen), training.take(others).choose(HELD_OUT, seed=0))
        is_held_out = np.arange(len(chosen)) % 4 == 3
        if not is_held_out.any():
            return cls(training.take(chosen), training.take(chosen))
        return cls(training.take(chosen[~is_held_out]), training.take(chosen[is_held_out]))


def repair_model(
    model: ModelArtifact,
    samples: CalibrationSet,
    data: Dataset,
    ranges: Ranges,
    *,
    repairs: tuple[str, ...],
    config: CalibrationConfig,
    backend: str,
    timeout_s: float,
    out: Path,
) -> Ranges:
    """Change weights and biases of a float .tflite so that its int8 file loses less, without training.

    "auto" tries cross-layer equalization, bias correction and adaptive rounding in this order. It keeps each
    one that measurably reduces the error of the int8 file's outputs on held-out training samples.

    Args:
        model: what the float file was converted from.
        ranges: the float file with the ranges of its activations.
        repairs: names, of ``REPAIRS``, of those to make; or "auto" alone.
        config: how ranges are chosen.
        backend: a key of ``BACKENDS``.
        timeout_s: seconds after which the process that does it is killed.

    Raises:
        StageTimeoutError: it took too long.
        StageKilledError: it was killed, as where memory runs out.
    """
    if ranges.problem:
        return Ranges(problem=ranges.problem)
    made = Ranges(folder=out)
    given = Samplings.of(data, model, np.load(samples.indices))
    settings = (model.layers, repairs, config, backend)
    try:
        done = sandbox.run(STAGE, write_repaired, ranges, given, *settings, made, timeout_s=timeout_s)
    except StageTimeoutError as error:
        hint = "raise [convert] timeout_s, or leave repairs out: [quantize] repairs = []"
        raise StageTimeoutError(STAGE, error.cause, hint) from error
    except StageKilledError:
        raise
    except StageError as error:
        shutil.copyfile(ranges.tflite, made.tflite)
        shutil.copyfile(ranges.table, made.table)
        notes = (f"no repairs without training: {error.cause}",)
        return replace(made, chosen=ranges.chosen, notes=notes)
    repaired, chosen = done
    found = f"repairs; SQNR in dB on {len(given.held_out)} samples: {'; '.join(map(str, repaired))}"
    return replace(made, chosen=chosen or ranges.chosen, repairs=repaired, findings=(found,))


@dataclass(frozen=True)
class _State:
    """A float file, and how its int8 file does.

    Attributes:
        content: the float file.
        ranges: of its activations.
        described: how they were chosen.
        int8: what the converter makes of it.
        errors: of its outputs, for each held-out sample.
        before_kernels: the state before its kernels were repaired, which later repairs start from.
        layerwise: how they were repaired.
    """

    content: bytes
    ranges: list[Range]
    described: dict[str, Any]
    int8: bytes
    errors: NDArray[np.float64]
    before_kernels: _State | None = None
    layerwise: Layerwise = field(default_factory=Layerwise)

    @property
    def sqnr_db(self) -> float:
        return decibels(float(self.errors.mean()))


class _Repairs:
    """The repairs of one model."""

    def __init__(
        self,
        content: bytes,
        given: Samplings,
        layers: Sequence[LayerRecord],
        config: CalibrationConfig,
        backend: str,
    ) -> None:
        self._calibration, self._layers, self._config = given.calibration, layers, config
        self._quantize = BACKENDS[backend].quantize
        self._held_out = OutputErrors(content, given.held_out)

    def measured(self, content: bytes, ranges: list[Range], described: dict[str, Any], **more: Any) -> _State:
        """Return the state of a float file with these ranges."""
        int8 = self._quantize(content, with_output_levels(ranges, content, self._layers), "int8")
        return _State(content, ranges, described, int8, self._held_out.errors(int8), **more)

    def obstacle(self, name: str, content: bytes) -> str:
        """Return why a repair cannot be made; "" if it can."""
        model = read_tflite(content)
        keeps_values = any(each.clusters or each.levels or each.output_bits for each in self._layers)
        if name != BIAS_CORRECTION and keeps_values:
            return "the weights must keep their few values"
        if name == EQUALIZATION:
            return "" if find_pairs(model) else "no two layers can exchange scales"
        return unrepairable(model)

    def equalized(self, state: _State) -> _State:
        """Return the state after cross-layer equalization, with new ranges."""
        content = equalize(state.content, channel_magnitudes(state.content, self._calibration))
        observed = set(observed_tensors(read_tflite(content)))
        unseen = [each for each in state.ranges if each.subgraph or each.tensor not in observed]
        return self.measured(content, *choose_ranges(content, unseen, self._calibration, self._config))

    def with_kernels(self, state: _State, **layerwise: bool) -> _State:
        """Return the state after one more repair of the kernels, made again from before the others."""
        start = state.before_kernels or state
        repairs = replace(state.layerwise, **layerwise)
        content = repair_kernels(start.content, start.int8, self._calibration.model_inputs(), repairs)
        return self.measured(content, start.ranges, start.described, before_kernels=start, layerwise=repairs)


def write_repaired(
    source: Ranges,
    given: Samplings,
    layers: Sequence[LayerRecord],
    names: tuple[str, ...],
    config: CalibrationConfig,
    backend: str,
    made: Ranges,
) -> tuple[tuple[Repair, ...], str]:
    """Write the files of ``made``; runs in a child process.

    Returns:
        What each repair does, and which method chose the new ranges; "" if there are none.
    """
    content = source.tflite.read_bytes()
    repairs = _Repairs(content, given, layers, config, backend)
    make: dict[str, Callable[[_State], _State]] = {
        EQUALIZATION: repairs.equalized,
        BIAS_CORRECTION: lambda state: repairs.with_kernels(state, bias_correction=True),
        ROUNDING: lambda state: repairs.with_kernels(state, rounding=True),
    }
    state = first = repairs.measured(
        content, read_ranges(source), json.loads(source.table.read_text("utf-8"))
    )
    done = []
    for name in REPAIRS:
        if names != (AUTO,) and name not in names:
            continue
        before, reason = state, repairs.obstacle(name, state.content)
        after = before if reason else make[name](before)
        if not reason:
            reason = _no_gain(before.errors, after.errors) if names == (AUTO,) else ""
            state = before if reason else after
        done.append(
            Repair(
                name=name, before_db=before.sqnr_db, after_db=after.sqnr_db, samples=len(given.held_out),
                applied=not reason, reason=reason,
            )
        )  # fmt: skip
    write_files(made, state.content, state.ranges, state.described)
    chosen: str = "" if state.ranges is first.ranges else state.described.get("finding", "")
    return tuple(done), chosen


def _no_gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """Return why errors (n,) are not measurably smaller after a repair; "" if they are."""
    gain = before - after
    noise = float(gain.std()) / np.sqrt(len(gain))
    if decibels(after.mean()) - decibels(before.mean()) < MIN_GAIN_DB or gain.mean() <= SIGMAS * noise:
        return "no measurable gain"
    return ""
