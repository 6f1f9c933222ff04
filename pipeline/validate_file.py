"""Validation of a .tflite file that no build has to know of: open, measure, judge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from models.data.sources import load_data
from pipeline.errors import leaf_errors_mapped
from pipeline.intake import data_options, shifted_data, stored_dataset
from pipeline.preparation import declared_transforms
from pipeline.preprocessing import PROBE_SAMPLES, usual_range
from pipeline.runtimes.environment import check_environment
from pipeline.runtimes.remote import device_runtime
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.scaling import as_input, as_real
from pipeline.runtimes.session import Session
from pipeline.samples import Samples
from pipeline.validate.gates import judge
from pipeline.validate.measure import Judging, Measurement, output_names
from pipeline.validate.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.transports.ssh import SshAddress
    from models.ports import Port
    from pipeline.artifacts import Dataset, Transform
    from pipeline.config import BuildConfig, DataConfig
    from pipeline.targets import Device, Target
    from pipeline.validate.report import Report


@dataclass(frozen=True)
class Given:
    """What a file is judged with: samples, how its outputs are meant, and what there is to say of both."""

    samples: Samples | None = None
    judging: Judging = field(default_factory=partial(Judging, (), (), ()))
    shifted: Mapping[str, Samples] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def validate_file(
    file: Path,
    *,
    target: Target,
    devices: tuple[Device, ...],
    config: BuildConfig,
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
    check_environment(devices)
    subject = Subject.open(file)
    real = tuple(map(device_runtime, addresses))
    with leaf_errors_mapped(), TemporaryDirectory(prefix="edge-validate-") as folder:
        given = _read(subject, config, Path(folder))
        measurement = Measurement(
            subject,
            Subject.open(baseline) if baseline else None,
            given.samples,
            given.judging,
            target,
            devices,
            config.validation,
            config.seed,
            shifted=given.shifted,
            against=Subject.open(against) if against else None,
            board=board,
            real=real,
        )
        report, _ = measurement.run(file.name, classes=given.judging.classes, notes=given.notes)
    return replace(report, verdicts=judge(report, config.gates))


def _read(subject: Subject, config: BuildConfig, folder: Path) -> Given:
    """Test samples, and how outputs are judged with them; nothing where no data is given."""
    if not config.data.source:
        return Given()
    inputs, outputs = subject.ports()
    data = _stored(subject, config.data, folder / "data", config.seed)
    transforms, notes = declared_transforms(inputs, config.preprocessing), data.notes
    if len(inputs) == 1 and config.preprocessing.scale == "auto" and not transforms[0].indices:
        chosen, warning = _usual_range(subject, data, transforms)
        transforms, notes = (chosen,), (*notes, *filter(None, (warning,)))
    shift = config.validation.shift
    others = zip(shift.sources, shifted_data(config.data, data, shift), strict=True)
    return Given(
        samples=Samples.of(data, "test", transforms),
        judging=Judging(data.tasks, output_names(outputs), tuple(map(_is_logits, outputs)), data.classes),
        shifted={
            name: Samples.every(_stored(subject, other, folder / f"shifted-{name}", config.seed), transforms)
            for name, other in others
        },
        notes=notes,
    )


def _stored(subject: Subject, config: DataConfig, folder: Path, seed: int) -> Dataset:
    """Read data as the file's inputs and outputs want it."""
    inputs, outputs = subject.ports()
    folder.mkdir()
    found = load_data(
        config.source, folder, inputs=inputs, outputs=outputs, options=data_options(config), seed=seed
    )
    return stored_dataset(found, folder, len(inputs), outputs)


def _usual_range(subject: Subject, data: Dataset, transforms: tuple[Transform, ...]) -> tuple[Transform, str]:
    """The usual range of raw values under which the file does best, and a warning where that is not clear."""
    probe = Samples.of(data, "test", transforms).choose(PROBE_SAMPLES, seed=0)
    with Session(host_runtime("litert"), subject.path) as session:
        details = session.describe()

        def predict(values: Any) -> Any:
            found = session.run([as_input(values, details.inputs[0])])[0]
            return as_real(found, details.outputs[0])

        return usual_range(predict, probe.raw(0), probe.target(0), data.tasks[0])


def _is_logits(port: Port) -> bool | None:
    """What the last operator tells; a linear one may give anything."""
    return False if port.activation in {"softmax", "sigmoid"} else None
