"""The whole build: compile a model, measure it, release it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploy.bundle import release_name
from pipeline.artifacts import Source, described
from pipeline.compress.steps import COMPRESS
from pipeline.content import file_sha256
from pipeline.errors import ConfigError, StageError, leaf_errors_mapped
from pipeline.events import Finding, Warned, emit
from pipeline.isolation.child import in_child
from pipeline.layer_records import LayerTreatment, known_layers
from pipeline.loading.field_calibration import field_statistics
from pipeline.loading.load import last_release, load_data, model_digest, shifted_data, source_of
from pipeline.opening import open_inputs
from pipeline.planning.download import with_needed_zeros
from pipeline.planning.step_gains import measure_steps
from pipeline.precision.select import require_known, select_precision
from pipeline.preparation.float_check import check_float
from pipeline.quantize.candidates import choose_quantized
from pipeline.quantize.compilers import compile_for
from pipeline.quantize.convert import after_training
from pipeline.quantize.metadata import ModelInfo, add_metadata
from pipeline.quantize.methods import QUANTIZE, PtqConfig
from pipeline.recipe import part_of, recipe_of
from pipeline.release.documents import Origin, provenance_of
from pipeline.release.drift_reference import make_drift_reference
from pipeline.release.manifest import counter_in
from pipeline.release.reference import reference_of
from pipeline.release.release import judge, publish, release, require_passed
from pipeline.release.released import model_file
from pipeline.report.tensorboard import write_event_files
from pipeline.runtimes.environment import check_environment
from pipeline.scratch import scratch
from pipeline.sections import Unkeyed
from pipeline.training.teacher import choose_teacher
from pipeline.training_config import TrainingConfig
from pipeline.validation.assemble import assemble_report
from pipeline.validation.gates import plan
from pipeline.validation.measure import ToMeasure, measure, needs_devices
from pipeline.validation.model_under_test import InputSpec, OutputSpec, output_names
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import (
        Artifact,
        Baseline,
        CalibrationSet,
        Dataset,
        FloatModel,
        KerasModel,
        Measured,
        ModelArtifact,
        PreparedModel,
        QuantizedModel,
        Teacher,
    )
    from pipeline.build_config import BuildConfig
    from pipeline.choices import StepGain
    from pipeline.quantize.methods import Quantization
    from pipeline.run import Run
    from pipeline.targets import Target
    from pipeline.validation.report import Report


@dataclass(frozen=True)
class Inputs:
    """The user's files for a build, by content; reading them first reports wrong paths before any work.

    Attributes:
        name: of the release, ``NAME-VERSION-TARGET``.
        against: the last release's .tflite, if there is one.
        field: statistics from devices to calibrate with, if there are any.
        origin: where, when and by whom the release is built.
    """

    name: str
    model: Source
    data: Source
    against: Source | None
    field: Source | None
    origin: Origin

    @classmethod
    def of(cls, config: BuildConfig, target: Target) -> Inputs:
        """Find and digest everything that ``config`` names.

        Raises:
            PipelineError: a file is missing or damaged, or no rollback index follows from the version.
        """
        counter_in(config)
        for step in config.compress:
            COMPRESS[step.method].files(step)
        with leaf_errors_mapped():
            earlier = config.validation.against
            return cls(
                name=release_name(config.project.name, config.project.version, target.name),
                model=Source(location=str(config.model.path), digest=model_digest(config.model)),
                data=source_of(config.data),
                against=last_release(earlier and model_file(earlier)),
                field=field_statistics(config.calibration),
                origin=Origin.of(config.model.path),
            )


@dataclass(frozen=True)
class Compiled:
    """The model to release, and what measuring and documenting it needs."""

    loaded: FloatModel
    data: Dataset
    prepared: PreparedModel
    baseline: Baseline
    samples: CalibrationSet
    teacher: Teacher | None
    quantized: QuantizedModel
    steps: tuple[StepGain, ...]


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


def compile_model(inputs: Inputs, config: BuildConfig, run: Run, target: Target | None = None) -> Compiled:
    """Load, prepare, compress and quantize the model.

    Args:
        target: on whose runtimes wider layers are chosen; None to leave all layers in int8.

    Raises:
        PipelineError: a stage could not finish.
    """
    step = run.step

    opened = open_inputs(inputs.model, inputs.data, inputs.field, config, run)
    data, prepared, baseline, samples = opened.data, opened.prepared, opened.baseline, opened.samples
    step(check_float, baseline, prepared, data, allow_chance=config.gates.allow_chance)
    if not config.precision.searches:
        require_known(config.precision.layers, prepared.layers)
    teacher = find_teacher(prepared, data, config, run)
    if teacher is not None and teacher.sets_aside:
        data = data.divided(set_aside=True)
    stages = () if teacher is None else compress_model(teacher, data, config, run)
    steps = measure_steps(stages, data, tuple(map(part_of, config.compress)), target, run)
    compressed = stages[-1] if stages else None
    converted = quantize_model(prepared, teacher, compressed, baseline, samples, data, config, run)
    if config.precision.layers and target is not None:
        converted = step(
            select_precision, converted, prepared, baseline, data,
            config=config.precision, gates=config.gates, devices=target.devices, seed=config.seed,
        )  # fmt: skip
    quantized = step(
        add_metadata, converted, prepared, data, info=ModelInfo.of(config.project, config.release)
    )
    if quantized.reason:
        emit(Warned(text=f"the release is {quantized.format}: {quantized.reason}"))
    return Compiled(opened.loaded, data, prepared, baseline, samples, teacher, quantized, steps)


def find_teacher(prepared: PreparedModel, data: Dataset, config: BuildConfig, run: Run) -> Teacher | None:
    """Choose the float model that training starts from and learns from; None if nothing is trained.

    Raises:
        PipelineError: a stage could not finish.
    """
    trains = config.compress or QUANTIZE[config.quantize.method].train
    if prepared.opaque or not trains:
        return None
    training = getattr(config.quantize, "training", TrainingConfig())
    choose = in_child(choose_teacher)
    return run.step(choose, prepared.keras, data, config=config.teacher, training=training, seed=config.seed)


def quantize_model(
    prepared: PreparedModel,
    teacher: Teacher | None,
    compressed: KerasModel | None,
    baseline: Baseline,
    samples: CalibrationSet,
    data: Dataset,
    config: BuildConfig,
    run: Run,
) -> QuantizedModel:
    """Train the compressed model for quantization where the method does, and convert it.

    Where the method has another one beside it, the better result is taken.

    Args:
        compressed: the teacher after all compression steps; None like the teacher if nothing is trained.

    Raises:
        PipelineError: a stage could not finish.
    """
    method = QUANTIZE[config.quantize.method]
    if teacher is None or compressed is None:
        model = prepared if prepared.opaque else prepared.keras
        return convert_model(model, method, samples, data, config, run)
    skipped = method.skips_training(prepared)
    candidates: dict[str, QuantizedModel] = {}
    if skipped:
        emit(Finding(text=skipped))
    else:
        candidates["qat"] = train_and_convert(compressed, method, teacher, samples, data, config, run)
        if not method.beside:
            return candidates["qat"]
    beside = QUANTIZE[method.beside]
    others = [(method.beside, beside, compressed)]
    if config.compress:
        # Training is known to help this model, so the better weights may be those with nothing removed.
        trains = teacher.fine_tuned and not skipped
        others += [("qat, not compressed", method, teacher)] if trains else []
        others += [(f"{method.beside}, not compressed", beside, teacher)]
    for name, other, model in others:
        try:
            candidates[name] = train_and_convert(model, other, teacher, samples, data, config, run)
        except StageError as error:
            if not candidates and name == others[-1][0]:
                raise
            emit(Warned(text=f"{name!r} is not among the quantized models to choose from: {error}"))
    return run.step(
        in_child(choose_quantized), data, teacher, baseline, *candidates.values(),
        names=tuple(candidates), max_size_ratio=config.gates.size_ratio,
        max_download=config.gates.download_bytes, max_shift_points=config.gates.shift_drop_points,
    )  # fmt: skip


def train_and_convert(
    model: KerasModel,
    method: Quantization,
    teacher: Teacher,
    samples: CalibrationSet,
    data: Dataset,
    config: BuildConfig,
    run: Run,
) -> QuantizedModel:
    """Train a model for quantization, where the method does, and convert it.

    Raises:
        PipelineError: a stage could not finish.
    """
    if method.train:
        train = in_child(method.train)
        model = run.step(train, model, teacher, data, config=config.quantize, seed=config.seed)
    return convert_model(model, method, samples, data, config, run)


def compress_model(
    teacher: KerasModel, data: Dataset, config: BuildConfig, run: Run
) -> tuple[KerasModel, ...]:
    """Run the compression steps in order; every step learns from the same teacher.

    Returns:
        The teacher, and the model after each step.

    Raises:
        PipelineError: a stage could not finish.
    """
    models = [teacher]
    for settings in config.compress:
        row = COMPRESS[settings.method]
        settings = with_needed_zeros(settings, models[-1], config.gates.download_bytes, run)
        compress, files = in_child(row.stage), row.files(settings)
        models.append(
            run.step(compress, models[-1], teacher, data, *files, config=settings, seed=config.seed)
        )
    return tuple(models)


def convert_model(
    model: ModelArtifact,
    method: Quantization,
    samples: CalibrationSet,
    data: Dataset,
    config: BuildConfig,
    run: Run,
) -> QuantizedModel:
    """Convert a model with the stages of a quantization method.

    Raises:
        PipelineError: a stage could not finish.
    """
    given: list[Artifact] = [model, samples, data]
    if method.calibrate is not None and config.convert.to_integers:
        timeout = Unkeyed(config.convert.timeout_s)
        ranges = run.step(method.calibrate, *given, config=config.calibration, timeout_s=timeout)
        repairs = config.quantize.repairs if isinstance(config.quantize, PtqConfig) else ()
        if method.repair is not None and repairs:
            ranges = run.step(
                method.repair, *given, ranges, repairs=repairs, config=config.calibration,
                backend=config.convert.backend, timeout_s=timeout,
            )  # fmt: skip
        given.append(ranges)
    return run.step(method.convert, *given, config=config.convert)


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
