"""Make a release's ``manifest.json`` from the facts of the build."""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from deploy.bundle import release_name
from deploy.manifest import Input, Manifest, Output, Preprocessing, Raw, Resize, RuntimeNeed
from pipeline.errors import ConfigError
from pipeline.runtimes.capabilities import PACKAGES
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from models.ports import Port
    from pipeline.artifacts import Dataset, PreparedModel, QuantizedModel, Transform
    from pipeline.build_config import BuildConfig
    from pipeline.release.drift_reference import DriftReference
    from pipeline.runtimes.session import Tensor
    from pipeline.targets import Target
    from pipeline.validation.report import Report

EPOCH = "SOURCE_DATE_EPOCH"
ANY = "any"
ANDROID_ABIS = {"aarch64": "arm64-v8a", "armv7l": "armeabi-v7a", "x86_64": "x86_64", "i686": "x86"}
# A version as ``counter_of`` orders it: one to four numbers with one separator, or up to three and a stage.
_VERSION = re.compile(
    r"v?(\d+)(?:([._-])(\d+)(?:\2(\d+)(?:\2(\d+))?)?)?(?:[._-]?(dev|alpha|a|beta|b|rc|c)[._-]?(\d*))?",
    re.ASCII | re.IGNORECASE,
)
_STAGES = {"dev": 100, "a": 200, "alpha": 200, "b": 300, "beta": 300, "c": 400, "rc": 400}
FINAL = 500  # the last three digits of a final version's counter; a fourth number is added to it
MAX_PART = 999  # maximum of the second and third number of a version
MAX_FOURTH = 499
MAX_OF_STAGE = 99  # maximum of the number after rc or another stage
# The smallest rollback index that does not fit into a signed 64-bit integer.
TOO_HIGH = 2**63


def make_manifest(
    quantized: QuantizedModel,
    drift_reference: DriftReference,
    report: Report,
    data: Dataset,
    model: PreparedModel,
    *,
    config: BuildConfig,
    target: Target,
    golden: int,
    created: str | None,
) -> Manifest:
    """Return the release's manifest, without the hashes of its files.

    Args:
        golden: how many golden samples there are.

    Raises:
        ConfigError: as ``counter_of``.
        DeployError: as ``release_name``.
    """
    machine = machine_of(target)
    project, release, interpolation = config.project, config.release, config.data.interpolation
    name = release_name(project.name, project.version, target.name)
    return Manifest(
        name=project.name,
        version=project.version,
        target=target.name,
        counter=counter_in(config),
        created=created,
        expires=release.expires,
        devices=tuple(device.name for device in target.devices),
        machine=machine,
        android_abi=ANDROID_ABIS.get(machine, machine),
        runtimes=runtimes_of(report, target),
        format=quantized.format,
        inputs=_inputs(report, model, data, drift_reference, interpolation),
        outputs=tuple(
            Output(
                **_tensor(tensor, port, seen),
                task=task,
                logits=TASKS[task].of_classes and bool(from_logits),
            )
            for tensor, port, task, from_logits, seen in zip(
                report.outputs,
                model.outputs,
                model.tasks,
                model.from_logits,
                drift_reference.output_ranges,
                strict=True,
            )
        ),
        labels=data.classes,
        tolerance_steps=config.gates.bit_difference_steps,
        golden=golden,
        model=f"{name}.tflite",
        files={},
    )


def created_at() -> str | None:
    """Return SOURCE_DATE_EPOCH as ISO 8601 in UTC; None if it is not set: a release has no clock's time.

    Raises:
        ConfigError: it is set to something else than seconds.
    """
    seconds = os.environ.get(EPOCH, "")
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError) as error:
        msg = f"{EPOCH}: {seconds!r} is not a number of seconds; set it to e.g. $(git log -1 --format=%ct)"
        raise ConfigError(msg) from error


def counter_in(config: BuildConfig) -> int:
    """Return the counter that the settings state, else that of their version; errors as ``counter_of``."""
    stated = config.release.counter
    return counter_of(config.project.version) if stated is None else stated


