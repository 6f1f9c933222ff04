"""The facts in release documents: plain values that are equal in two builds of the same inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """One input or output.

    Attributes:
        shape: with the batch, which is 1.
        dtype: numpy's name.
        scale: real = (stored - zero_point) * scale; None if it is not quantized.
        role: how raw samples become an input, or what an output is for.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int
    role: str


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """One metric of both models on the same samples.

    Attributes:
        output: the output's name; "" if the model has one.
        unit: ``"points"`` is of 100; "" if there is none.
        primary: whether the release was judged by it.
        difference: int8 minus float.
        low: lower end of the difference's paired 95 % interval; None if it has none.
        high: upper end.
    """

    task: str
    output: str
    samples: int
    name: str
    unit: str
    primary: bool
    baseline: float
    quantized: float
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """How much of a class is found, 0..1."""

    name: str
    output: str
    support: int
    baseline: float
    quantized: float


@dataclass(frozen=True, kw_only=True)
class ShiftFacts:
    """A distribution under which int8 loses more than float does, or the samples do not tell.

    Attributes:
        loses: whether int8 was found to lose more.
        excess: what int8 loses beyond its clean loss, in points, negative; None if it was not judged.
    """

    name: str
    verdict: str
    loses: bool
    excess: float | None


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """Sources of the model.

    Attributes:
        role: ``"model"`` or ``"data"``.
        location: as the user wrote it, or its name alone where that is outside of the project.
        digest: SHA-256 of its content, as the build reads it.
    """

    role: str
    location: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Commit:
    """Git commit of the user's project; ``dirty``: there are uncommitted changes."""

    sha: str
    dirty: bool


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builder: ``"local"`` or the workflow's URL, and the repository's URL, "" if there is none."""

    id: str = "local"
    repository: str = ""


@dataclass(frozen=True, kw_only=True)
class ReleaseFacts:
    """A release.

    Attributes:
        file: the .tflite file's name.
        sha256: of that file.
        download_bytes: of the compressed download; None if it is not known.
        baseline_bytes: of the float model's file; None if there is none.
        format: ``"int8"`` where it is that throughout.
        format_reason: why not.
        family: of its architecture, in words.
        tasks: of each output.
        supervised: whether all of it was trained on labels or other targets.
        pipeline_tag: Hugging Face's name of the task; "" if it has none that fits.
        sparsity: share of zeros in the kernels.
        treatments: what was done to how many layers.
        kept_float: (layer, reason) of those that were not quantized.
        runtimes: package -> the oldest release that runs it.
        tools: package -> version, of all that the build depends on.
        project: version of this program.
        samples: of training, of testing, of calibration.
        calibration_sha256: of ``calibration.json``, which has a hash of each calibration sample.
        warnings: what the gates warn of, and what a user should know of model and data, one line each.
        config: every setting, JSON-like and without a place on this machine.
        created: ISO time of SOURCE_DATE_EPOCH; None if that is not set.
    """

    name: str
    version: str
    target: str
    devices: tuple[str, ...]
    file: str
    sha256: str
    size_bytes: int
    download_bytes: int | None
    baseline_bytes: int | None
    format: str
    format_reason: str
    description: str
    license: str
    authors: tuple[str, ...]
    family: str
    tasks: tuple[str, ...]
    supervised: bool
    pipeline_tag: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    labels: tuple[str, ...]
    metrics: tuple[MetricFacts, ...]
    lowest_classes: tuple[ClassFacts, ...]
    shift_samples: int | None
    shifts: tuple[ShiftFacts, ...]
    sparsity: float
    treatments: Mapping[str, int]
    kept_float: tuple[tuple[str, str], ...]
    runtimes: Mapping[str, str]
    tools: Mapping[str, str]
    project: str
    samples: tuple[int, int, int]
    calibration_sha256: str
    sources: tuple[SourceFacts, ...]
    warnings: tuple[str, ...]
    config: Mapping[str, Any]
    commit: Commit | None
    builder: Builder
    created: str | None

    @property
    def full_name(self) -> str:
        """``NAME-VERSION-TARGET``."""
        return f"{self.name}-{self.version}-{self.target}"
