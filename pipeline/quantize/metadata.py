"""Add TFLite metadata to the .tflite file: what its inputs and outputs mean."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploy.bundle import labels_text
from pipeline.artifacts import QuantizedModel  # noqa: TC001 - Run.step reads the return type
from pipeline.flatbuffer import printable, read_tflite
from pipeline.flatbuffer.metadata import ModelMetadata, TensorMetadata, write_metadata
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.ports import Port
    from models.task_rules import Task
    from pipeline.artifacts import Dataset, PreparedModel, Transform
    from pipeline.config import ProjectConfig, ReleaseConfig
    from pipeline.flatbuffer import Tensor, TfliteModel
    from pipeline.flatbuffer.metadata import Content

LABELS = "labels.txt"
METADATA_BYTES = 1024
"""More than the metadata of a usual model add to its download."""
_OF_IMAGES: dict[int, Content] = {1: "grayscale", 3: "rgb", 4: "image"}


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The user's description of the model; without the version, so that a new version has the same bytes."""

    name: str
    description: str
    authors: tuple[str, ...]
    license: str

    @classmethod
    def of(cls, project: ProjectConfig, release: ReleaseConfig) -> ModelInfo:
        """Return the description in the settings of a build."""
        return cls(
            name=project.name,
            description=release.description,
            authors=release.authors,
            license=release.license,
        )


def add_metadata(
    quantized: QuantizedModel,
    prepared: PreparedModel,
    data: Dataset,
    *,
    info: ModelInfo,
    out: Path,
) -> QuantizedModel:
    """Write TFLite metadata and the labels into a copy of the model; its outputs do not change.

    Raises:
        InputError: metadata cannot be written into the model's file.
    """
    content = quantized.tflite.read_bytes()
    model = read_tflite(content, name="the converted model", allow_custom=None)
    metadata = model_metadata(model, prepared, data.classes, info)
    labels = any(tensor.labels for tensor in metadata.outputs)
    written = write_metadata(
        content, metadata, {LABELS: labels_text(data.classes).encode()} if labels else {}
    )
    found = read_tflite(written, name="the described model", allow_custom=None)
    described = replace(
        quantized, folder=out, digest="", notes=(), size_bytes=found.size_bytes, sha256=found.sha256
    )
    described.tflite.write_bytes(written)
    for file in filter(Path.exists, (quantized.original, quantized.expected)):
        shutil.copyfile(file, out / file.name)
    return described


def model_metadata(
    model: TfliteModel,
    prepared: PreparedModel,
    classes: Sequence[str],
    info: ModelInfo,
) -> ModelMetadata:
    """Return what the pipeline knows about the model as TFLite metadata."""
    inputs = zip(model.inputs, prepared.inputs, prepared.preprocessing, strict=True)
    outputs = zip(model.outputs, prepared.outputs, prepared.tasks, prepared.from_logits, strict=True)
    return ModelMetadata(
        name=info.name,
        description=printable(info.description),
        author=printable(", ".join(info.authors)),
        license=printable(info.license),
        inputs=tuple(_input(tensor, port, transform) for tensor, port, transform in inputs),
        outputs=tuple(_output(*output, classes) for output in outputs),
    )


def _input(tensor: Tensor, port: Port, transform: Transform) -> TensorMetadata:
    shape = tensor.shape[1:]
    content: Content = _OF_IMAGES.get(shape[-1], "features") if len(shape) == 3 else "features"
    if transform.reverse_channels and content == "rgb":
        content = "image"  # BGR, which the schema cannot express
    mean, std = _normalization(transform)
    low, high = _range(tensor)
    return TensorMetadata(
        name=printable(port.name),
        description=f"preprocessing: {printable(str(transform))}",
        content=content,
        size=None if content == "features" else (shape[0], shape[1]),
        mean=mean,
        std=std,
        low=low,
        high=high,
    )


def _output(
    tensor: Tensor, port: Port, task: Task, from_logits: bool | None, classes: Sequence[str]
) -> TensorMetadata:
    of_classes = TASKS[task].of_classes
    labelled = of_classes and bool(classes) and tensor.shape[-1] == len(classes)
    low, high = _range(tensor)
    values = "" if not of_classes else ", logits" if from_logits else ", probabilities"
    return TensorMetadata(
        name=printable(port.name),
        description=f"{task}{values}",
        low=low,
        high=high,
        labels=LABELS if labelled else "",
    )


def _normalization(transform: Transform) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Convert ``raw * scale + offset`` to mean and std of ``(raw - mean) / std``; empty if impossible.

    Both have the same length, because readers of the metadata require it.
    """
    if transform.indices or not all(transform.scale):
        return (), ()
    scale, offset = np.broadcast_arrays(
        np.asarray(transform.scale, np.float64), np.asarray(transform.offset, np.float64)
    )
    with np.errstate(over="ignore"):
        mean, std = (-offset / scale).astype(np.float32), (1 / scale).astype(np.float32)
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and std.all()):
        return (), ()
    return tuple(float(value) + 0.0 for value in mean), tuple(float(value) for value in std)


def _range(tensor: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the real values of the smallest and the largest stored value."""
    if len(tensor.scales) != 1:
        return (), ()
    limits = np.iinfo(tensor.dtype)
    scale, zero = tensor.scales[0], tensor.zero_points[0]
    low, high = (float(np.float32((limit - zero) * scale)) for limit in (limits.min, limits.max))
    return (low,), (high,)
