"""What a .tflite file holds, as frozen data: tensors, operators, their quantization and constants."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.flatbuffer import layout
from pipeline.flatbuffer.checks import check_model
from pipeline.flatbuffer.reader import UPDATE, Reader, Span, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MAX_FILE_BYTES = 2**32


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
        """How many numbers the stored shape has."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating-point numbers of any width, complex ones included."""
        return "float" in self.dtype or "complex" in self.dtype

    @property
    def is_readable(self) -> bool:
        """Whether it is a constant that ``TfliteModel.constant`` can turn into an array."""
        return self.is_constant and not self.is_sparse and self.dtype in layout.NUMPY_DTYPES

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
        options_table: the schema's name of its options, e.g. ``"Conv2DOptions"``; "" where it has none.
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
    """

    subgraphs: tuple[Subgraph, ...]
    metadata: Mapping[str, int] = field(hash=False)
    signatures: tuple[str, ...]
    description: str
    size_bytes: int
    sha256: str
    content: bytes = field(repr=False, compare=False)

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


def read_tflite(
    source: Path | bytes, *, name: str = "", allow_custom: Collection[str] | None = ()
) -> TfliteModel:
    """Verify a .tflite file and return what it holds.

    Nothing but this reader sees the bytes before they were verified: tflite-runtime 2.14 follows
    offsets unchecked, and crashes or hangs on damaged files.

    Args:
        source: the file's path or its content.
        name: what errors call the file; its path by default.
        allow_custom: names of the custom and Flex operators that the caller's runtime has; None for any.

    Raises:
        InputError: in one line, what is wrong, where, and how to mend it.
    """
    if isinstance(source, bytes):
        content, name = source, name or "the model"
    else:
        name = name or str(source)
        content = _content(source, name)
    reader = Reader(content, name)
    root = reader.root()
    model = _Decoder(reader, root).model()
    reader.check_end()
    check_model(model, root, reader.refuse, allow_custom)
    return model


def _content(path: Path, name: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            message = f"{name}: not a file; pass the path of a .tflite file"
            raise InputError(message)
        if path.stat().st_size > MAX_FILE_BYTES:
            message = f"{name}: larger than {MAX_FILE_BYTES // 2**30} GiB; no edge runtime loads such a file"
            raise InputError(message)
        return path.read_bytes()
    except OSError as error:
        message = f"{name}: {(error.strerror or str(error)).lower()}; pass the path of a readable file"
        raise InputError(message) from error


class _Decoder:
    """Turns the schema's tables into the classes above, and checks every index on the way."""

    def __init__(self, reader: Reader, root: Table) -> None:
        self.reader, self.root = reader, root
        self.buffers = [self._buffer(i, buffer) for i, buffer in enumerate(root["Buffers"])]

    def model(self) -> TfliteModel:
        root, content = self.root, self.reader.content
        if root["Version"] != 3:
            self.reader.refuse(f"schema version {root['Version']} where 3 is known", UPDATE)
        if root["ExternalBuffers"] or root["ExternalBufferGroups"]:
            self.reader.refuse("its weights are in another file", "convert to a single .tflite file")
        if not root["Subgraphs"]:
            self.reader.refuse("it holds no subgraph")
        return TfliteModel(
            subgraphs=tuple(self._subgraph(i, graph) for i, graph in enumerate(root["Subgraphs"])),
            metadata={
                entry["Name"]: self.buffer(entry["Buffer"], f"metadata {entry['Name']!r}").length
                for entry in root["Metadata"]
            },
            signatures=tuple(signature["SignatureKey"] for signature in root["SignatureDefs"]),
            description=root["Description"],
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            content=content,
        )

    def buffer(self, index: int, what: str) -> Span:
        if not 0 <= index < len(self.buffers):
            self.reader.refuse(f"{what} names buffer {index} of {len(self.buffers)}")
        return self.buffers[index]

    def _buffer(self, index: int, buffer: Table) -> Span:
        # Files past 2 GB keep constants behind the FlatBuffer, at an offset from the start of the file.
        if buffer["Offset"] > 1:
            return self.reader.claim(buffer["Offset"], buffer["Size"], f"buffer {index}")
        span: Span = buffer["Data"]
        return span

    def _subgraph(self, index: int, graph: Table) -> Subgraph:
        where = f"subgraph {index}"
        tensors = tuple(
            self._tensor(i, tensor, f"tensor {i} of {where}") for i, tensor in enumerate(graph["Tensors"])
        )

        def indices(values: tuple[int, ...], what: str, *, optional: bool = False) -> tuple[int, ...]:
            for value in values:
                if not (0 <= value < len(tensors) or (optional and value == -1)):
                    self.reader.refuse(f"{what} of {where} names tensor {value} of {len(tensors)}")
            return values

        operators = []
        for i, operator in enumerate(graph["Operators"]):
            name, version, is_custom = self._code(operator["OpcodeIndex"], f"operator {i} of {where}")
            what = f"operator {i} ({name})"
            indices(operator["Intermediates"], what, optional=True)
            inputs = indices(operator["Inputs"], what, optional=True)
            outputs = indices(operator["Outputs"], what)
            union = "BuiltinOptions" if operator["BuiltinOptions"] else "BuiltinOptions2"
            table = layout.names(union)[operator[f"{union}Type"]] if operator[union] else ""
            options = operator[union] or {}
            operators.append(Operator(i, name, version, inputs, outputs, table, options, is_custom))
            if operator["LargeCustomOptionsOffset"] > 1:
                start, length = operator["LargeCustomOptionsOffset"], operator["LargeCustomOptionsSize"]
                self.reader.claim(start, length, f"the options of {what}")
        return Subgraph(
            name=graph["Name"],
            tensors=tensors,
            operators=tuple(operators),
            inputs=indices(graph["Inputs"], "an input"),
            outputs=indices(graph["Outputs"], "an output"),
        )

    def _code(self, index: int, what: str) -> tuple[str, int, bool]:
        codes = self.root["OperatorCodes"]
        if not index < len(codes):
            self.reader.refuse(f"{what} names operator code {index} of {len(codes)}")
        code = codes[index]
        # Codes past 126 do not fit the old field, which then holds a placeholder.
        builtin = max(code["BuiltinCode"], code["DeprecatedBuiltinCode"])
        name = layout.names("BuiltinOperator").get(builtin)
        if name is None:
            self.reader.refuse(f"{what} is builtin {builtin}, which this LiteRT does not know", UPDATE)
        return (
            (code["CustomCode"], code["Version"], True)
            if name == "CUSTOM"
            else (name, code["Version"], False)
        )

    def _tensor(self, index: int, tensor: Table, what: str) -> Tensor:
        dtype = layout.names("TensorType").get(tensor["Type"])
        if dtype is None:
            self.reader.refuse(
                f"{what} has element type {tensor['Type']}, which this LiteRT does not know", UPDATE
            )
        data = self.buffer(tensor["Buffer"], what)
        quantization = tensor["Quantization"] or {"Scale": (), "ZeroPoint": (), "QuantizedDimension": 0}
        scales, zero_points = quantization["Scale"], quantization["ZeroPoint"]
        return Tensor(
            index=index,
            name=tensor["Name"],
            shape=tensor["Shape"],
            shape_signature=tensor["ShapeSignature"] or tensor["Shape"],
            dtype=dtype.lower(),
            scales=scales,
            zero_points=zero_points or (0,) * len(scales),
            axis=quantization["QuantizedDimension"],
            is_constant=data.length > 0,
            is_variable=bool(tensor["IsVariable"]),
            is_sparse=tensor["Sparsity"] is not None,
            data=data,
        )
