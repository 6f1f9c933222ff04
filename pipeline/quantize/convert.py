"""Convert Keras models to .tflite: the float32 baseline, and full-integer int8 or the next best format.

The converter runs in a child process: it segfaults on some recurrent layers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from pipeline.artifacts import Baseline, KerasModel, QatModel, QuantizedModel
from pipeline.content import file_sha256
from pipeline.errors import PipelineError, StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import float_operators, integer_io, read_tflite, weight_sparsity
from pipeline.formats import FORMATS, Format, has_integers
from pipeline.isolation import sandbox
from pipeline.node_parity import Counterpart
from pipeline.quantize.backends import BACKENDS
from pipeline.quantize.fake_quantization import FLOAT, KERAS, simulated_values, write_values
from pipeline.quantize.layers import final_layers, float_layers
from pipeline.quantize.levels import require_levels
from pipeline.quantize.ranges import read_ranges
from pipeline.quantize.tflite import write_float32, write_model
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.samples import Samples
from pipeline.sections import Section, Unkeyed, advice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pipeline.artifacts import CalibrationSet, Dataset, ModelArtifact, PreparedModel, Ranges
    from pipeline.flatbuffer import TfliteModel
    from pipeline.targets import Package

STAGE = "convert"
_PLACE = re.compile(
    r"\S+:\d+:\d+: error: "
)  # the place in the converter's code, which is irrelevant to the user
# int8 rounding only adds zeros, but folding a batch normalization may flip a tie.
LOST_ZEROS_TOLERANCE = 1e-3
NAMED = 3  # named in an error, which must fit in one line
TRIED_SAMPLES = 32
# Minimum correlation: above 0.98 with rounding alone in all measured models, below 0.85 with a wrong kernel.
MIN_CORRELATION = 0.9


class ConvertConfig(Section):
    """Conversion to .tflite.

    Attributes:
        backend: the converter, one of ``BACKENDS``.
        formats: tried in this order until one converts and runs; ``["int8"]`` accepts no other.
        timeout_s: seconds after which the converter's process is killed.
    """

    backend: str = "tflite-converter"
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = FORMATS
    timeout_s: Annotated[float, Field(gt=0), Unkeyed()] = 600.0

    @property
    def to_integers(self) -> bool:
        """Whether a format of int8 is among those to try."""
        return any(map(has_integers, self.formats))

    @field_validator("backend")
    @classmethod
    def _reject_unknown_backend(cls, backend: str) -> str:
        if backend not in BACKENDS:
            msg = f"unknown backend {backend!r}; {advice(backend, BACKENDS, 'backends')}"
            raise ValueError(msg)
        return backend


def convert_float(model: PreparedModel, *, timeout_s: float, out: Path) -> Baseline:
    """Convert the unchanged model to float32, the reference for all comparisons.

    Raises:
        StageError: the converter failed, crashed or took too long.
    """
    written = out / "float.tflite"
    sandbox.run("convert_float", write_float32, model, written, timeout_s=timeout_s)
    return Baseline(sha256=file_sha256(written))


class Attempt(NamedTuple):
    """One way to convert.

    Attributes:
        format: the format to write.
        after_training: whether to start from the model before quantization-aware training and let the
            converter quantize it.
    """

    format: Format
    after_training: bool = False

    def __str__(self) -> str:
        return f"{self.format} without quantization-aware training" if self.after_training else self.format


def convert_quantized(
    model: ModelArtifact,
    samples: CalibrationSet,
    data: Dataset,
    ranges: Ranges | None = None,
    *,
    config: ConvertConfig,
    out: Path,
) -> QuantizedModel:
    """Convert to the first of ``config.formats`` that the converter can make and the runtimes can run.

    For "int8", all operators, inputs and outputs of the file must be integer. If the model from
    quantization-aware training cannot be converted to an int8 format, the model before that training is
    quantized after training, before the next format is tried (docs/adr/0026-int8-after-training.md).
    LiteRT must run the file; after "int8", formats that tflite-runtime runs as well are preferred.

    Args:
        model: a ``QatModel``; a ``KerasModel`` or an opaque ``PreparedModel`` to quantize after training.
        ranges: of the activations, for quantization after training; None to find them on the way.

    Raises:
        StageError: no format works, or the conversion lost zeros or levels.
        StageTimeoutError: the converter or a runtime took too long; the format may still work.
        StageKilledError: it was killed, for example because memory ran out; the format may still work.
    """
    converted = _convert(model, tuple(_attempts(model, config)), samples, data, ranges, config, out)
    if "int8" in config.formats:
        return converted
    reasons = ("[convert] formats leaves out int8", converted.reason)
    return replace(converted, reason="; ".join(filter(None, reasons)))


def convert_unquantized(
    model: ModelArtifact,
    samples: CalibrationSet,
    data: Dataset,
    *,
    config: ConvertConfig,
    out: Path,
) -> QuantizedModel:
    """Convert to float32, and record that the user asked for it.

    Raises:
        StageError: as ``convert_quantized``.
    """
    converted = _convert(model, (Attempt("float32"),), samples, data, None, config, out)
    return replace(converted, reason='[quantize] method is "none"')


def _convert(
    model: ModelArtifact,
    attempts: tuple[Attempt, ...],
    samples: CalibrationSet,
    data: Dataset,
    ranges: Ranges | None,
    config: ConvertConfig,
    out: Path,
) -> QuantizedModel:
    chosen = Samples.of(data, "train", model.preprocessing).take(np.load(samples.indices))
    taken, trial, reasons = _first_that_runs(model, attempts, chosen, ranges, config, out)
    written = trial.rename(out / "model.tflite")
    for suffix, name in ((".float", "float.tflite"), (".expected", "expected.npz")):
        if (made := trial.with_suffix(suffix)).exists():
            made.rename(out / name)
    for left in out.glob("trial-*"):
        left.unlink()
    flat = read_tflite(written)
    require_levels(flat, model.layers, taken.format)
    converted = QuantizedModel(
        size_bytes=flat.size_bytes,
        sha256=flat.sha256,
        sparsity=_sparsity(flat, model),
        format=taken.format,
        reason="" if taken.format == "int8" else _listed(reasons),
        untrained=reasons[Attempt(taken.format)] if taken.after_training else "",
        layers=final_layers(model, taken.format, taken.after_training, flat),
        trainings=model.trainings if isinstance(model, KerasModel) else (),
    )
    if ranges is not None and has_integers(taken.format):
        converted = replace(converted, ranges=ranges.chosen, repairs=ranges.repairs)
    if has_integers(taken.format):
        is_trained = isinstance(model, QatModel) and not taken.after_training
        converted = replace(converted, folder=out)
        converted = replace(converted, folder=Path(), counterpart=_counterpart(converted, chosen, is_trained))
    return replace(converted, notes=tuple(filter(None, [after_training(converted)])))


def after_training(model: QuantizedModel) -> str:
    """Return why a trained model was quantized after training all the same; "" if it was not."""
    if not model.untrained:
        return ""
    return (
        f"{model.format} by post-training quantization: the model of quantization-aware training "
        f"does not convert ({model.untrained})"
    )


def _counterpart(converted: QuantizedModel, samples: Samples, is_trained: bool) -> Counterpart:
    """Return the model with fake quantization that a file has to equal; its values are in the folder.

    Those of a trained model are written with the file, where TensorFlow is. If none of its layers can be
    compared, as in a recurrent model, the float file takes its place.
    """
    if is_trained and converted.expected.exists():
        return Counterpart(title=KERAS)
    return float_counterpart(converted, samples)


def float_counterpart(converted: QuantizedModel, samples: Samples) -> Counterpart:
    """Write what the float file with the rounding of a converted file computes, and describe it."""
    try:
        flat, original = (read_tflite(path) for path in (converted.tflite, converted.original))
        values = simulated_values(flat, original, samples.take(slice(0, TRIED_SAMPLES)).model_inputs())
    except PipelineError as error:
        return Counterpart(title=FLOAT, problem=str(error))
    write_values(converted.expected, values)
    return Counterpart(title=FLOAT)


def _first_that_runs(
    model: ModelArtifact,
    attempts: tuple[Attempt, ...],
    samples: Samples,
    ranges: Ranges | None,
    config: ConvertConfig,
    out: Path,
) -> tuple[Attempt, Path, dict[Attempt, str]]:
    """Return the best conversion that works, its file, and why each better one was rejected."""
    reasons: dict[Attempt, str] = {}
    chosen: tuple[Attempt, Path] | None = None
    for number, attempt in enumerate(attempts):
        trial = out / f"trial-{number}.tflite"
        problem, both = _try(attempt, model, samples, ranges, trial, config)
        if problem:
            reasons[attempt] = problem
            trial.unlink(missing_ok=True)
        elif both or attempt.format == "int8":
            return attempt, trial, reasons
        else:
            chosen = chosen or (attempt, trial)
            reasons[attempt] = "runs on LiteRT only"
    if chosen is None:
        hint = "replace the layers that it names, or allow another format: [convert] formats"
        raise StageError(STAGE, _listed(reasons), hint)
    return *chosen, reasons


def _attempts(model: ModelArtifact, config: ConvertConfig) -> Iterator[Attempt]:
    """Return the conversions to try, best first; one per format without quantization-aware training."""
    trained = isinstance(model, QatModel) and any(
        layer.quantization == "quantization-aware" for layer in model.layers
    )
    for requested in config.formats:
        yield Attempt(requested)
        known = requested == "int8" and any(layer.without_int8 for layer in model.layers)
        if trained and not known and has_integers(requested):
            yield Attempt(requested, after_training=True)


def _listed(reasons: dict[Attempt, str]) -> str:
    return "; ".join(f"{requested}: {problem}" for requested, problem in reasons.items())


def _sparsity(flat: TfliteModel, model: ModelArtifact) -> float:
    """Return the share of zeros in all kernels.

    Raises:
        StageError: pruned zeros were lost.
    """
    kernels = weight_sparsity(flat).values()
    zeros, weights = sum(count.zeros for count in kernels), sum(count.total for count in kernels)
    if zeros < model.zero_weights * (1 - LOST_ZEROS_TOLERANCE):
        cause = f"{model.zero_weights:,} weights were zero before the conversion and {zeros:,} after"
        hint = "report this model: zeros must survive quantization"
        raise StageError(STAGE, cause, hint)
    return zeros / max(weights, 1)


def _try(
    requested: Attempt,
    model: ModelArtifact,
    samples: Samples,
    ranges: Ranges | None,
    written: Path,
    config: ConvertConfig,
) -> tuple[str, bool]:
    """Convert and run the file; return the problem or "", and whether both runtimes run it."""
    without_int8 = [f"layer {each.name!r}: {each.without_int8}" for each in model.layers if each.without_int8]
    if requested.format == "int8" and without_int8:
        return _listing(without_int8), False
    calibrated = None
    if ranges is not None and has_integers(requested.format):
        if ranges.problem:
            return _PLACE.sub("", ranges.problem), False
        calibrated = ranges.tflite, read_ranges(ranges)
    answers, original = written.with_suffix(".npz"), written.with_suffix(".float")
    tried = samples.take(slice(0, TRIED_SAMPLES))
    try:
        sandbox.run(
            STAGE, write_model, model, samples, *requested, config.backend, calibrated, original,
            tried, answers, written.with_suffix(".expected"), written,
            timeout_s=config.timeout_s,
        )  # fmt: skip
        flat = read_tflite(written)
        if requested.format == "int8" and (problem := _not_integer(flat, model)):
            return problem, False
        with np.load(answers) as stored:
            expected = [stored[name] for name in sorted(stored.files)]
        if problem := _diverged(expected, _answers(written, tried, "litert")):
            return problem, False
    except StageTimeoutError as error:
        hint = f"raise [convert] timeout_s, or leave {requested.format!r} out of [convert] formats"
        raise StageTimeoutError(STAGE, f"{requested}: {error.cause}", hint) from error
    except StageKilledError as error:
        hint = "free memory, then build again"
        raise StageKilledError(STAGE, f"{requested}: {error.cause}", hint) from error
    except StageError as error:
        return _PLACE.sub("", error.cause), False
    except PipelineError as error:
        return str(error), False
    finally:
        answers.unlink(missing_ok=True)
    try:
        return "", not _diverged(expected, _answers(written, tried, "tflite-runtime"))
    except (StageKilledError, StageTimeoutError):
        raise
    except PipelineError:
        return "", False


def _answers(written: Path, samples: Samples, package: Package) -> list[NDArray[Any]]:
    """Return the outputs of a runtime as real numbers, (n, ...) each.

    Raises:
        PipelineError: the runtime cannot run the file.
    """
    with Session(host_runtime(package), written) as session:
        return run_real(session, samples.model_inputs())


def _diverged(expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> str:
    """Return how the outputs of the converted file differ from the Keras model's; "" if they agree.

    For example, TFLite's int8 kernels for stacked recurrent layers run but return wrong values.
    """
    for requested, got in zip(expected, found, strict=True):
        if not np.isfinite(got).all():
            return "its outputs are not finite"
        if np.ptp(requested) > 0 and (likeness := _correlation(requested, got)) < MIN_CORRELATION:
            return f"its outputs differ from the Keras model's (correlation {likeness:.2f})"
    return ""


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    first, second = (values.ravel().astype(np.float64) for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / max(np.sqrt((first @ first) * (second @ second)), 1e-30))


def _not_integer(flat: TfliteModel, model: ModelArtifact) -> str:
    """Return what is not integer, with the names of the layers if they are known."""
    left = float_operators(flat)
    if not left:
        return "" if integer_io(flat) else "its input or output is not int8"
    named = [
        f"layer {name!r} has no int8 kernel for {', '.join(operators)}"
        for name, operators in float_layers(flat, model.layers).items()
    ] or [f"a float operator is left: {operator!s:.80}" for operator in left]
    return _listing(named)


def _listing(problems: list[str]) -> str:
    more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return "; ".join(problems[:NAMED]) + more
