"""Find the layers that lose accuracy in int8: of a build, a release, or any .tflite file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.compiling import Inputs, compile_model
from pipeline.errors import InputError, leaf_errors_mapped
from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.simulation import exact_constants, require_simulated
from pipeline.layer_records import known_layers
from pipeline.loading.load import load_data
from pipeline.npy import read_array
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.metadata import add_metadata
from pipeline.run import Run, recorded
from pipeline.runtimes.environment import check_environment
from pipeline.runtimes.quantization import dequantize
from pipeline.scratch import scratch
from pipeline.standalone_validation import read_given
from pipeline.targets import get_target
from pipeline.validation.layer_errors import grouped
from pipeline.validation.model_under_test import InputSpec, ModelUnderTest, OutputSpec, output_names
from pipeline.validation.report import read_report
from pipeline.validation.sensitivity import Given, Sensitivity, measure_sensitivity, sensitivity_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, PreparedModel, QuantizedModel
    from pipeline.build_config import BuildConfig
    from pipeline.release.released import Released
    from pipeline.store import Store

REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class Debugged:
    """The layers of a model, and what is known of how they came about.

    Attributes:
        name: of the model.
        sensitivity: of each layer.
        rewrites: what graph preparation changed in the user's model, one line each.
    """

    name: str
    sensitivity: Sensitivity
    rewrites: tuple[str, ...] = ()


def debug_model(config: BuildConfig, store: Store, samples: int | None) -> Debugged:
    """Build a model up to its int8 file, with the stages of a build, and measure its layers.

    Args:
        samples: how many test samples; None for up to ``MAX_SAMPLES``.

    Raises:
        PipelineError: a stage could not finish.
    """
    check_environment(())
    with scratch("debug") as folder:
        run = Run(folder, store)
        inputs = Inputs.of(config, get_target("host"))
        compiled = compile_model(inputs, config, run)
        found = _of_build(compiled.quantized, compiled.data, compiled.prepared, config.seed, samples, run)
    return Debugged(name=inputs.name, sensitivity=found, rewrites=compiled.prepared.rewrites)


def debug_build(build: Path, store: Store, seed: int, samples: int | None) -> Debugged:
    """Measure the layers of the int8 file of a build that was made before, released or not.

    Args:
        build: its output folder.

    Raises:
        InputError: the folder has no record of a build, or the store no longer has its stages.
        StageError: a runtime crashed or hung.
    """
    [*_, quantized] = recorded(build, store, add_metadata)
    [data, *_] = recorded(build, store, load_data)
    [prepared, *_] = recorded(build, store, prepare_model)
    with scratch("debug") as folder:
        found = _of_build(quantized, data, prepared, seed, samples, Run(folder, store))
    return Debugged(name=build.name, sensitivity=found, rewrites=prepared.rewrites)


def debug_file(
    file: Path,
    *,
    config: BuildConfig,
    store: Store,
    samples: int | None = None,
    baseline: Path | None = None,
    released: Released | None = None,
) -> Debugged:
    """Measure the layers of any int8 .tflite file.

    Args:
        config: its data, preprocessing and seed; without data, the golden samples of the release are used.
        samples: how many test samples; None for up to ``MAX_SAMPLES``.
        baseline: the float file that it was quantized from, with the same weights.
        released: the release that the file is of.

    Raises:
        InputError: a file or the data is damaged, they do not fit each other, or there are no samples.
        StageError: a runtime crashed or hung.
    """
    under_test = ModelUnderTest.open(file)
    original = ModelUnderTest.open(baseline) if baseline else None
    require_simulated(under_test.flat, str(file))
    known = released.folder / REPORT if released else None
    report = read_report(known) if known and known.exists() else None
    layers = known_layers(report.layers if report else ())
    with leaf_errors_mapped(), scratch("debug") as folder:
        run = Run(folder, store)
        given = read_given(under_test, original or under_test, config, run)
        if given.data is not None:
            found = run.step(
                measure_sensitivity, under_test.source, given.data,
                *([original.source] if original else []),
                inputs=InputSpec.of(given.transforms, config.validation.golden_samples, config.seed),
                outputs=given.outputs, layers=layers, samples=samples,
            )  # fmt: skip
        else:
            values = _golden(under_test, released)
            exact = exact_constants(under_test.flat, original.flat) if original else {}
            groups = grouped(under_test.flat, user_layers(under_test.flat, layers))
            found = sensitivity_of(under_test.flat, exact, groups, Given(values), layers, folder)
    return Debugged(name=file.name, sensitivity=found, rewrites=report.rewrites if report else ())


def _of_build(
    quantized: QuantizedModel,
    data: Dataset,
    prepared: PreparedModel,
    seed: int,
    samples: int | None,
    run: Run,
) -> Sensitivity:
    originals = [ModelUnderTest.open(path).source for path in [quantized.original] if path.exists()]
    return run.step(
        measure_sensitivity, quantized.source, data, *originals,
        inputs=InputSpec.of(prepared.preprocessing, 0, seed),
        outputs=OutputSpec(data.tasks, output_names(prepared.outputs), prepared.from_logits, data.classes),
        layers=known_layers(quantized.layers), samples=samples,
    )  # fmt: skip


def _golden(under_test: ModelUnderTest, released: Released | None) -> list[NDArray[Any]]:
    """Return the golden samples of a release as real numbers.

    Raises:
        InputError: the file does not come with a release.
    """
    if released is None:
        msg = f"{under_test.path}: there are no samples to run it on; give --data, or a release folder"
        raise InputError(msg)
    values = []
    for place, tensor in enumerate(under_test.flat.inputs):
        array = read_array(released.folder / f"golden_input_{place}.npy")
        scaled = bool(tensor.scales) and not tensor.is_float
        values.append(dequantize(array, tensor.scales[0], tensor.zero_points[0]) if scaled else array)
    return values
