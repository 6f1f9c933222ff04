"""The whole build: compile a model, measure it, release it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Source, described
from pipeline.compiling import Compiled, Inputs, compile_model
from pipeline.content import file_sha256
from pipeline.errors import ConfigError
from pipeline.layer_records import LayerTreatment, known_layers
from pipeline.loading.load import load_data, shifted_data, source_of
from pipeline.quantize.compilers import compile_for
from pipeline.quantize.convert import after_training
from pipeline.recipe import recipe_of
from pipeline.release.documents import provenance_of
from pipeline.release.drift_reference import make_drift_reference
from pipeline.release.reference import reference_of
from pipeline.release.release import judge, publish, release, require_passed
from pipeline.report.tensorboard import write_event_files
from pipeline.runtimes.environment import check_environment
from pipeline.scratch import scratch
from pipeline.sections import Unkeyed
from pipeline.validation.assemble import assemble_report
from pipeline.validation.gates import plan
from pipeline.validation.measure import ToMeasure, measure, needs_devices
from pipeline.validation.model_under_test import InputSpec, OutputSpec, output_names
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Measured
    from pipeline.build_config import BuildConfig
    from pipeline.run import Run
    from pipeline.targets import Target
    from pipeline.validation.report import Report


@dataclass(frozen=True)
class Built:
    """A finished build: the release's folder and the report that it stands on."""

    folder: Path
    reproducible_digest: str
    report: Report


def build(
    target: Target,
    config: BuildConfig,
    run: Run,
    key: Path | str | None = None,
    password: str | None = None,
) -> Built:
    """Build a validated release for ``target`` from a trained Keras model.

    Args:
        key: signs the release, a path or PEM text; None leaves it unsigned.
        password: of the key, where it is encrypted.

    Raises:
        GateFailed: a gate was not passed; there is no new release.
        PipelineError: a stage could not finish.
    """
    needed = needs_devices(plan(config.gates.enabled)) or bool(config.precision.layers)
    check_environment(target.devices if needed else ())
    if config.precision.layers and target.compiler:
        msg = f"precision.layers: the compiler of {target.name} takes int8 throughout; leave it out"
        raise ConfigError(msg)
    inputs = Inputs.of(config, target)
    with run.recording(inputs.name):
        compiled = compile_model(inputs, config, run, target)
        write_event_files(compiled.quantized.trainings, run.folder / "tensorboard")
        compiled = replace(compiled, quantized=compile_for(target, compiled.quantized, run.step))
        measured = measure_model(compiled, inputs, target, config, run)
        return release_model(compiled, measured, inputs, target, config, run, key, password)


def measure_model(
    compiled: Compiled, inputs: Inputs, target: Target, config: BuildConfig, run: Run
) -> Measured:
    """Measure the quantized model against its float baseline on every runtime of ``target``.

    Raises:
        PipelineError: a stage could not finish.
    """
    data, loaded, prepared, settings = compiled.data, compiled.loaded, compiled.prepared, config.validation
    quantized = compiled.quantized
    like = {"inputs": loaded.inputs, "outputs": loaded.outputs, "seed": config.seed}
    shifted = [
        run.step(load_data, source_of(other), config=other, **like)
        for other in shifted_data(config.data, data, settings.shift)
    ]
    model, baseline = quantized.source, compiled.baseline.source
    earlier = inputs.against
    against = reference_of(earlier, prepared.preprocessing, data) if earlier else None
    to_measure = ToMeasure(
        model=model,
        baseline=baseline,
        against=against,
        data=data,
        shifted=tuple(shifted),
        inputs=InputSpec.of(prepared.preprocessing, settings.golden_samples, config.seed),
        outputs=OutputSpec(data.tasks, output_names(prepared.outputs), prepared.from_logits, data.classes),
        package=target.runtime,
        devices=target.devices,
        config=settings,
        plan=plan(config.gates.enabled),
        layers=known_layers(quantized.layers),
        counterpart=quantized.counterpart,
        expected=_source_of_file(quantized.expected),
        original=_source_of_file(quantized.original),
    )
    with scratch("measure") as folder:
        found = measure(to_measure, run, folder)
    return run.step(
        assemble_report, model, name=quantized.tflite.name, baseline=baseline, against=against,
        found=found, described=_described(target, compiled, config),
        known_layers=known_layers(quantized.layers),
    )  # fmt: skip


def _source_of_file(path: Path) -> Source | None:
    return Source(location=str(path), digest=file_sha256(path)) if path.exists() else None


def _described(target: Target, compiled: Compiled, config: BuildConfig) -> dict[str, Any]:
    """Return the parts of the report that are not measurements."""
    data, prepared, quantized = compiled.data, compiled.prepared, compiled.quantized
    return {
        "target": target.name,
        "runtime": target.runtime,
        "format": quantized.format,
        "format_reason": quantized.reason,
        "recipe": recipe_of(config),
        "classes": data.classes,
        "preprocessing": described(prepared.inputs, prepared.preprocessing),
        "rewrites": prepared.rewrites,
        "unrolled": prepared.unrolled,
        "layers": tuple(map(LayerTreatment.of, quantized.layers)),
        "baselines": None if compiled.teacher is None else compiled.teacher.baselines,
        "candidates": quantized.candidates,
        "steps": compiled.steps,
        "repairs": quantized.repairs,
        "precision": quantized.precision,
        "trainings": quantized.trainings,
        "notes": (
            *(*data.findings, *data.notes, *prepared.notes),
            *filter(None, [quantized.ranges, after_training(quantized)]),
        ),
    }


def release_model(
    compiled: Compiled,
    measured: Measured,
    inputs: Inputs,
    target: Target,
    config: BuildConfig,
    run: Run,
    key: Path | str | None = None,
    password: str | None = None,
) -> Built:
    """Judge what was measured, and publish a release of what passed.

    The report is published whether or not the gates pass; an earlier release of the same name is replaced
    only by one that passes.

    Raises:
        GateFailed: a gate was not passed; there is no new release.
        PipelineError: a stage could not finish.
    """
    step, data, prepared, name = run.step, compiled.data, compiled.prepared, inputs.name
    report, folder = run.folder / "report" / name, run.folder / "release" / name

    provenance = provenance_of(inputs.model, inputs.data, config, inputs.origin)
    judged = step(
        judge, measured, name=name, gates=config.gates, provenance=provenance, command=Unkeyed(run.command)
    )
    run.verify(judged)
    publish(judged.folder, report)
    passed = require_passed(judged, report, standing=folder)
    drift_reference = step(make_drift_reference, compiled.quantized, prepared, data, seed=config.seed)
    run.verify(compiled.quantized, measured, drift_reference, compiled.samples)
    released = step(
        release, compiled.quantized, passed, measured, drift_reference, compiled.samples, data, prepared,
        inputs.model, inputs.data, config=config, target=target, origin=inputs.origin,
    )  # fmt: skip
    run.verify(released)
    publish(released.folder / name, folder, key, password)
    return Built(folder, released.reproducible_digest, read_report(judged.report))
