"""Validation of a .tflite file that no build has to know of: open, measure, judge."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.artifacts import described
from pipeline.errors import InputError, leaf_errors_mapped
from pipeline.loading.load import load_data, shifted_data, source_of
from pipeline.preparation.float_check import ALLOW, Answered, doubt, unsuitable
from pipeline.preparation.input_preprocessing import PROBE_SAMPLES, Choice, Probe, choose_preprocessing
from pipeline.release.reference import reference_of
from pipeline.release.released import release_of
from pipeline.run import Run
from pipeline.runtimes.environment import check_environment
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.remote import RemoteRuntime
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch
from pipeline.validation.assemble import make_report
from pipeline.validation.gates import plan, with_verdicts
from pipeline.validation.measure import ToMeasure, measure, needs_devices
from pipeline.validation.model_under_test import InputSpec, ModelUnderTest, OutputSpec, output_names

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.transports.ssh import SshAddress
    from models.ports import Port
    from pipeline.artifacts import Dataset, Preprocessing
    from pipeline.build_config import BuildConfig
    from pipeline.config import DataConfig
    from pipeline.store import Store
    from pipeline.targets import Device, Target
    from pipeline.tasks.standing import Standard
    from pipeline.validation.report import Report


@dataclass(frozen=True)
class Given:
    """Context for judging a file: samples, meaning of the outputs, and findings about both."""

    data: Dataset | None = None
    transforms: Preprocessing = ()
    outputs: OutputSpec = field(default_factory=OutputSpec)
    shifted: tuple[Dataset, ...] = ()
    notes: tuple[str, ...] = ()
    preprocessing: str = ""
    chance: tuple[Standard, ...] = ()


def validate_file(
    file: Path,
    *,
    target: Target,
    devices: tuple[Device, ...],
    config: BuildConfig,
    store: Store,
    baseline: Path | None = None,
    against: Path | None = None,
    board: bool = False,
    addresses: tuple[SshAddress, ...] = (),
) -> Report:
    """Measure a .tflite file and ask the gates.

    Args:
        target: what it is for.
        devices: those to measure on.
        config: its data, preprocessing, validation, gates and seed.
        store: where measurements are kept, those of builds as well.
        baseline: the float model that it came from.
        against: an earlier file that it may not cost more than.
        board: whether to measure on the emulated board as well.
        addresses: of real devices to measure on as well.

    Raises:
        DeviceError: a real device is not reached, or lacks something.
        InputError: a file or the data is damaged, or they do not fit each other.
        StageError: a runtime crashed or hung.
        ToolchainError: something that is needed is not installed or provisioned.
    """
    measurements = plan(config.gates.enabled)
    check_environment(devices if needs_devices(measurements) else ())
    under_test = ModelUnderTest.open(file)
    real = tuple(map(RemoteRuntime.of, addresses))
    with leaf_errors_mapped(), scratch("validate") as folder:
        float_model = ModelUnderTest.open(baseline) if baseline else None
        run = Run(folder, store)
        given = read_given(under_test, float_model or under_test, config, run)
        earlier = ModelUnderTest.open(against).source if against else None
        reference = reference_of(earlier, given.transforms, given.data) if earlier else None
        to_measure = ToMeasure(
            model=under_test.source,
            baseline=float_model.source if float_model else None,
            against=reference,
            data=given.data,
            shifted=given.shifted,
            inputs=InputSpec.of(given.transforms, config.validation.golden_samples, config.seed),
            outputs=given.outputs,
            package=target.runtime,
            devices=devices,
            real=real,
            config=config.validation,
            plan=measurements,
            board=board,
        )
        (outputs := folder / "outputs").mkdir()
        report = make_report(
            to_measure.model, measure(to_measure, run, outputs), name=file.name,
            baseline=to_measure.baseline, against=to_measure.against, target=target.name,
            runtime=target.runtime, classes=given.outputs.classes, preprocessing=given.preprocessing,
            notes=given.notes,
        )  # fmt: skip
    return with_verdicts(replace(report, chance=given.chance), config.gates)


def read_given(under_test: ModelUnderTest, original: ModelUnderTest, config: BuildConfig, run: Run) -> Given:
    """Test samples, and how outputs are judged with them; nothing where no data is given.

    Args:
        original: the float model, or the file itself where none is given.

    Raises:
        InputError: the labels are in another order than the model's classes, or other preprocessing suits
            the model far better.
    """
    if not config.data.source:
        return Given()
    inputs, outputs = under_test.ports()
    data = _load(under_test, config.data, config.seed, run)
    choice = _released(under_test, config) or _choose(original, data, config)
    transforms, logits = choice.transforms, tuple(map(_is_logits, outputs))
    answered = Answered.of(original.path, data, transforms, output_names(outputs), logits)
    misordered = answered.misordered()
    problems = (*misordered, *unsuitable(choice.better))
    if problems and not config.gates.allow_chance:
        msg = f"{problems[0]}; {ALLOW}"
        raise InputError(msg)
    chance = answered.standards()
    shift = config.validation.shift
    others = shifted_data(config.data, data, shift)
    return Given(
        data=data,
        transforms=transforms,
        outputs=OutputSpec(data.tasks, output_names(outputs), logits, data.classes),
        shifted=tuple(_load(under_test, other, config.seed, run) for other in others),
        notes=(
            *data.findings,
            *(f"the model: {found}" for found in chance if found.standing == "better"),
            *data.notes,
            *choice.warnings,
            *misordered,
            *answered.perhaps_misordered(),
            *(doubt(found) for found in chance if found.standing == "unclear"),
        ),
        preprocessing=described(inputs, transforms),
        chance=chance,
    )


def _load(under_test: ModelUnderTest, config: DataConfig, seed: int, run: Run) -> Dataset:
    """Load data for the file's inputs and outputs."""
    inputs, outputs = under_test.ports()
    return run.step(load_data, source_of(config), inputs=inputs, outputs=outputs, config=config, seed=seed)


def _released(under_test: ModelUnderTest, config: BuildConfig) -> Choice | None:
    """What the manifest beside a file of a release says of its inputs; None of any other file."""
    released = release_of(under_test.path, under_test.flat.sha256)
    if released is None:
        return None
    declared = config.preprocessing != type(config.preprocessing)()
    note = (
        "the release's own preprocessing is used; [preprocessing], --scale and --offset are for other files"
    )
    return Choice(released.transforms, (), (note,) if declared else ())


def _choose(under_test: ModelUnderTest, data: Dataset, config: BuildConfig) -> Choice:
    """Return the preprocessing of the file's inputs, chosen as a build chooses it."""
    cores = len(os.sched_getaffinity(0))
    with Session(host_runtime("litert"), under_test.path, threads=cores) as session:
        probe = Probe.of(data, partial(run_real, session, batches=True), PROBE_SAMPLES)
        return choose_preprocessing(probe, under_test.ports()[0], config.preprocessing)


def _is_logits(port: Port) -> bool | None:
    """Return whether the last operator gives logits; None for a linear one, which may give anything."""
    return False if port.activation in {"softmax", "sigmoid"} else None
