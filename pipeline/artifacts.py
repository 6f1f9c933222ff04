"""What stages hand to each other: frozen records beside the files they describe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Task = Literal["classification", "binary"]
Treatment = Literal["quantization-aware", "pruned, quantization-aware", "post-training", "none"]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The result of a stage.

    Attributes:
        folder: where the stage's files are; set by ``Workspace.step`` when it publishes them.
        digest: sha256 over the files' bytes and the record's own fields.
    """

    folder: Path = Path()
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A user's file, folder or import path, by content."""

    location: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class FloatModel(Artifact):
    """The loaded Keras model, rebuilt and prepared.

    Attributes:
        input_shape: one sample's shape, without the batch.
        output_shape: one sample's output shape.
        rewrites: what graph preparation changed, one line each.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    task: Task
    from_logits: bool
    parameters: int
    rewrites: tuple[str, ...]

    @property
    def original(self) -> Path:
        """The model as it was given."""
        return self.folder / "original"

    @property
    def prepared(self) -> Path:
        """The same function in a form that quantization-aware training covers."""
        return self.folder / "prepared"


@dataclass(frozen=True, kw_only=True)
class Dataset(Artifact):
    """Samples in the dtype of their source: (n, ...) inputs and int64 (n,) labels."""

    classes: tuple[str, ...]
    train_samples: int
    test_samples: int

    @property
    def train_inputs(self) -> Path:
        return self.folder / "train_inputs.npy"

    @property
    def train_labels(self) -> Path:
        return self.folder / "train_labels.npy"

    @property
    def test_inputs(self) -> Path:
        return self.folder / "test_inputs.npy"

    @property
    def test_labels(self) -> Path:
        return self.folder / "test_labels.npy"


@dataclass(frozen=True, kw_only=True)
class Baseline(Artifact):
    """The unchanged model as float32 .tflite."""

    size_bytes: int

    @property
    def tflite(self) -> Path:
        return self.folder / "float.tflite"


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Artifact):
    """The model's float input is ``raw * scale + offset``; ``reason`` says who decided."""

    scale: float
    offset: float
    reason: str

    def apply(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Turn raw samples (n, ...) into the float32 input that the model was trained on."""
        scaled = raw.astype("float32") * self.scale + self.offset
        return scaled.astype("float32", copy=False)


@dataclass(frozen=True, kw_only=True)
class LayerTreatment:
    """What happened to one layer, and why."""

    name: str
    kind: str
    treatment: Treatment
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CompressedModel(Artifact):
    """A pruned Keras model; ``zero_weights`` counts the zeros of the pruned kernels."""

    pruned_layers: tuple[str, ...]
    zero_weights: int

    @property
    def model(self) -> Path:
        return self.folder / "model"


@dataclass(frozen=True, kw_only=True)
class AwareModel(Artifact):
    """A Keras model with fake quantization, trained with it; ``zero_weights`` must survive conversion."""

    zero_weights: int
    layers: tuple[LayerTreatment, ...]

    @property
    def pruned(self) -> Path:
        """The model that fake quantization was inserted into."""
        return self.folder / "pruned"

    @property
    def weights(self) -> Path:
        """All weights of the model with fake quantization, ranges and masks among them."""
        return self.folder / "weights.npz"


@dataclass(frozen=True, kw_only=True)
class CalibrationSet(Artifact):
    """Indices into the training samples, and the manifest of their hashes."""

    samples: int

    @property
    def indices(self) -> Path:
        return self.folder / "indices.npy"

    @property
    def manifest(self) -> Path:
        return self.folder / "calibration.json"


@dataclass(frozen=True, kw_only=True)
class QuantizedModel(Artifact):
    """The full-integer int8 .tflite; ``sparsity`` is the share of zeros over all its kernels."""

    size_bytes: int
    sha256: str
    sparsity: float

    @property
    def tflite(self) -> Path:
        return self.folder / "int8.tflite"


@dataclass(frozen=True, kw_only=True)
class Measured(Artifact):
    """What validation measured, not yet judged; golden inputs and outputs lie beside it."""

    model_sha256: str

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def golden_inputs(self) -> Path:
        return self.folder / "golden_inputs.npy"

    @property
    def golden_outputs(self) -> Path:
        return self.folder / "golden_outputs.npy"


@dataclass(frozen=True, kw_only=True)
class JudgedReport(Artifact):
    """A report with the gates' verdicts; ``failed`` names the gates that were not passed."""

    model_sha256: str
    failed: tuple[str, ...]

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def text(self) -> Path:
        return self.folder / "report.txt"


@dataclass(frozen=True, kw_only=True)
class PassedReport(JudgedReport):
    """A report without a failed gate: the only one that a release can be made from."""


@dataclass(frozen=True, kw_only=True)
class Release(Artifact):
    """A release folder; ``reproducible_digest`` leaves measured times out."""

    name: str
    reproducible_digest: str
