"""The model under test: a verified .tflite file and the inputs for every runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.download import compress
from models.ports import Port
from pipeline.artifacts import Source
from pipeline.errors import InputError
from pipeline.flatbuffer import (
    FloatOperator,
    float_operators,
    integer_io,
    printable,
    read_tflite,
    weight_sparsity,
)
from pipeline.runtimes.quantization import tensor_inputs
from pipeline.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.task_rules import Task
    from pipeline.artifacts import Dataset, Preprocessing
    from pipeline.flatbuffer import Tensor as FlatTensor
    from pipeline.flatbuffer import TfliteModel
    from pipeline.runtimes.session import ModelDetails, Tensor


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A .tflite file; ``compressed_bytes`` is what a user downloads."""

    sha256: str
    size_bytes: int
    compressed_bytes: int
    sparsity: float
    float_operators: tuple[FloatOperator, ...]
    integer_io: bool


@dataclass(frozen=True)
class ModelUnderTest:
    """A .tflite file whose structure was verified before any runtime saw it."""

    path: Path
    flat: TfliteModel

    @classmethod
    def open(cls, path: Path) -> ModelUnderTest:
        """Verify a file.

        Raises:
            InputError: it is damaged, or takes several samples at a time; says where.
        """
        flat = read_tflite(path)
        _require_single_samples(path, flat)
        return cls(path, flat)

    @classmethod
    def of(cls, model: Source) -> ModelUnderTest:
        """Verify the file of a source; errors as ``open``."""
        return cls.open(Path(model.location))

    @property
    def source(self) -> Source:
        """The file by content."""
        return Source(location=str(self.path), digest=self.flat.sha256)

    def ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Its inputs and outputs, in the words that data is read with.

        A quantized input stands for real numbers; an integer one without a scale takes indices.
        """
        last = {index: operator.name for operator in self.flat.operators for index in operator.outputs}
        skipped = {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}
        before = {
            operator.outputs[0]: operator.inputs[0]
            for operator in self.flat.operators
            if operator.name in skipped
        }

        def port(tensor: FlatTensor, activation: str = "") -> Port:
            is_real = tensor.is_float or bool(tensor.scales)
            shape = tuple(None if size < 0 else size for size in tensor.shape_signature[1:])
            return Port(tensor.name, shape, "float32" if is_real else tensor.dtype, activation)

        def activation(index: int) -> str:
            while index in before:
                index = before[index]
            return {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}.get(last.get(index, ""), "linear")

        return (
            tuple(port(tensor) for tensor in self.flat.inputs),
            tuple(port(tensor, activation(tensor.index)) for tensor in self.flat.outputs),
        )

    @cached_property
    def facts(self) -> ModelFile:
        kernels = weight_sparsity(self.flat).values()
        weights = sum(count.total for count in kernels)
        return ModelFile(
            sha256=self.flat.sha256,
            size_bytes=self.flat.size_bytes,
            compressed_bytes=len(compress(self.path.read_bytes())),
            sparsity=sum(count.zeros for count in kernels) / max(weights, 1),
            float_operators=float_operators(self.flat),
            integer_io=integer_io(self.flat),
        )


def _require_single_samples(path: Path, flat: TfliteModel) -> None:
    """Refuse a batch that is fixed at another size than 1: devices infer one sample at a time."""
    for tensor in flat.inputs:
        batch = tensor.shape[0] if tensor.shape else 1
        if batch != 1:
            shape = "x".join(map(str, tensor.shape))
            one = ", ".join(map(str, (1, *tensor.shape[1:])))
            msg = (
                f"{path}: input {printable(tensor.name)!r} is {shape}, a fixed batch of {batch}, and devices "
                f"infer one sample at a time; convert it again from a function of tf.TensorSpec(({one})), or "
                "with tf.lite.TFLiteConverter.from_keras_model, which leaves the batch free"
            )
            raise InputError(msg)


@dataclass(frozen=True)
class Golden:
    """The inputs that every runtime answers: real test samples, or seeded noise where there are none."""

    samples: Samples | None
    count: int
    seed: int

    def inputs(self, details: ModelDetails) -> list[NDArray[Any]]:
        """Return for each of the model's inputs an array (count, ...) of its own dtype."""
        if self.samples is not None and len(self.samples) >= self.count:
            return tensor_inputs(self.samples.choose(self.count, self.seed).model_inputs(), details)
        rng = np.random.default_rng(self.seed)
        return [self._noise(tensor, rng) for tensor in details.inputs]

    def _noise(self, tensor: Tensor, rng: np.random.Generator) -> NDArray[Any]:
        shape = (self.count, *tensor.shape[1:])
        if tensor.scale is None and not tensor.dtype.startswith("float"):
            return rng.integers(0, 2, shape).astype(tensor.dtype)  # an index that any table has
        if tensor.scale is None:
            return rng.uniform(-1, 1, shape).astype(tensor.dtype)
        limits = np.iinfo(tensor.dtype)
        return rng.integers(limits.min, limits.max, shape, np.int64, endpoint=True).astype(tensor.dtype)


@dataclass(frozen=True)
class InputSpec:
    """How measurements get the inputs of a model.

    Attributes:
        preprocessing: for each input, without the reason for it; empty if there are no samples.
        golden_samples: how many inputs every runtime answers.
        seed: of their choice, and of all other random choices of a measurement.
    """

    preprocessing: Preprocessing
    golden_samples: int
    seed: int

    @classmethod
    def of(cls, preprocessing: Preprocessing, golden_samples: int, seed: int) -> InputSpec:
        return cls(tuple(replace(each, reason="") for each in preprocessing), golden_samples, seed)

    def samples(self, data: Dataset) -> Samples:
        """Return the test samples of a data set."""
        return Samples.of(data, "test", self.preprocessing)

    def golden(self, data: Dataset | None) -> Golden:
        """Return the golden set: test samples of a data set, or noise where there is none."""
        return Golden(None if data is None else self.samples(data), self.golden_samples, self.seed)


@dataclass(frozen=True)
class OutputSpec:
    """How the outputs of a model are evaluated.

    Attributes:
        tasks: of each output.
        names: of each output; "" of a single one.
        from_logits: whether each output is of logits; None if unknown.
        classes: names of the classes, where there are any.
    """

    tasks: tuple[Task, ...] = ()
    names: tuple[str, ...] = ()
    from_logits: tuple[bool | None, ...] = ()
    classes: tuple[str, ...] = ()


def output_names(outputs: Sequence[Port]) -> tuple[str, ...]:
    """Return the outputs' names, which matter where there are several."""
    return tuple(port.name for port in outputs) if len(outputs) > 1 else ("",)
