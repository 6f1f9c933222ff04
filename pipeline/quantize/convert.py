"""Keras models to .tflite: the float32 baseline, and full-integer int8 or the best that comes after it.

The converter runs in a child process: it segfaults on some recurrent layers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.artifacts import Baseline, QuantizedModel
from pipeline.errors import PipelineError, StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import float_operators, integer_io, read_tflite, weight_sparsity
from pipeline.isolation import sandbox
from pipeline.quantize.layers import final_treatments, float_layers, is_trained, quantized_after_training
from pipeline.quantize.tflite import write_float32, write_quantized
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.scaling import as_input, as_real
from pipeline.runtimes.session import Session
from pipeline.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import AwareModel, CalibrationSet, Dataset, PreparedModel
    from pipeline.config import ConversionConfig
    from pipeline.flatbuffer import TfliteModel
    from pipeline.formats import Format
    from pipeline.targets import Package

STAGE = "convert_quantized"
_PLACE = re.compile(r"\S+:\d+:\d+: error: ")  # of the converter's caller, which says nothing of the model
# int8 rounding adds zeros and takes none away, but folding a batch normalisation may flip a tie.
LOST_ZEROS_TOLERANCE = 1e-3
NAMED = 3  # in an error, which is one line
TRIED_SAMPLES = 32
# Rounding alone leaves more than 0.98 in every model that was measured; a wrong kernel leaves less than 0.85.
LEAST_CORRELATION = 0.9


def convert_float(model: PreparedModel, *, timeout_s: float, out: Path) -> Baseline:
    """Convert the unchanged model to float32, the reference of every comparison.

    Raises:
        StageError: the converter failed, crashed or took too long.
    """
    written = out / "float.tflite"
    sandbox.run("convert_float", write_float32, model, written, timeout_s=timeout_s)
    return Baseline(size_bytes=written.stat().st_size)


class Attempt(NamedTuple):
    """One way to convert: to a format, and from which weights.

    Attributes:
        format: what is wanted.
        trained: whether from the model with fake quantization; else from the pruned one, whose values the
            converter quantizes after training.
    """

    format: Format
    trained: bool = True

    def __str__(self) -> str:
        return self.format if self.trained else f"{self.format} without quantization-aware training"


def convert_quantized(
    aware: AwareModel,
    model: PreparedModel,
    samples: CalibrationSet,
    data: Dataset,
    *,
    config: ConversionConfig,
    out: Path,
) -> QuantizedModel:
    """Convert to the first of ``config.formats`` that the converter can make and the runtimes can run.

    For "int8" every operator, input and output has to be of integers, which is looked up in the file. Where
    the model of quantization-aware training does not become a format of int8, the pruned one is quantized
    after training before the next format is tried (docs/adr/0026-int8-after-training.md).
    LiteRT has to run the file; of the formats after "int8" one is preferred that tflite-runtime runs as well.

    Raises:
        StageError: none of them can be had, or zeros were lost on the way.
        StageTimeoutError: the converter or a runtime took too long, which says nothing of the format.
        StageKilledError: it was killed, as where memory runs out, which says as little.
    """
    chosen = Samples.of(data, "train", model.preprocessing).take(np.load(samples.indices))
    taken, trial, reasons = _first_that_runs(aware, model, chosen, config, out)
    written = trial.rename(out / "model.tflite")
    for left in out.glob("trial-*"):
        left.unlink()
    flat = read_tflite(written)
    layers = aware.layers if taken.trained else quantized_after_training(aware.layers)
    converted = QuantizedModel(
        size_bytes=flat.size_bytes,
        sha256=flat.sha256,
        sparsity=_sparsity(flat, aware),
        format=taken.format,
        reason="" if taken.format == "int8" else _told(reasons),
        untrained="" if taken.trained else reasons[Attempt(taken.format)],
        layers=final_treatments(layers, taken.format, flat),
    )
    return replace(converted, notes=tuple(filter(None, [converted.after_training])))


def _first_that_runs(
    aware: AwareModel, model: PreparedModel, chosen: Samples, config: ConversionConfig, out: Path
) -> tuple[Attempt, Path, dict[Attempt, str]]:
    """The best way to convert, its file, and what is against each of the better ones."""
    reasons: dict[Attempt, str] = {}
    second_best: tuple[Attempt, Path] | None = None
    for number, wanted in enumerate(_attempts(aware, model, config)):
        trial = out / f"trial-{number}.tflite"
        problem, both = _try(wanted, aware, model, chosen, trial, config.convert_timeout_s)
        if problem:
            reasons[wanted] = problem
            trial.unlink(missing_ok=True)
        elif both or wanted.format == "int8":
            return wanted, trial, reasons
        else:
            second_best = second_best or (wanted, trial)
            reasons[wanted] = "runs on LiteRT only"
    if second_best is None:
        hint = "replace the layers that it names, or allow another format: [quantize] formats"
        raise StageError(STAGE, _told(reasons), hint)
    return *second_best, reasons


def _attempts(aware: AwareModel, model: PreparedModel, config: ConversionConfig) -> Iterator[Attempt]:
    """The ways to convert, the best first; what was not trained so has one for each format."""
    trained = any(map(is_trained, aware.layers))
    for wanted in config.formats:
        yield Attempt(wanted)
        known = wanted == "int8" and model.without_int8
        if trained and not known and wanted.startswith("int8"):
            yield Attempt(wanted, trained=False)


def _told(reasons: dict[Attempt, str]) -> str:
    return "; ".join(f"{wanted}: {problem}" for wanted, problem in reasons.items())


def _sparsity(flat: TfliteModel, aware: AwareModel) -> float:
    """The share of zeros over all kernels.

    Raises:
        StageError: pruned zeros were lost.
    """
    kernels = weight_sparsity(flat).values()
    zeros, weights = sum(count.zeros for count in kernels), sum(count.total for count in kernels)
    if zeros < aware.zero_weights * (1 - LOST_ZEROS_TOLERANCE):
        cause = f"{aware.zero_weights:,} weights were zero before the conversion and {zeros:,} after"
        hint = "report this model: zeros must survive quantization"
        raise StageError(STAGE, cause, hint)
    return zeros / max(weights, 1)


def _try(
    wanted: Attempt, aware: AwareModel, model: PreparedModel, chosen: Samples, written: Path, timeout_s: float
) -> tuple[str, bool]:
    """Convert and run: what went wrong or "", and whether both runtimes run it."""
    if wanted.format == "int8" and model.without_int8:
        return _listing([f"layer {name!r}: {reason}" for name, reason in model.without_int8]), False
    answers = written.with_suffix(".npz")
    tried = chosen.take(slice(0, TRIED_SAMPLES))
    try:
        sandbox.run(
            STAGE, write_quantized, aware, model, chosen, *wanted, tried, answers, written,
            timeout_s=timeout_s,
        )  # fmt: skip
        flat = read_tflite(written)
        if wanted.format == "int8" and (problem := _not_integer(flat, aware)):
            return problem, False
        with np.load(answers) as stored:
            expected = [stored[name] for name in sorted(stored.files)]
        if problem := _strayed(expected, _answers(written, tried, "litert")):
            return problem, False
    except StageTimeoutError as error:
        hint = f"raise [quantize] convert_timeout_s, or leave {wanted.format!r} out of [quantize] formats"
        raise StageTimeoutError(STAGE, f"{wanted}: {error.cause}", hint) from error
    except StageKilledError as error:
        hint = "free memory, then build again; a format is not given up for that"
        raise StageKilledError(STAGE, f"{wanted}: {error.cause}", hint) from error
    except StageError as error:
        return _PLACE.sub("", error.cause), False
    except PipelineError as error:
        return str(error), False
    finally:
        answers.unlink(missing_ok=True)
    try:
        return "", not _strayed(expected, _answers(written, tried, "tflite-runtime"))
    except (StageKilledError, StageTimeoutError):
        raise
    except PipelineError:
        return "", False


def _answers(written: Path, samples: Samples, package: Package) -> list[NDArray[Any]]:
    """What a runtime returns, as real numbers (n, ...) for each output.

    Raises:
        PipelineError: it cannot run the file.
    """
    with Session(host_runtime(package), written) as session:
        details = session.describe()
        inputs = [as_input(v, to) for v, to in zip(samples.model_inputs(), details.inputs, strict=True)]
        return [as_real(v, of) for v, of in zip(session.run(inputs), details.outputs, strict=True)]


def _strayed(expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> str:
    """Say where the converted file's answers are not those of the model that was converted.

    TFLite's int8 kernels for stacked recurrent layers, for one, run and return something else.
    """
    for wanted, got in zip(expected, found, strict=True):
        if not np.isfinite(got).all():
            return "it returns numbers that are not finite"
        if np.ptp(wanted) > 0 and (likeness := _correlation(wanted, got)) < LEAST_CORRELATION:
            return f"its answers are not the Keras model's (correlation {likeness:.2f})"
    return ""


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    first, second = (values.ravel().astype(np.float64) for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / max(np.sqrt((first @ first) * (second @ second)), 1e-30))


def _not_integer(flat: TfliteModel, aware: AwareModel) -> str:
    """Say what is not of integers, in the names of the layers where those are known."""
    left = float_operators(flat)
    if not left:
        return "" if integer_io(flat) else "its input or output is not int8"
    named = [
        f"layer {name!r} has no int8 kernel for {', '.join(operators)}"
        for name, operators in float_layers(flat, aware.layers).items()
    ] or [f"a float operator is left: {operator!s:.80}" for operator in left]
    return _listing(named)


def _listing(problems: list[str]) -> str:
    more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return "; ".join(problems[:NAMED]) + more
