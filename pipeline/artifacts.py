"""Artifacts that stages exchange: frozen records, stored next to the files they describe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.ports import Port
from models.task_rules import Task
from pipeline.choices import Baselines, Candidate, InputFinding, Precision, Repair
from pipeline.formats import WrittenFormat
from pipeline.layer_records import LayerRecord
from pipeline.node_parity import Counterpart
from pipeline.training_history import TrainingHistory

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["train", "test", "fit", "held_out", "aside", "rest"]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The result of a stage.

    Attributes:
        folder: where the stage's files are; set by ``Run.step`` when it publishes them.
        digest: sha256 over the files' bytes and the record's own fields.
        notes: warnings about it, one line each; ``Run.step`` prints them.
        findings: what was inferred and why, one line each, such as an output's task; printed likewise.
    """

    folder: Path = Path()
    digest: str = ""
    notes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A user's file, folder or import path, by content."""

    location: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class FloatModel(Artifact):
    """The loaded Keras model, as it was given.

    Attributes:
        inputs: what it takes, in its own order; a length may be open.
        outputs: what it gives.
        from_logits: for each output, whether it is of logits where it is of classes; None if unknown.
        opaque: whether Keras loaded it itself (``--trust-model``): a SavedModel that is converted as it is.
        layers: (name, class) of an opaque model's layers.
        dropped: notes on settings that it was saved with and is built without, such as constraints.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    from_logits: tuple[bool | None, ...]
    opaque: bool = False
    layers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def model(self) -> Path:
        return self.folder / "model"


@dataclass(frozen=True, kw_only=True)
class Dataset(Artifact):
    """Samples in the dtype of their source, and which rows of them are for what.

    Attributes:
        tasks: for each output of the model what it is for, and with that the form of its targets.
        classes: names of the classes, where there are any.
        shapes: of one sample, for each input.
        text_labels: whether the labels are text, whose ids follow from the order of ``classes``.
        columns: for each input the names of its values; () if they have none.
        is_set_aside: whether some of the test samples are held out instead of training samples.
    """

    tasks: tuple[Task, ...]
    classes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    train_samples: int
    test_samples: int
    text_labels: bool = False
    columns: tuple[tuple[str, ...], ...] = ()
    is_set_aside: bool = False

    def input(self, index: int) -> Path:
        """Return all samples of one input, (n, ...)."""
        return self.folder / f"input_{index}.npy"

    def target(self, index: int) -> Path:
        """Return all targets of one output, in the form that ``Task`` says; a reconstruction has none."""
        return self.folder / f"target_{index}.npy"

    def rows(self, split: Split) -> Path:
        """int64 indices of the samples of one split, as ``models.data.partition.Splits`` says."""
        name = {"test": "rest", "held_out": "aside"}.get(split, split) if self.is_set_aside else split
        return self.folder / f"{name}.npy"

    def divided(self, *, set_aside: bool) -> Dataset:
        """Return the same data where some of the test samples are held out and not tested on, or none are."""
        data = replace(self, is_set_aside=set_aside, digest=self.digest.rstrip("+") + "+" * set_aside)
        return replace(data, test_samples=data.count("test"))

    def count(self, split: Split) -> int:
        return len(np.load(self.rows(split)))


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Preprocessing of one input's raw values, as in training.

    Attributes:
        scale: factor, one for all values or one for each of the last axis.
        offset: added after scaling, likewise.
        reverse_channels: whether the last axis is turned round first, as from RGB to BGR.
        indices: whether values are indices that go in as they are.
        reason: who decided.
    """

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    reverse_channels: bool = False
    indices: bool = False
    reason: str = ""

    def apply(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Turn raw values (n, ...) into the model's input: float32, or integers where they are indices."""
        if self.indices:
            return raw
        ordered = raw[..., ::-1] if self.reverse_channels else raw
        if self.scale == (1.0,) and self.offset == (0.0,):
            return ordered.astype("float32", copy=False)
        scale, offset = (np.asarray(values, np.float32) for values in (self.scale, self.offset))
        return ordered.astype(np.float32) * scale + offset

    def __str__(self) -> str:
        if self.indices:
            return f"indices as they are ({self.reason})"
        order = "channels reversed, " if self.reverse_channels else ""
        if len(self.scale) == len(self.offset) == 1:
            return f"{order}raw x {self.scale[0]:g} {self.offset[0]:+g} ({self.reason})"
        features = max(len(self.scale), len(self.offset))
        return f"{order}raw x scale + offset for each of {features} ({self.reason})"


Preprocessing = tuple[Transform, ...]
"""For each of the model's inputs, in its order."""


def described(inputs: tuple[Port, ...], preprocessing: Preprocessing) -> str:
    """Describe the preprocessing of the inputs; with several, each by its name."""
    if len(inputs) == 1:
        return str(preprocessing[0])
    return "; ".join(f"{port.name}: {how}" for port, how in zip(inputs, preprocessing, strict=True))


@dataclass(frozen=True, kw_only=True)
class ModelArtifact(Artifact):
    """A model in some form: what it takes and gives, and its layers.

    Attributes:
        inputs: as those of ``FloatModel``, without an open length.
        tasks: what each output is for.
        from_logits: for each output, whether it is of logits where it is of classes; None if unknown.
        preprocessing: what makes its inputs of raw samples.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tasks: tuple[Task, ...]
    from_logits: tuple[bool | None, ...]
    preprocessing: Preprocessing
    layers: tuple[LayerRecord, ...] = ()

    @property
    def zero_weights(self) -> int:
        """Weights that are zero and must stay zero."""
        return sum(round(layer.weights * layer.sparsity) for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class KerasModel(ModelArtifact):
    """A Keras model in layers that TF-MOT covers; every compression step takes one and returns one.

    Attributes:
        trainings: those that it went through, in order.
    """

    trainings: tuple[TrainingHistory, ...] = ()

    @property
    def model(self) -> Path:
        return self.folder / "model"


@dataclass(frozen=True, kw_only=True)
class Teacher(KerasModel):
    """The float model that training starts from and learns from.

    Attributes:
        share: of the loss that compares with the teacher's outputs; the rest compares with the labels.
        fine_tuned: whether it is the given model fine-tuned on the labels.
        baselines: None if the model was not fine-tuned, because there are no labels or too few samples.
    """

    share: float
    fine_tuned: bool = False
    baselines: Baselines | None = None

    @property
    def sets_aside(self) -> bool:
        """Whether test samples made the choice, and have to be held out from then on."""
        return self.baselines is not None and self.baselines.set_aside > 0


@dataclass(frozen=True, kw_only=True)
class QatModel(KerasModel):
    """A Keras model and its trained form with fake quantization, whose ranges are part of the weights.

    Attributes:
        unbounded: layers whose output has no trained range; the converter calibrates it.
    """

    unbounded: tuple[str, ...] = ()

    @property
    def weights(self) -> Path:
        """All weights of the model with fake quantization, ranges among them."""
        return self.folder / "weights.npz"


@dataclass(frozen=True, kw_only=True)
class PreparedModel(ModelArtifact):
    """The model with fixed lengths on preprocessed inputs.

    Attributes:
        rewrites: what graph preparation changed, one line each.
        unrolled: recurrent layers that were written out step by step.
        unrolled_steps: of all of them together.
        input_findings: of the inputs whose preprocessing was chosen.
        better_settings: notes on preprocessing that suits the model far better than what is declared, or than
            floats as they are.
        opaque: whether it is a SavedModel that only the converter can read; it has no ``keras`` then.
    """

    rewrites: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()
    unrolled_steps: int = 0
    input_findings: tuple[InputFinding, ...] = ()
    better_settings: tuple[str, ...] = ()
    opaque: bool = False

    @property
    def reference(self) -> Path:
        """The model as it was given, on preprocessed inputs."""
        return self.folder / "reference"

    @property
    def keras(self) -> KerasModel:
        """The same function in layers that TF-MOT covers: what compression starts from and learns from."""
        return KerasModel(
            folder=self.folder / "keras",
            digest=self.digest,
            inputs=self.inputs,
            outputs=self.outputs,
            tasks=self.tasks,
            from_logits=self.from_logits,
            preprocessing=self.preprocessing,
            layers=self.layers,
        )


@dataclass(frozen=True, kw_only=True)
class Baseline(Artifact):
    """The unchanged model as float32 .tflite."""

    sha256: str

    @property
    def tflite(self) -> Path:
        return self.folder / "float.tflite"

    @property
    def source(self) -> Source:
        """The file by content."""
        return Source(location=str(self.tflite), digest=self.sha256)


@dataclass(frozen=True, kw_only=True)
class FloatCheck(Artifact):
    """Result of the float check: better than the best constant answer, or accepted by the user."""


@dataclass(frozen=True, kw_only=True)
class CalibrationSet(Artifact):
    """Indices into the training samples, in random order, and the manifest of their hashes.

    Attributes:
        samples: how many there are.
        sampling: the method that chose them.
    """

    samples: int
    sampling: str = ""

    @property
    def indices(self) -> Path:
        return self.folder / "indices.npy"

    @property
    def manifest(self) -> Path:
        return self.folder / "calibration.json"


@dataclass(frozen=True, kw_only=True)
class Ranges(Artifact):
    """A float .tflite, and the range of each of its activations on the calibration samples.

    Attributes:
        problem: why there are none, where the model did not convert or run; else "".
        chosen: which method chose them, and why; "" without a comparison.
        repairs: what was done to the file's weights so that int8 loses less, or why not.
    """

    problem: str = ""
    chosen: str = ""
    repairs: tuple[Repair, ...] = ()

    @property
    def tflite(self) -> Path:
        return self.folder / "float.tflite"

    @property
    def table(self) -> Path:
        """JSON: ``method``, and ``ranges``, a list with the fields of ``pipeline.flatbuffer.edit.Range``.

        Where methods were compared, it has the other fields of ``pipeline.quantize.choice.Choice``, too.
        """
        return self.folder / "ranges.json"


@dataclass(frozen=True, kw_only=True)
class QuantizedModel(Artifact):
    """The .tflite to release.

    Attributes:
        format: full-integer int8 where there is no reason against it, else the best one that runs.
        reason: why it is not "int8".
        untrained: why it was not converted from the model of quantization-aware training, where it was not.
        sparsity: share of zeros over all kernels.
        layers: what was done to each layer.
        candidates: the models that it was chosen from; empty if only one was made.
        repairs: what was done to its weights without training, or why not.
        precision: which layers are in a wider format, or why none; None if that was not asked for.
        trainings: those of the build, in order.
        ranges: how the method that chooses ranges was chosen; "" without a comparison.
        counterpart: the model with fake quantization that it has to equal; None of a file without integers.
    """

    size_bytes: int
    sha256: str
    sparsity: float
    format: WrittenFormat
    reason: str
    layers: tuple[LayerRecord, ...]
    untrained: str = ""
    candidates: tuple[Candidate, ...] = ()
    repairs: tuple[Repair, ...] = ()
    precision: Precision | None = None
    trainings: tuple[TrainingHistory, ...] = ()
    ranges: str = ""
    counterpart: Counterpart | None = None

    @property
    def tflite(self) -> Path:
        return self.folder / "model.tflite"

    @property
    def original(self) -> Path:
        """The same model in float32, with its weights before they were rounded; missing of a float one."""
        return self.folder / "float.tflite"

    @property
    def expected(self) -> Path:
        """What the counterpart's layers compute, by tensor (``quantize/fake_quantization.py``), if known."""
        return self.folder / "expected.npz"

    @property
    def source(self) -> Source:
        """The file by content."""
        return Source(location=str(self.tflite), digest=self.sha256)


@dataclass(frozen=True, kw_only=True)
class Measured(Artifact):
    """Measurements of a validation, before the gates; golden inputs and outputs are stored next to it."""

    model_sha256: str
    inputs: int
    outputs: int

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    def golden_input(self, index: int) -> Path:
        return self.folder / f"golden_input_{index}.npy"

    def golden_output(self, index: int) -> Path:
        return self.folder / f"golden_output_{index}.npy"


@dataclass(frozen=True, kw_only=True)
class JudgedReport(Artifact):
    """A report with the gates' verdicts; ``failed`` names the gates that were not passed."""

    model_sha256: str
    failed: tuple[str, ...]

    @property
    def report(self) -> Path:
        return self.folder / "report.json"


@dataclass(frozen=True, kw_only=True)
class PassedReport(JudgedReport):
    """A report without a failed gate: the only one that a release can be made from."""


@dataclass(frozen=True, kw_only=True)
class Release(Artifact):
    """A release folder.

    Attributes:
        reproducible_digest: of its manifest, which leaves measured times out.
    """

    name: str
    reproducible_digest: str
