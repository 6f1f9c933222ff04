"""Content of a .tflite file as frozen data: tensors, operators, quantization and constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer import layout
from pipeline.flatbuffer.reader import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        index: its position in the subgraph.
        name: what the converter called it, usually the Keras layer's path.
        shape: the shape stored; a free dimension is stored as 1.
        shape_signature: the shape with -1 for each free dimension.
        dtype: element type as NumPy spells it, e.g. ``"int8"``; or ``"int4"``, ``"string"``, ...
        scales: one for a per-tensor, one for each channel of a per-channel tensor, none where not quantized.
        zero_points: as many as there are scales.
        axis: the dimension that the scales run along; meaningful where there are several.
        is_constant: its values are in the file.
        is_variable: its values are kept from one inference to the next.
        is_sparse: its constant is stored in TFLite's sparse encoding.
        data: where its constant lies in the file.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    is_constant: bool = False
    is_variable: bool = False
    is_sparse: bool = False
    data: Span = field(default=Span(0, 0), repr=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of its constant in the file; 0 for a tensor that is computed."""
        return self.data.length

    @property
    def elements(self) -> int:
        """Number of elements of the stored shape."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating-point numbers of any width, complex ones included."""
        return "float" in self.dtype or "complex" in self.dtype

    @property
    def is_readable(self) -> bool:
        """Whether it is a constant that ``TfliteModel.constant`` can turn into an array."""
        return self.is_constant and not self.is_sparse and self.dtype in layout.numpy_dtypes()

    @property
    def quantization(self) -> str:
        """``"per-channel"``, ``"per-tensor"`` or ``""``."""
        return ("", "per-tensor")[len(self.scales)] if len(self.scales) < 2 else "per-channel"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a subgraph.

    Attributes:
        index: its position in the order of execution.
        name: the builtin's name, e.g. ``"CONV_2D"``, or the name of a custom one.
        version: the version of the builtin that the file asks for.
        inputs: indices of tensors; -1 for an optional input that is left out.
        outputs: indices of tensors.
        options_table: the schema's name of its options, e.g. ``"Conv2DOptions"``; "" if it has none.
        options: their fields, e.g. ``{"StrideW": 2, ...}``.
        is_custom: not a builtin; needs code that no plain runtime has.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_table: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    is_custom: bool = False


@dataclass(frozen=True, slots=True)
class Subgraph:
    """Tensors and the operators that compute them, in order; inputs and outputs are tensor indices."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """A .tflite file whose structure was verified.

    Attributes:
        subgraphs: the main one first; others are the bodies of control flow.
        metadata: name and size in bytes of each metadata entry.
        signatures: the keys of the signatures.
        description: the converter's own.
        size_bytes: of the file.
        sha256: of the file, hexadecimal.
        content: the file.
        min_runtime_version: oldest TensorFlow release that runs it, according to the converter, e.g. "2.3.0";
            "" if it gives none.
    """

    subgraphs: tuple[Subgraph, ...]
    metadata: Mapping[str, int] = field(hash=False)
    signatures: tuple[str, ...]
    description: str
    size_bytes: int
    sha256: str
    content: bytes = field(repr=False, compare=False)
    min_runtime_version: str = ""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors of the main subgraph."""
        return self.subgraphs[0].tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Operators of the main subgraph, in order of execution."""
        return self.subgraphs[0].operators

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Inputs of the main subgraph."""
        return tuple(self.tensors[index] for index in self.subgraphs[0].inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Outputs of the main subgraph."""
        return tuple(self.tensors[index] for index in self.subgraphs[0].outputs)

    def constant(self, tensor: Tensor) -> NDArray[Any]:
        """Return a constant's values in its own dtype and shape; int4 as int8.

        Raises:
            ValueError: if the tensor is computed, sparsely encoded, or of a type that NumPy lacks.
        """
        if not tensor.is_readable:
            message = f"tensor {tensor.index} ({tensor.name}) has no constant to read"
            raise ValueError(message)
        raw = self.content[tensor.data.start : tensor.data.start + tensor.data.length]
        if tensor.dtype == "int4":
            pairs = np.frombuffer(raw, np.int8)
            nibbles: NDArray[np.int8] = np.stack([np.left_shift(pairs, 4) >> 4, pairs >> 4], axis=-1).ravel()
            return nibbles[: tensor.elements].reshape(tensor.shape)
        return np.frombuffer(raw, np.dtype(tensor.dtype)).reshape(tensor.shape)
