"""The last stages: judge what was measured, and make a release of what passed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploy.contents import REPORTS
from deploy.errors import DeployError
from deploy.manifest import MANIFEST, digest_of
from deploy.signing import sign
from pipeline.artifacts import JudgedReport, PassedReport, Release
from pipeline.errors import GateFailed, IntegrityError, storing
from pipeline.validation import gates as gate
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from pipeline.artifacts import (
        CalibrationSet,
        Dataset,
        Measured,
        PreparedModel,
        QuantizedModel,
        Source,
    )
    from pipeline.build_config import BuildConfig
    from pipeline.config import GatesConfig
    from pipeline.release.documents import Origin
    from pipeline.release.drift_reference import DriftReference
    from pipeline.targets import Target
    from pipeline.validation.provenance import Provenance
    from pipeline.validation.report import Report


def judge(
    measured: Measured,
    *,
    name: str,
    gates: GatesConfig,
    provenance: Provenance | None = None,
    command: str = "",
    out: Path,
) -> JudgedReport:
    """Ask every gate and write the whole report, whatever they say.

    Args:
        provenance: of the build, but for the command; None if unknown.
        command: that runs the build.
    """
    from pipeline.report.views import write_views

    report = read_report(measured.report)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    report = replace(
        gate.with_verdicts(report, gates),
        name=name,
        created=created,
        provenance=provenance and replace(provenance, command=command),
    )
    judged = JudgedReport(folder=out, model_sha256=measured.model_sha256, failed=report.failed_gates)
    write_views(report, judged.folder)
    return judged


def require_passed(judged: JudgedReport, published: Path, standing: Path | None = None) -> PassedReport:
    """Hand out the report that a release needs.

    Args:
        judged: the report with its verdicts.
        published: where the user finds it.
        standing: where an earlier build may have left a release of the same name; it is not touched.

    Raises:
        GateFailed: a gate was not passed; the message names the earlier release, which is not this build's.
    """
    if judged.failed:
        report = read_report(judged.report)
        what = "; ".join(
            f"{v}: got {v.got}, allowed {v.allowed}" for v in report.verdicts if v.outcome == "failed"
        )
        msg = f"no release: {what}; the whole report is in {published}"
        if {"accuracy", "per-class recall"} & {*judged.failed} and report.format == "int8":
            msg += _wider(report)
        if standing is not None and standing.is_dir():
            msg += f"; {standing} is unchanged: {_earlier(standing)}, not this build's"
        raise GateFailed(msg, report)
    return PassedReport(**{field.name: getattr(judged, field.name) for field in fields(judged)})


def _wider(report: Report) -> str:
    """Return how to keep layers in a wider format, or that it was tried."""
    if report.precision is not None:
        return f"; [precision]: {report.precision.reason}"
    return '; [precision] layers = "auto" keeps the layers that lose most in a wider format than int8'


def _earlier(folder: Path) -> str:
    """Describe the release in a folder by its date and digest, where they can be read."""
    try:
        written = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)
        return f"the release of {written:%Y-%m-%d %H:%M} UTC, digest {digest_of(folder)[:12]}"
    except (OSError, DeployError):
        return "an earlier build's folder"


def release(
    quantized: QuantizedModel,
    passed: PassedReport,
    measured: Measured,
    drift_reference: DriftReference,
    samples: CalibrationSet,
    data: Dataset,
    model: PreparedModel,
    *sources: Source,
    config: BuildConfig,
    target: Target,
    origin: Origin,
    out: Path,
) -> Release:
    """Write the release folder from a model that passed.

    Args:
        sources: the given model and the given data, as the user named them.
        origin: where, when and by whom it is built.

    Raises:
        IntegrityError: the report is about another model than the one to release.
        ConfigError: no counter can be made of the version.
    """
    from deploy.bundle import write_bundle
    from deploy.readme import README, readme
    from deploy.software import software
    from pipeline.release.documents import release_documents, release_facts
    from pipeline.release.manifest import make_manifest

    if passed.model_sha256 != quantized.sha256:
        msg = "the report is about another model than the one to release; build again"
        raise IntegrityError(msg)
    report = read_report(passed.report)
    arrays = {f"golden_input_{i}": np.load(measured.golden_input(i)) for i in range(measured.inputs)}
    arrays |= {f"golden_output_{i}": np.load(measured.golden_output(i)) for i in range(measured.outputs)}
    manifest = make_manifest(
        quantized, drift_reference, report, data, model,
        config=config, target=target, golden=len(arrays["golden_input_0"]), created=origin.created,
    )  # fmt: skip
    (folder := out / manifest.full_name).mkdir()
    answers = [arrays[f"golden_output_{i}"] for i in range(measured.outputs)]
    texts, notes = software(manifest, quantized.tflite.read_bytes(), answers)
    facts = release_facts(
        report, quantized, model, data, samples, *sources,
        config=config, target=target, origin=origin, download_bytes=len(texts[f"{manifest.model}.zst"]),
    )  # fmt: skip
    texts |= release_documents(facts)
    texts[README] = readme(facts, manifest, has_code="android/README.md" in texts)
    texts["calibration.json"] = samples.manifest.read_bytes()
    texts["baseline.json"] = drift_reference.baseline.read_bytes()
    texts |= {file: (passed.folder / file).read_bytes() for file in REPORTS}
    digest = write_bundle(folder, manifest, quantized.tflite, arrays, texts)
    return Release(name=manifest.full_name, reproducible_digest=digest, notes=notes)


def publish(
    source: Path, destination: Path, key: Path | str | None = None, password: str | None = None
) -> None:
    """Put a copy of a finished folder where the user looks for it, as a whole or not at all.

    Args:
        key: signs the copy, a release, before it is seen there; a path or PEM text.
        password: of the key, where it is encrypted.

    Raises:
        StageError: it cannot be written there.
        DeployError: the key cannot be used, or the folder is not a release.
    """
    with storing("publish"):
        destination.parent.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=".publish-", dir=destination.parent))
        try:
            # A release is signed under its name, so the copy has it from the start.
            (private / "new").mkdir()
            new = private / "new" / destination.name
            shutil.copytree(source, new)
            if key is not None:
                sign(new, key, password)
            if destination.exists():
                destination.rename(private / "old")
            new.rename(destination)
        finally:
            shutil.rmtree(private)
