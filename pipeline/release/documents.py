"""Write the release documents from facts that are equal in all builds: model card, materials, provenance.

Times, memory and instruction counts are in the reports alone. So are the gates that judge them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.bom import bom
from deploy.card import card
from deploy.facts import (
    Builder,
    ClassFacts,
    Commit,
    MetricFacts,
    ReleaseFacts,
    ShiftFacts,
    SourceFacts,
    TensorFacts,
)
from deploy.provenance import builder_of, commit_of, provenance, work_tree_of
from pipeline.content import file_sha256, sha256_of
from pipeline.quantize.backends import BACKENDS
from pipeline.release.manifest import created_at, runtimes_of
from pipeline.sections import keyed
from pipeline.setting_paths import is_import_path
from pipeline.tasks.spec import TASKS
from pipeline.validation.gates import GATES
from pipeline.validation.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from pipeline.artifacts import CalibrationSet, Dataset, PreparedModel, QuantizedModel, Source
    from pipeline.build_config import BuildConfig
    from pipeline.config import GateName
    from pipeline.layer_records import LayerTreatment
    from pipeline.targets import Target
    from pipeline.validation.report import Report

CARD, BOM, PROVENANCE = "MODEL_CARD.md", "bom.cdx.json", "provenance.json"
PROJECT = "edge-deploy-pipeline"
TOOLS = (
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
)
"""Distributions that the documents name with their versions, besides the converter's."""
LOWEST_CLASSES = 5
# Gates on measurements that differ slightly in every build.
MEASURED: frozenset[GateName] = frozenset(
    {"stability", "faults", "board", "instructions", "latency", "regression"}
)
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/:;,'\"]+/)+([^\s/:;,'\"]+)")
_FAMILIES = (
    ("LSTM", "recurrent neural network (LSTM)"),
    ("GRU", "recurrent neural network (GRU)"),
    ("SimpleRNN", "recurrent neural network"),
    ("Conv", "convolutional neural network"),
    ("Dense", "feedforward neural network"),
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where, when and by whom a release is built.

    Attributes:
        root: the project's folder. Paths in it are written relative to it, others by their name alone.
        created: ISO time of SOURCE_DATE_EPOCH; None if that is not set.
        builder: a run of GitHub Actions, or this machine, which is not named.
        commit: the project's git commit; None if it is not in git.
    """

    root: str
    created: str | None
    builder: Builder
    commit: Commit | None

    @classmethod
    def of(cls, model: Path) -> Origin:
        """Return the origin of a build of ``model``, whatever the working directory is.

        The project is the git work tree that the model's file is in, or else the file's folder.

        Raises:
            ConfigError: SOURCE_DATE_EPOCH is not a number of seconds.
        """
        folder = model.parent.resolve()
        root = work_tree_of(folder) or folder
        return cls(
            root=str(root), created=created_at(), builder=builder_of(os.environ), commit=commit_of(root)
        )


def release_documents(facts: ReleaseFacts) -> dict[str, str]:
    """Return file name -> text of each document; equal facts give equal bytes.

    Raises:
        DeployError: the bill of materials is not valid.
    """
    return {CARD: card(facts), BOM: bom(facts), PROVENANCE: provenance(facts)}


def release_facts(
    report: Report,
    quantized: QuantizedModel,
    prepared: PreparedModel,
    data: Dataset,
    samples: CalibrationSet,
    *sources: Source,
    config: BuildConfig,
    target: Target,
    origin: Origin,
    download_bytes: int | None = None,
) -> ReleaseFacts:
    """Return the facts that the documents state.

    Args:
        report: with its verdicts.
        quantized: what is released, metadata and all.
        prepared: the model that it was made from.
        data: what it was trained and tested on.
        samples: what it was calibrated on.
        sources: the given model and the given data, as the user named them.
        config: of the build.
        target: that it was built for.
        origin: where, when and by whom it is built.
        download_bytes: of the compressed download.
    """
    root = Path(origin.root)
    return ReleaseFacts(
        **_identity(config, target, quantized),
        **_inside(report, quantized, prepared, data, target),
        **_quality(report, config),
        baseline_bytes=report.baseline.size_bytes if report.baseline else None,
        download_bytes=download_bytes,
        sparsity=quantized.sparsity,
        tools=_versions(config),
        project=metadata.version(PROJECT),
        samples=(data.train_samples, data.test_samples, samples.samples),
        calibration_sha256=file_sha256(samples.manifest),
        sources=tuple(
            SourceFacts(role=role, location=_location(source.location, root), digest=source.digest)
            for role, source in zip(("model", "data"), sources, strict=True)
        ),
        config=plain_config(config, root),
        commit=origin.commit,
        builder=origin.builder,
        created=origin.created,
    )


def provenance_of(model: Source, data: Source, config: BuildConfig, origin: Origin) -> Provenance:
    """Return what a report says of its build's origin.

    Args:
        model: the given model.
        data: the given data.
    """
    return Provenance(
        version=metadata.version(PROJECT),
        commit="" if origin.commit is None else origin.commit.sha,
        model_sha256=model.digest,
        data_sha256=data.digest,
        settings_sha256=sha256_of(plain_config(config, Path(origin.root))),
        tools=_versions(config),
    )


def _versions(config: BuildConfig) -> dict[str, str]:
    return {name: metadata.version(name) for name in (*TOOLS, BACKENDS[config.convert.backend].distribution)}


def _identity(config: BuildConfig, target: Target, quantized: QuantizedModel) -> dict[str, Any]:
    project, release = config.project, config.release
    return {
        "name": project.name,
        "version": project.version,
        "target": target.name,
        "devices": tuple(device.name for device in target.devices),
        "file": f"{project.name}-{project.version}-{target.name}.tflite",
        "sha256": quantized.sha256,
        "size_bytes": quantized.size_bytes,
        "format": quantized.format,
        "format_reason": _without_places(quantized.reason),
        "description": release.description,
        "license": release.license,
        "authors": release.authors,
    }


def _pipeline_tag(prepared: PreparedModel) -> str:
    tags = TASKS[prepared.tasks[0]].tags if len(prepared.tasks) == 1 else {}
    rank = len(prepared.inputs[0].shape) if len(prepared.inputs) == 1 else 0
    return tags.get(rank, tags.get(None, ""))


def _inside(
    report: Report, quantized: QuantizedModel, prepared: PreparedModel, data: Dataset, target: Target
) -> dict[str, Any]:
    transforms = zip(report.inputs, prepared.inputs, prepared.preprocessing, strict=True)
    purposes = zip(report.outputs, prepared.outputs, prepared.tasks, prepared.from_logits, strict=True)
    return {
        "family": _family(report.layers),
        "tasks": prepared.tasks,
        "supervised": all(TASKS[task].supervised for task in prepared.tasks),
        "pipeline_tag": _pipeline_tag(prepared),
        "inputs": tuple(_tensor(tensor, port.name, str(transform)) for tensor, port, transform in transforms),
        "outputs": tuple(
            _tensor(tensor, port.name, f"{task}, logits" if logits else task)
            for tensor, port, task, logits in purposes
        ),
        "labels": data.classes,
        "treatments": dict(Counter(layer.treatment for layer in report.layers)),
        "kept_float": tuple(
            (layer.name, _without_places(layer.reason))
            for layer in quantized.layers
            if layer.quantization == "float"
        ),
        "runtimes": {need.package: need.least for need in runtimes_of(report, target)},
    }


def _tensor(tensor: Any, name: str, role: str) -> TensorFacts:
    return TensorFacts(
        name=name,
        shape=tuple(tensor.shape),
        dtype=tensor.dtype,
        scale=tensor.scale,
        zero_point=tensor.zero_point,
        role=role,
    )


def _family(layers: Sequence[LayerTreatment]) -> str:
    kinds = [layer.kind for layer in layers]
    return next(
        (family for part, family in _FAMILIES if any(part in kind for kind in kinds)), "neural network"
    )


def _quality(report: Report, config: BuildConfig) -> dict[str, Any]:
    lowest = sorted(_classes(report), key=lambda found: (found.quantized, found.output, found.name))
    shift = report.shift
    unclear = [] if shift is None else [*shift.losing, *shift.inconclusive]
    return {
        "metrics": tuple(_metrics(report)),
        "lowest_classes": tuple(lowest[:LOWEST_CLASSES]),
        "shift_samples": None if shift is None else shift.samples,
        "shifts": tuple(
            ShiftFacts(
                name=f"{found.output}: {found.name}" if found.output else found.name,
                verdict=found.verdict,
                loses=found.verdict == "int8 loses more",
                excess=None if found.pooled is None else found.pooled.excess,
            )
            for found in unclear
        ),
        "warnings": tuple(_without_places(line) for line in _warnings(report, config)),
    }


def _metrics(report: Report) -> Iterator[MetricFacts]:
    for found in report.accuracy:
        for metric in found.metrics:
            yield MetricFacts(
                task=found.task,
                output=found.output,
                samples=found.samples,
                name=metric.name,
                unit=metric.unit,
                primary=metric is found.primary,
                baseline=metric.baseline,
                quantized=metric.quantized,
                difference=metric.difference,
                low=metric.low,
                high=metric.high,
            )


def _classes(report: Report) -> Iterator[ClassFacts]:
    for found in report.accuracy:
        for scores in found.classes:
            if scores.baseline.recall is not None and scores.quantized.recall is not None:
                yield ClassFacts(
                    name=scores.name,
                    output=found.output,
                    support=scores.support,
                    baseline=scores.baseline.recall,
                    quantized=scores.quantized.recall,
                )


def _warnings(report: Report, config: BuildConfig) -> Iterator[str]:
    """Return what a user of the model should know: notes, and the reproducible verdicts."""
    yield from report.notes
    for found in report.accuracy:
        if found.note:
            yield f"{found.output}: {found.note}" if found.output else found.note
    for name in config.gates.enabled:
        if name in MEASURED:
            continue
        for verdict in GATES[name].evaluate(report, config.gates):
            if verdict.outcome not in ("passed", "skipped"):
                yield f"{verdict}: {verdict.outcome}; got {verdict.got}, allowed {verdict.allowed}"


def plain_config(config: BuildConfig, root: Path) -> dict[str, Any]:
    """Settings that can change a result, as JSON-like values; of paths outside of ``root`` only the name."""
    plain: dict[str, Any] = _plain(config, root)
    plain["data"]["source"] = _location(config.data.source, root)
    if config.model.custom_objects:
        plain["model"]["custom_objects"] = _location(config.model.custom_objects, root)
    shift = config.validation.shift
    plain["validate"]["shift"]["sources"] = {
        name: _location(place, root) for name, place in shift.sources.items()
    }
    return plain


def _plain(section: BaseModel, root: Path) -> dict[str, Any]:
    """A section's values that can change a result, its paths made plain wherever they are."""
    values = keyed(section)
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        key = field.alias or name
        if key not in values:
            continue
        if isinstance(value, Path):
            values[key] = _location(str(value), root)
        elif hasattr(value, "model_dump"):
            values[key] = _plain(value, root)
    return values


def _without_places(text: str) -> str:
    """A line of which every absolute path is its name alone."""
    return _PATH.sub(r"\1", text)


def _location(place: str, root: Path) -> str:
    """Return a place relative to ``root``, or its name alone if it is elsewhere.

    A ``module:function`` stays as it is.
    """
    if is_import_path(place) or not place:
        return place
    path = Path(place)
    path = path.parent.resolve() / path.name
    inside = path.is_relative_to(root) and not place.startswith("~") and path.name != ".."
    return path.relative_to(root).as_posix() if inside else path.name
