"""Sections of ``pipeline.toml`` as frozen models; ``pipeline.settings`` puts them together."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator

from calibration.sampling import AUTO, SAMPLING
from models.task_rules import Task
from pipeline.sections import FILE_NAME, ByContent, Section, Unkeyed, advice, renamed_value
from pipeline.targets import load_devices

# Names become file names and shell words on a device: letters, digits, dot, dash and underscore only.
SafeName = Annotated[str, StringConstraints(pattern=FILE_NAME)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Severity = Annotated[int, Field(ge=1, le=5)]
if TYPE_CHECKING:
    Sampling = str
else:
    Sampling = Literal[(AUTO, *SAMPLING)]

GateName = Literal[
    "accuracy",
    "per-class recall",
    "shift",
    "float baseline",
    "full integer",
    "size",
    "download",
    "xnnpack",
    "bit-exactness",
    "parity",
    "finite outputs",
    "stability",
    "faults",
    "board",
    "instructions",
    "latency",
    "regression",
    "compatibility",
    "cross-runtime",
]
RangeMethod = Literal["auto", "min-max", "moving-average", "percentile", "mse", "entropy"]
# Former names, which are still accepted with a warning.
OLD_GATES: dict[str, GateName] = {
    "class recall": "per-class recall",
    "same bits": "bit-exactness",
    "other runtime": "cross-runtime",
}


class ProjectConfig(Section):
    """Name of the release: ``NAME-VERSION-TARGET``."""

    name: SafeName = "model"
    version: SafeName = "0.1.0"


class ModelConfig(Section):
    """The trained Keras model.

    Attributes:
        path: a .keras or .h5 file, a SavedModel folder, an architecture as .json, or ``zoo:NAME``.
        weights: the weights' file where ``path`` is an architecture.
        trust: whether Keras's own loader may run what is in the file, in a confined child process.
        custom_objects: ``module:dict`` of the classes and functions that a trusted file names.
    """

    path: Annotated[Path, ByContent()]
    weights: Annotated[Path | None, ByContent()] = None
    trust: bool = False
    custom_objects: str | None = None


class FeatureConfig(Section):
    """One feature of a TFRecord's examples; ``role`` is an input's name, "target", or "": passed over."""

    kind: Literal["image", "bytes", "float32", "int64"]
    shape: tuple[Count, ...] = ()
    dtype: Literal["uint8", "int8", "int16", "uint16", "int32", "int64", "float16", "float32"] = "uint8"
    role: str = ""


class DataConfig(Section):
    """Training and test samples.

    Attributes:
        source: a file, a folder or ``module:function``; see docs/reference/data.md.
        task: task of each output of the model; empty infers it from the model and the targets.
        labels: the classes' names; empty takes them from the data.
        target, columns: columns of a table that hold the targets, and the inputs in order; empty infers them.
        decimal, missing: the decimal mark of a table (empty infers it), and further marks of missing values.
        features: of a TFRecord, by name.
        interpolation: filter for scaling images to the model's input.
        group: a column, an array, or a pattern of paths; equal ones stay on one side of the split.
        split: at random, or the last samples for the test.
        max_samples, timeout_s: bounds of what a function returns, and of the seconds that it may take.
        max_memory_mb: what a function may use, in 10^6 bytes; three quarters of the memory if not set.
        ignore: the value in masks of positions without a class.
    """

    source: Annotated[str, ByContent()]
    task: tuple[Task, ...] = ()
    labels: tuple[str, ...] = ()
    test_fraction: Fraction = 0.2
    target: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    decimal: Literal["", ".", ","] = ""
    missing: tuple[str, ...] = ()
    features: dict[str, FeatureConfig] = {}
    interpolation: Literal["nearest", "bilinear", "bilinear-no-antialias", "bicubic", "lanczos", "area"] = (
        "bilinear"
    )
    group: str = ""
    split: Literal["random", "time"] = "random"
    max_samples: Count = 1_000_000
    timeout_s: Annotated[float, Field(gt=0), Unkeyed()] = 3600.0
    max_memory_mb: Annotated[Count | None, Unkeyed()] = None
    ignore: int | None = None

    @model_validator(mode="after")
    def _check_split(self) -> DataConfig:
        if self.group and self.split == "time":
            msg = 'group and split = "time" exclude each other; leave one out'
            raise ValueError(msg)
        return self


class InputPreprocessing(Section):
    """Preprocessing of one input: ``(raw * scale + offset - mean) / std``.

    ``scale`` "auto" is 1 for floats; for integers it is the usual range under which the model is best.
    ``mean`` and ``std`` are one number, or one for each channel of the last axis.
    """

    scale: float | Literal["auto"] = "auto"
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Field(gt=0)], ...] = ()
    channel_order: Literal["as stored", "reversed"] = "as stored"


class PreprocessingConfig(InputPreprocessing):
    """The same for all inputs, and in sections of their own for some: ``[preprocessing.NAME]``.

    ``standardize`` gives each feature of a vector or series its own scale where their ranges differ much.
    ``per_input`` has the sections of inputs by name; in TOML every table in ``[preprocessing]`` is one.
    """

    renamed: ClassVar[dict[str, str]] = {"balance": "standardize"}

    standardize: bool = True
    per_input: dict[str, InputPreprocessing] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_inputs(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        named = {key: value for key, value in raw.items() if isinstance(value, dict)}
        return {
            **{key: raw[key] for key in raw if key not in named},
            **({"per_input": named} if named else {}),
        }


class CalibrationConfig(Section):
    """Calibration samples, and the ranges of activations that are found on them.

    Attributes:
        samples: how many.
        sampling: how they are chosen; "auto" stratifies by targets, and without them chooses at random.
        field_statistics: a file of statistics from devices, as ``pipeline monitor --save`` writes it:
            training samples are then chosen so that they are distributed as the inputs in the field are.
        ranges: how the range of an activation follows from its values, a key of
            ``calibration.ranges.METHODS``; "auto" compares them on a part of the samples.
        percentile: of the method "percentile", in percent.
    """

    renamed: ClassVar[dict[str, str]] = {"field": "field_statistics"}

    samples: Count = 256
    sampling: Sampling = AUTO
    field_statistics: Annotated[Path | None, ByContent()] = None
    ranges: RangeMethod = "auto"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99

    @model_validator(mode="after")
    def _check_sampling(self) -> CalibrationConfig:
        if self.field_statistics is not None and self.sampling != AUTO:
            msg = "sampling and field_statistics exclude each other; leave one out"
            raise ValueError(msg)
        return self


class ShiftConfig(Section):
    """Shifted distributions, under which int8 may lose more than float.

    Attributes:
        samples: how many test samples every shift is applied to; 0 leaves the suite out.
        shifts: names of the shifts; empty takes all that suit the model's input.
        severities: of each, 1 (weak) to 5 (strong).
        sources: the user's own shifted data, by name; read as ``[data] source`` is.
    """

    samples: Annotated[int, Field(ge=0)] = 500
    shifts: tuple[str, ...] = ()
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = (1, 2, 3, 4, 5)
    sources: dict[SafeName, str] = {}


class StabilityConfig(Section):
    """A long run in one process, and fault injection around it.

    Attributes:
        inferences: of each soak, at least.
        minutes: the soak goes on until this long has passed, too.
        interpreters: how many run side by side.
        faults: whether the model is given extreme inputs, killed, restarted and run under quotas.
    """

    inferences: Annotated[int, Field(ge=1000)] = 1000
    minutes: Annotated[float, Field(ge=0)] = 0.0
    interpreters: Annotated[int, Field(ge=2)] = 4
    faults: bool = True


class BoardConfig(Section):
    """Measurements on the emulated board: a whole machine with its own kernel, memory and boot.

    Attributes:
        core: the device of ``pipeline device list`` whose core the board has.
        samples: of the test set, judged on the board.
        inferences: of the soak there.
        min_memory_mib: where the search for the minimum memory starts.
        max_memory_mib: where it ends, and what the other runs have.
    """

    renamed: ClassVar[dict[str, str]] = {
        "least_memory_mib": "min_memory_mib",
        "most_memory_mib": "max_memory_mib",
    }

    core: str = "rpi4"
    samples: Annotated[int, Field(ge=64)] = 256
    inferences: Annotated[int, Field(ge=64)] = 1000
    min_memory_mib: Annotated[int, Field(ge=32)] = 64
    max_memory_mib: Annotated[int, Field(ge=64)] = 512

    @field_validator("core")
    @classmethod
    def _reject_unknown_core(cls, core: str) -> str:
        known = [device.name for device in load_devices().values() if device.arch == "aarch64"]
        if core not in known:
            msg = f"no 64-bit Arm device {core!r}; {advice(core, known, 'devices')}"
            raise ValueError(msg)
        return core


class ValidateConfig(Section):
    """Measurements on the runtimes.

    ``device_samples`` are evaluated on an emulated device whose output bits are not the host's.
    ``operators`` breaks instructions and time down by operator.
    ``against`` is an earlier .tflite file, such as the last release's, to be no worse than.
    """

    golden_samples: Annotated[int, Field(ge=64)] = 64
    device_samples: Count = 1000
    threads: tuple[Count, ...] = (1, 2, 4)
    latency_pairs: Annotated[int, Field(ge=9)] = 9
    latency_inferences: Annotated[int, Field(ge=64)] = 140
    operators: bool = True
    against: Path | None = None
    shift: ShiftConfig = ShiftConfig()
    stability: StabilityConfig = StabilityConfig()
    board: BoardConfig = BoardConfig()


SMALL_FILE_BYTES = 32 * 1024
"""A smaller file is mostly structure, so that its size says little of its weights."""


class GatesConfig(Section):
    """Limits of a release; every gate prints its measurement and its limit.

    Attributes:
        enabled: the gates that judge the report, in this order.
        accuracy_drop_points: non-inferiority margin of int8 against float, in percentage points.
        class_recall_drop_points: most F1 that any one class may lose, in points.
        channel_drop_points: most R2 that any one number or channel of a regression may lose, in points.
        shift_drop_points: maximum excess degradation of int8 under a shift, in points.
        synthetic_shift: whether that warns or fails under corruptions and class priors; it fails on own data.
        size_ratio: most bytes of the int8 file, as a share of the float file.
        download_bytes: most bytes of the int8 file as a release compresses it; None: any.
        xnnpack_share: least share of multiply-accumulates that run in XNNPACK int8 kernels.
        bit_difference_steps: largest difference from the host's output, in steps of its scale, on a device
            that is then evaluated itself; 0 demands equal bits.
        parity_steps: largest difference of a node from the model with fake quantization and between runtimes,
            with the same inputs, in steps of its scale.
        leak_bytes_per_inference: most that memory grows by with every inference, by the lower end of the
            slope's interval: 64 bytes at 30 inferences a second are 158 MiB a day.
        latency_growth: most growth of the latency over the stability run against a fresh interpreter, as a
            share, by the lower end of its interval.
        instruction_growth: most growth of emulated instructions against ``--against``, as a share.
        inconclusive: whether a gate without enough evidence warns or fails the build.
        process_memory_mib: most memory that the model's process may need on the emulated board; None: any.
        min_runtime: the oldest runtime that has to have the model's operators; empty asks for none.
        allow_chance: whether to continue although the float model is no better than chance, or its labels or
            preprocessing look wrong.
    """

    renamed: ClassVar[dict[str, str]] = {"ask": "enabled", "oldest_runtime": "min_runtime"}

    enabled: tuple[Annotated[GateName, renamed_value("the gate", OLD_GATES)], ...] = get_args(GateName)
    accuracy_drop_points: Annotated[float, Field(gt=0)] = 1.0
    class_recall_drop_points: Annotated[float, Field(gt=0)] = 5.0
    channel_drop_points: Annotated[float, Field(gt=0)] = 5.0
    shift_drop_points: Annotated[float, Field(gt=0)] = 2.0
    synthetic_shift: Literal["warn", "fail"] = "warn"
    size_ratio: Annotated[float, Field(gt=0)] = 0.5
    download_bytes: Annotated[int, Field(ge=1)] | None = None
    xnnpack_share: Annotated[float, Field(ge=0, le=1)] = 0.9
    bit_difference_steps: Annotated[int, Field(ge=0)] = 1
    parity_steps: Annotated[int, Field(ge=0)] = 2
    leak_bytes_per_inference: Annotated[float, Field(ge=0)] = 64.0
    latency_growth: Annotated[float, Field(ge=0)] = 0.05
    instruction_growth: Annotated[float, Field(ge=0)] = 0.005
    inconclusive: Literal["warn", "fail"] = "warn"
    process_memory_mib: Annotated[int, Field(ge=1)] | None = None
    min_runtime: Annotated[str, Field(pattern=r"^((tflite-runtime|litert) \d+(\.\d+)+)?$")] = ""
    allow_chance: bool = False

    @field_validator("enabled")
    @classmethod
    def _reject_no_gates(cls, enabled: tuple[GateName, ...]) -> tuple[GateName, ...]:
        if not enabled:
            msg = "passing no gate would show nothing; name at least one gate"
            raise ValueError(msg)
        return enabled


class ReleaseConfig(Section):
    """Metadata of a release, and until when and by whom it may be installed.

    Attributes:
        counter: rises with every release, so that a device can refuse an older one; None makes it of the
            version: 1.2.3 is 1002003500, 1.2.3-rc1 is 1002003401.
        expires: the last day on which it may be installed; None: any.
        description: of the model, for its card.
        license: of the model, as an SPDX identifier or expression.
        authors: of the model.
        public_key: what releases are verified with before they are deployed; of a list any one.
        revoked_keys: a file with the fingerprints of revoked keys.
    """

    counter: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    expires: date | None = None
    description: str = ""
    license: str = ""
    authors: tuple[str, ...] = ()
    public_key: Path | tuple[Path, ...] | None = None
    revoked_keys: Path | None = None