def counter_of(version: str, setting: str = "[release] counter") -> int:
    """Return the rollback index of a version, which rises as versions do; a pre-release is below its release.

    The digits of the first three numbers are followed by three digits: 500 for a release, and for a
    pre-release its stage and number. 1.2.3 is 1002003500, 1.2.3-rc1 is 1002003401, 1.2.3.4 is 1002003504.

    Args:
        version: as in ``[project]``.
        setting: what an error names to set the rollback index with.

    Raises:
        ConfigError: the version has another form, so that its place among others is not known, or one of its
            numbers is too large for the digits that it has.
    """
    found = _VERSION.fullmatch(version)
    first, _, second, third, fourth, stage, number = found.groups() if found else (None,) * 7
    if first is None or (fourth and stage):
        msg = (
            f"version {version!r}: cannot be ordered among others; write it as 1.2.3, 1.2.3.4 or 1.2.3-rc1 "
            f"(dev, alpha, beta, rc), or give a number that rises with every release with {setting}"
        )
        raise ConfigError(msg)
    major, minor, patch, revision, count = (int(x or 0) for x in (first, second, third, fourth, number))
    last = _STAGES[stage.lower()] + count if stage else FINAL + revision
    counter = ((major * 1000 + minor) * 1000 + patch) * 1000 + last
    if max(minor, patch) > MAX_PART or revision > MAX_FOURTH or count > MAX_OF_STAGE or counter >= TOO_HIGH:
        msg = (
            f"version {version!r}: its numbers are too large: at most {MAX_PART} for the second and third, "
            f"{MAX_FOURTH} for the fourth and {MAX_OF_STAGE} after a stage; give another with {setting}"
        )
        raise ConfigError(msg)
    return counter


def machine_of(target: Target) -> str:
    """Return the machine that a target's devices are: for the host this one, it was tried on no other."""
    machines = {device.arch for device in target.devices}
    return machines.pop() if len(machines) == 1 else ANY


def runtimes_of(report: Report, target: Target) -> tuple[RuntimeNeed, ...]:
    """Return the packages that have the model's operators, the target's own first.

    Where none is known to have them it is the one that the model was tried on.
    """
    oldest = report.compatibility.oldest
    packages = sorted(PACKAGES, key=lambda package: package != target.runtime)
    needs = {PACKAGES[package].distribution: oldest[package] for package in packages if oldest.get(package)}
    if not needs:
        distribution = PACKAGES[target.runtime].distribution
        needs = {distribution: installed(distribution)}
    return tuple(
        RuntimeNeed.model_validate({"package": package, "least": least}) for package, least in needs.items()
    )


def _tensor(tensor: Tensor, port: Port, seen: tuple[float, float] | None) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point or 0,
        "range": seen,
    }


def _inputs(
    report: Report, model: PreparedModel, data: Dataset, drift_reference: DriftReference, interpolation: str
) -> tuple[Input, ...]:
    raws = (Raw(dtype=dtype, low=low, high=high) for dtype, low, high in drift_reference.raw)
    ports = zip(report.inputs, model.inputs, drift_reference.input_ranges, strict=True)
    names = data.columns or ((),) * len(model.inputs)
    return tuple(
        Input(
            **_tensor(tensor, port, seen),
            preprocessing=_steps(transform, tensor, interpolation),
            raw=raw,
            columns=columns if len(columns) == math.prod(tensor.shape[1:]) else (),
        )
        for (tensor, port, seen), transform, raw, columns in zip(
            ports, model.preprocessing, raws, names, strict=True
        )
    )


def _steps(transform: Transform, tensor: Tensor, interpolation: str) -> Preprocessing:
    """Return the preprocessing of a raw sample in an application, in order, before quantization."""
    _, *shape = tensor.shape
    is_image = len(shape) == 3 and shape[-1] in (1, 3, 4)
    return Preprocessing(
        resize=Resize(size=(shape[0], shape[1]), interpolation=interpolation) if is_image else None,
        indices=transform.indices,
        reverse_channels=transform.reverse_channels,
        scale=transform.scale,
        offset=transform.offset,
    )
