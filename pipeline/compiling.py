"""From a Keras model to the int8 model: load, prepare, compress and quantize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.bundle import release_name
from pipeline.artifacts import Source
from pipeline.compress.steps import COMPRESS
from pipeline.errors import StageError, leaf_errors_mapped
from pipeline.events import Finding, Warned, emit
from pipeline.isolation.child import in_child
from pipeline.loading.field_calibration import field_statistics
from pipeline.loading.load import last_release, model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.planning.download import with_needed_zeros
from pipeline.planning.step_gains import measure_steps
from pipeline.precision.select import require_known, select_precision
from pipeline.preparation.float_check import check_float
from pipeline.quantize.candidates import choose_quantized
from pipeline.quantize.metadata import ModelInfo, add_metadata
from pipeline.quantize.methods import QUANTIZE, PtqConfig
from pipeline.recipe import part_of
from pipeline.release.documents import Origin
from pipeline.release.manifest import counter_in
from pipeline.release.released import model_file
from pipeline.sections import Unkeyed
from pipeline.training.teacher import choose_teacher
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.artifacts import (
        Artifact,
        Baseline,
        CalibrationSet,
        Dataset,
        FloatModel,
        KerasModel,
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


def compile_model(
    inputs: Inputs,
    config: BuildConfig,
    run: Run,
    target: Target | None = None,
    after_compression: Callable[[tuple[StepGain, ...]], None] | None = None,
) -> Compiled:
    """Load, prepare, compress and quantize the model.

    Args:
        target: on whose runtimes wider layers are chosen; None to leave all layers in int8.
        after_compression: gets what the steps bought, and may raise to end here. It is left out where their
            scores are on test samples that were set aside, and so compare with no other build's.

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
    if after_compression is not None and not data.is_set_aside:
        after_compression(steps)
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
