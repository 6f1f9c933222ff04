"""The last stages: judge what was measured, and make a release of what passed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploy.bundle import checksums, release_name, write_bundle
from pipeline.artifacts import JudgedReport, PassedReport, Release
from pipeline.errors import GateFailed, IntegrityError
from pipeline.report.text import report_text
from pipeline.validate import gates as gate
from pipeline.validate.report import deterministic, read_report, write_report
from pipeline.workspace import sha256_of, storing

if TYPE_CHECKING:
    from pipeline.artifacts import CalibrationSet, Dataset, Measured, Preprocessing, QuantizedModel
    from pipeline.config import GatesConfig, ProjectConfig
    from pipeline.targets import Target

VERSION = 1
# Reports hold measured times; the reproducible digest covers every other file, and what is left of them.
REPORTS = ("report.json", "report.txt")


def judge(measured: Measured, *, name: str, gates: GatesConfig, out: Path) -> JudgedReport:
    """Ask every gate and write the whole report, whatever they say."""
    report = read_report(measured.report)
    report = replace(report, name=name, verdicts=gate.judge(report, gates))
    failed = tuple(verdict.gate for verdict in report.verdicts if verdict.outcome == "failed")
    judged = JudgedReport(folder=out, model_sha256=measured.model_sha256, failed=failed)
    write_report(report, judged.report)
    judged.text.write_text(report_text(report), encoding="utf-8")
    return judged


def require_passed(judged: JudgedReport, published: Path) -> PassedReport:
    """Hand out the report that a release needs.

    Args:
        judged: the report with its verdicts.
        published: where the user finds it.

    Raises:
        GateFailed: a gate was not passed.
    """
    if judged.failed:
        report = read_report(judged.report)
        what = "; ".join(
            f"{v.gate}: got {v.got}, allowed {v.allowed}" for v in report.verdicts if v.outcome == "failed"
        )
        msg = f"no release: {what}; the whole report is in {published}"
        raise GateFailed(msg)
    return PassedReport(**{field.name: getattr(judged, field.name) for field in fields(judged)})


def release(
    quantized: QuantizedModel,
    passed: PassedReport,
    measured: Measured,
    samples: CalibrationSet,
    data: Dataset,
    preprocessing: Preprocessing,
    *,
    project: ProjectConfig,
    target: Target,
    out: Path,
) -> Release:
    """Write the release folder from a model that passed.

    Raises:
        IntegrityError: the report is about another model than the one to release.
    """
    if passed.model_sha256 != quantized.sha256:
        msg = "the report is about another model than the one to release; build again"
        raise IntegrityError(msg)
    report = read_report(passed.report)
    name = release_name(project.name, project.version, target.name)
    folder = out / name
    folder.mkdir()
    tensor_in, tensor_out = report.inputs[0], report.outputs[0]
    metadata = {
        "name": project.name,
        "version": project.version,
        "target": target.name,
        "devices": [device.name for device in target.devices],
        "sha256": quantized.sha256,
        "input": {
            "shape": tensor_in.shape,
            "dtype": tensor_in.dtype,
            "scale": tensor_in.scale,
            "zero_point": tensor_in.zero_point,
        },
        "output": {
            "shape": tensor_out.shape,
            "dtype": tensor_out.dtype,
            "scale": tensor_out.scale,
            "zero_point": tensor_out.zero_point,
        },
        "preprocessing": {"scale": preprocessing.scale, "offset": preprocessing.offset},
        "labels": list(data.classes),
    }
    arrays = {
        "golden_inputs": np.load(measured.golden_inputs),
        "golden_outputs": np.load(measured.golden_outputs),
    }
    texts = {"calibration.json": samples.manifest.read_text(encoding="utf-8")}
    texts |= {file: (passed.folder / file).read_text(encoding="utf-8") for file in REPORTS}
    write_bundle(folder, name, quantized.tflite, metadata, arrays, texts)
    files = {file: digest for file, digest in checksums(folder).items() if file not in REPORTS}
    return Release(name=name, reproducible_digest=sha256_of([files, deterministic(report)]))


def withdraw(folder: Path) -> None:
    """Take back an earlier release of the same name, so that none stands that the last build refused."""
    if folder.is_dir():
        with storing("withdraw"):
            private = Path(tempfile.mkdtemp(prefix=".withdraw-", dir=folder.parent))
            folder.rename(private / "old")
            shutil.rmtree(private)


def publish(source: Path, destination: Path) -> None:
    """Put a copy of a finished folder where the user looks for it, as a whole or not at all.

    Raises:
        StageError: it cannot be written there.
    """
    with storing("publish"):
        destination.parent.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=".publish-", dir=destination.parent))
        try:
            shutil.copytree(source, private / "new")
            if destination.exists():
                destination.rename(private / "old")
            (private / "new").rename(destination)
        finally:
            shutil.rmtree(private)
