"""The whole build on one page: Keras model in, release out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.bundle import release_name
from pipeline.artifacts import Source
from pipeline.compress.prune import prune
from pipeline.errors import leaf_errors_mapped
from pipeline.loading.field_calibration import field_statistics
from pipeline.loading.load import (
    choose_calibration,
    last_release,
    load_data,
    load_model,
    model_digest,
    shifted_data,
    source_of,
)
from pipeline.preparation.float_check import check_float
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.aware import train_quantization_aware
from pipeline.quantize.convert import convert_float, convert_quantized
from pipeline.quantize.metadata import About, describe
from pipeline.release.documents import Origin
from pipeline.release.drift_reference import observe
from pipeline.release.manifest import counter_in
from pipeline.release.release import judge, publish, release, require_passed
from pipeline.runtimes.environment import check_environment
from pipeline.validate.report import read_report
from pipeline.validate.stage import validate

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import BuildConfig
    from pipeline.targets import Target
    from pipeline.validate.report import Report
    from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Built:
    """A finished build: the release's folder and the report that it stands on."""

    folder: Path
    reproducible_digest: str
    report: Report


def build(
    target: Target,
    config: BuildConfig,
    workspace: Workspace,
    key: Path | str | None = None,
    password: str | None = None,
) -> Built:
    """Take a trained Keras model to a validated release for ``target``.

    The report is published whether or not the gates pass; an earlier release of the same name is replaced
    only by one that passes.

    Args:
        key: signs the release, a path or PEM text; None leaves it unsigned.
        password: of the key, where it is encrypted.

    Raises:
        GateFailed: a gate was not passed; there is no new release.
        PipelineError: a stage could not finish.
    """
    check_environment(target.devices)
    with leaf_errors_mapped():
        name = release_name(config.project.name, config.project.version, target.name)
        given_model = Source(location=str(config.model.path), digest=model_digest(config.model))
        given_data = source_of(config.data)
        last = last_release(config.validation.against)
        field = field_statistics(config.calibration)
    origin = Origin.of(config.model.path)
    counter_in(config)  # a version that gives none is told before the work
    step, seed, timeout_s = workspace.step, config.seed, config.quantize.convert_timeout_s

    model = step(load_model, given_model, config=config.model)
    data = step(load_data, given_data, model, config=config.data, seed=seed)
    prepared = step(prepare_model, model, data, config=config.preprocessing)
    baseline = step(convert_float, prepared, timeout_s=timeout_s)
    step(check_float, baseline, prepared, data, allow_chance=config.gates.allow_chance)
    samples = step(choose_calibration, data, config=config.calibration, field=field, seed=seed)
    compressed = step(prune, prepared, data, config=config.prune, seed=seed)
    aware = step(train_quantization_aware, compressed, prepared, data, config=config.quantize, seed=seed)
    converted = step(convert_quantized, aware, prepared, samples, data, config=config.quantize)
    quantized = step(describe, converted, prepared, data, about=About.of(config))
    if quantized.reason:
        workspace.notify("warning", f"the release is {quantized.format}: {quantized.reason}")
    shifted = [
        step(load_data, source_of(other), model, config=other, seed=seed)
        for other in shifted_data(config.data, data, config.validation.shift)
    ]
    measured = step(
        validate, quantized, baseline, prepared, data, *shifted,
        target=target, config=config.validation, against=last, seed=seed,
    )  # fmt: skip
    judged = step(judge, measured, name=name, gates=config.gates)
    report, folder = workspace.root / "report" / name, workspace.root / "release" / name
    publish(judged.folder, report)
    passed = require_passed(judged, report, standing=folder)
    observed = step(observe, quantized, prepared, data, seed=seed)
    released = step(
        release, quantized, passed, measured, observed, samples, data, prepared, given_model, given_data,
        config=config, target=target, origin=origin,
    )  # fmt: skip
    publish(released.folder / name, folder, key, password)
    return Built(folder, released.reproducible_digest, read_report(judged.report))
