"""Verify a .tflite file and decode it, in one walk."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.flatbuffer import layout
from pipeline.flatbuffer.checks import check_model
from pipeline.flatbuffer.metadata import check_associated_files
from pipeline.flatbuffer.model import Operator, Subgraph, Tensor, TfliteModel
from pipeline.flatbuffer.reader import UPDATE, Reader, Span, Table

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MAX_FILE_BYTES = 2**32


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
        InputError: in one line, what is wrong, where, and how to fix it.
    """
    if isinstance(source, bytes):
        content, name = source, name or "the model"
    else:
        name = name or str(source)
        content = _content(source, name)
    reader = Reader(content, name)
    root = reader.root()
    model = _Decoder(reader, root).model()
    check_associated_files(reader, root)
    check_model(model, root, reader.fail, allow_custom)
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
            self.reader.fail(f"schema version {root['Version']} where 3 is known", UPDATE)
        if root["ExternalBuffers"] or root["ExternalBufferGroups"]:
            self.reader.fail("its weights are in another file", "convert to a single .tflite file")
        if not root["Subgraphs"]:
            self.reader.fail("it holds no subgraph")
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
            min_runtime_version=self._min_runtime_version(),
        )

    def _min_runtime_version(self) -> str:
        """Return the version in the metadata, if it is one: the entry contains arbitrary bytes."""
        for entry in self.root["Metadata"]:
            if entry["Name"] == "min_runtime_version":
                start, length = self.buffers[entry["Buffer"]]
                said = self.reader.content[start : start + min(length, 16)].partition(b"\0")[0]
                return said.decode() if re.fullmatch(rb"\d+(\.\d+)*", said) else ""
        return ""

    def buffer(self, index: int, what: str) -> Span:
        if not 0 <= index < len(self.buffers):
            self.reader.fail(f"{what} names buffer {index} of {len(self.buffers)}")
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
                    self.reader.fail(f"{what} of {where} names tensor {value} of {len(tensors)}")
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
            self.reader.fail(f"{what} names operator code {index} of {len(codes)}")
        code = codes[index]
        # Codes past 126 do not fit the old field, which then holds a placeholder.
        builtin = max(code["BuiltinCode"], code["DeprecatedBuiltinCode"])
        name = layout.names("BuiltinOperator").get(builtin)
        if name is None:
            self.reader.fail(f"{what} is builtin {builtin}, which this LiteRT does not know", UPDATE)
        return (
            (code["CustomCode"], code["Version"], True)
            if name == "CUSTOM"
            else (name, code["Version"], False)
        )

    def _tensor(self, index: int, tensor: Table, what: str) -> Tensor:
        dtype = layout.names("TensorType").get(tensor["Type"])
        if dtype is None:
            self.reader.fail(
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
