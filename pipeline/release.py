"""The last stages: judge what was measured, and make a release of what passed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.bundle import checksums, release_name, write_bundle
from deploy.device import predict
from pipeline.artifacts import JudgedReport, PassedReport, Release
from pipeline.errors import GateFailed, IntegrityError
from pipeline.report.views import write_views
from pipeline.training import OF_CLASSES
from pipeline.validate import gates as gate
from pipeline.validate.report import deterministic, read_report
from pipeline.workspace import sha256_of, storing

if TYPE_CHECKING:
    from models.ports import Port
    from pipeline.artifacts import (
        CalibrationSet,
        Dataset,
        Measured,
        PreparedModel,
        QuantizedModel,
        Transform,
    )
    from pipeline.config import GatesConfig, ProjectConfig
    from pipeline.runtimes.session import Tensor
    from pipeline.targets import Target

VERSION = 3
# Reports hold measured times; the reproducible digest covers every other file, and what is left of them.
REPORTS = ("report.json", "report.txt", "report.html")


def judge(measured: Measured, *, name: str, gates: GatesConfig, out: Path) -> JudgedReport:
    """Ask every gate and write the whole report, whatever they say."""
    report = read_report(measured.report)
    report = replace(report, name=name, verdicts=gate.judge(report, gates))
    failed = tuple(verdict.gate for verdict in report.verdicts if verdict.outcome == "failed")
    judged = JudgedReport(folder=out, model_sha256=measured.model_sha256, failed=failed)
    write_views(report, judged.folder)
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
    model: PreparedModel,
    *,
    project: ProjectConfig,
    target: Target,
    interpolation: str,
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
    metadata = {
        "name": project.name,
        "version": project.version,
        "target": target.name,
        "devices": [device.name for device in target.devices],
        "sha256": quantized.sha256,
        "format": quantized.format,
        "inputs": [
            _contract(tensor, port) | {"preprocessing": _steps(transform, port, interpolation)}
            for tensor, port, transform in zip(report.inputs, model.inputs, model.preprocessing, strict=True)
        ],
        "outputs": [
            _contract(tensor, port) | {"task": task, "logits": task in OF_CLASSES and bool(from_logits)}
            for tensor, port, task, from_logits in zip(
                report.outputs, model.outputs, model.tasks, model.from_logits, strict=True
            )
        ],
        "labels": list(data.classes),
    }
    arrays = {f"golden_input_{i}": np.load(measured.golden_input(i)) for i in range(measured.inputs)}
    arrays |= {f"golden_output_{i}": np.load(measured.golden_output(i)) for i in range(measured.outputs)}
    texts = {"calibration.json": samples.manifest.read_text(encoding="utf-8")}
    texts["predict.py"] = Path(predict.__file__).read_text(encoding="utf-8")
    texts |= {file: (passed.folder / file).read_text(encoding="utf-8") for file in REPORTS}
    write_bundle(folder, name, quantized.tflite, metadata, arrays, texts)
    files = {file: digest for file, digest in checksums(folder).items() if file not in REPORTS}
    return Release(name=name, reproducible_digest=sha256_of([files, deterministic(report)]))


def _contract(tensor: Tensor, port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }


def _steps(transform: Transform, port: Port, interpolation: str) -> dict[str, Any]:
    """What an application does to a raw sample, in this order, before it quantizes it."""
    is_image = len(port.shape) == 3 and port.shape[-1] in (1, 3, 4)
    return {
        "resize": {"size": port.shape[:2], "interpolation": interpolation} if is_image else None,
        "indices": transform.indices,
        "reverse_channels": transform.reverse_channels,
        "scale": list(transform.scale),
        "offset": list(transform.offset),
    }


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
