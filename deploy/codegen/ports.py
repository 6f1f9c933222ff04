"""Inputs and outputs of a manifest as the templates write them: names, sizes, types and literals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from deploy.codegen.literals import C_TYPES, KOTLIN_TYPES, decimal, float32
from deploy.codegen.names import camel_case, comment, unique_identifiers
from deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.manifest import Input, Manifest, Output, Resize, Tensor


MAX_CONSTANTS = 1000
"""Names that become an enum: the JVM limits how much code initializes a class."""


@dataclass(frozen=True)
class Constant:
    """One name of an enum: a column or a label.

    Attributes:
        title: the user's name for it.
        macro: ``SEPAL_LENGTH``.
        camel: ``SepalLength``.
    """

    title: str
    macro: str
    camel: str


@dataclass(frozen=True)
class Port:
    """Common part of inputs and outputs.

    Attributes:
        index: its place among the model's inputs or outputs.
        title: the user's name for it, fit for a comment.
        name: ``last_day``.
        macro: ``LAST_DAY``.
        camel: ``LastDay``.
        shape: with the batch of 1.
        size: its number of elements.
        dtype: of the tensor, numpy's name.
        c_type: the tensor's element in C.
        kotlin_type: and in Kotlin.
        scale: literal, or "" if the tensor is not quantized.
        zero_point: in steps.
        low: literal (float) of the smallest value that the tensor's type holds; "" of a floating type.
        high: and of the largest.
    """

    index: int
    title: str
    name: str
    macro: str
    camel: str
    shape: tuple[int, ...]
    size: int
    dtype: str
    c_type: str
    kotlin_type: str
    scale: str
    zero_point: int
    low: str
    high: str

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float32", "float64")

    @property
    def is_unsigned(self) -> bool:
        """Whether a Kotlin value has to be masked to be read."""
        return self.dtype in ("uint8", "uint16", "uint32")

    @property
    def item_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class InputPort(Port):
    """An input; ``scales`` and ``offsets`` are literals, one or one for each of the last axis.

    Attributes:
        channels: length of the last axis.
        reciprocal: literal of 1 / scale, as ``predict.py`` multiplies; "" if not quantized.
        reverse: whether the last axis is turned round.
        indices: whether raw values are indices that go in as they are.
        image: whether raw bytes are taken too.
        picture: size and interpolation of the bitmaps that become such bytes; None: it takes none.
        columns: names of the raw values in order; () if they have none, or too many.
        raw_c_type: a raw value in C.
        raw_kotlin_type: and in Kotlin.
    """

    channels: int
    reciprocal: str
    scales: tuple[str, ...]
    offsets: tuple[str, ...]
    reverse: bool
    indices: bool
    image: bool
    picture: Resize | None
    columns: tuple[Constant, ...]
    raw_c_type: str
    raw_kotlin_type: str


@dataclass(frozen=True)
class OutputPort(Port):
    """An output.

    Attributes:
        channels: length of the last axis, along which a softmax runs.
        real_c_type: an element after dequantization in C.
        real_kotlin_type: and in Kotlin.
        task: as the manifest has it.
        logits: whether a softmax or sigmoid is still to be applied, and can be.
        threshold: literal above which a binary answer is the second class.
        labelled: whether the labels are those of this output.
    """

    channels: int
    real_c_type: str
    real_kotlin_type: str
    task: str
    logits: bool
    threshold: str
    labelled: bool

    @property
    def answers_class(self) -> bool:
        return self.task == "classification" or (self.task == "binary" and self.size == 1)

    @property
    def softmax(self) -> bool:
        """Whether classes exclude each other: a softmax, else a sigmoid of each value."""
        return self.task not in ("binary", "multi-label") and self.channels > 1


def input_ports(manifest: Manifest) -> list[InputPort]:
    """Return the inputs.

    Raises:
        DeployError: of a shape, type or scale for which no code can be written.
    """
    names = unique_identifiers((tensor.name for tensor in manifest.inputs), "input")
    columns = [column for tensor in manifest.inputs for column in tensor.columns]
    found = iter(constants(columns, "column"))
    return [
        _input(i, tensor, names[i], tuple(islice(found, len(tensor.columns))))
        for i, tensor in enumerate(manifest.inputs)
    ]


def output_ports(manifest: Manifest) -> list[OutputPort]:
    """Return the outputs.

    Raises:
        DeployError: of a shape, type or scale for which no code can be written.
    """
    names = unique_identifiers((tensor.name for tensor in manifest.outputs), "output")
    return [_output(i, tensor, names[i], len(manifest.labels)) for i, tensor in enumerate(manifest.outputs)]


def constants(texts: Sequence[str], otherwise: str) -> tuple[Constant, ...]:
    """Return the names of an enum, different from each other; () if there are too many."""
    if len(texts) > MAX_CONSTANTS:
        return ()
    names = unique_identifiers(texts, otherwise)
    return tuple(
        Constant(text, name.upper(), camel_case(name)) for text, name in zip(texts, names, strict=True)
    )


def _picture(tensor: Input) -> Resize | None:
    """Return how a bitmap of any size becomes raw bytes: gray or RGB, by an interpolation with code."""
    resize = tensor.preprocessing.resize
    is_known = resize is not None and len(tensor.shape) == 4 and tensor.shape[-1] in (1, 3)
    return resize if is_known else None


def _input(index: int, tensor: Input, name: str, columns: tuple[Constant, ...]) -> InputPort:
    port = _port(index, tensor, name)
    steps = tensor.preprocessing
    channels = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    for values in (steps.scale, steps.offset):
        if len(values) not in (1, channels):
            msg = f"input {tensor.name!r}: {len(values)} values of scale or offset for {channels} channels"
            raise DeployError(msg)
    index_type = "int64" if tensor.dtype == "int64" else "int32"
    what = f"the preprocessing of input {tensor.name!r}"
    reciprocal = ""
    if tensor.scale is not None:
        with np.errstate(over="ignore", divide="ignore"):
            inverse = np.float32(1) / float32(tensor.scale, what)
        reciprocal = decimal(float32(float(inverse), f"1 / scale of input {tensor.name!r}"))
    image = steps.resize is not None and not steps.indices and not (port.low and tensor.scale is None)
    return InputPort(
        **vars(port),
        channels=channels,
        reciprocal=reciprocal,
        scales=tuple(decimal(float32(value, what)) for value in steps.scale),
        offsets=tuple(decimal(float32(value, what)) for value in steps.offset),
        reverse=steps.reverse_channels and not steps.indices,
        indices=steps.indices,
        image=image,
        picture=_picture(tensor) if image else None,
        columns=columns,
        raw_c_type=C_TYPES[index_type] if steps.indices else "float",
        raw_kotlin_type=KOTLIN_TYPES[index_type] if steps.indices else "Float",
    )


def _output(index: int, tensor: Output, name: str, labels: int) -> OutputPort:
    port = _port(index, tensor, name)
    real = tensor.dtype if tensor.scale is None else "float32"
    classes = 2 if tensor.task == "binary" and port.size == 1 else port.size
    return OutputPort(
        **vars(port),
        channels=tensor.shape[-1] if len(tensor.shape) > 1 else 1,
        real_c_type=C_TYPES[real],
        real_kotlin_type=KOTLIN_TYPES[real],
        task=comment(tensor.task),
        logits=tensor.logits and real == "float32",
        threshold="0.0f" if tensor.logits else "0.5f",
        labelled=labels > 0 and tensor.task in ("classification", "binary") and classes == labels,
    )


def _port(index: int, tensor: Tensor, name: str) -> Port:
    if tensor.dtype not in C_TYPES:
        msg = f"{tensor.name!r} holds {tensor.dtype}, for which no integration code can be written"
        raise DeployError(msg)
    if not all(length > 0 for length in tensor.shape):
        msg = f"{tensor.name!r} has the shape {tensor.shape}, for which no integration code can be written"
        raise DeployError(msg)
    low = high = ""
    if tensor.dtype not in ("float32", "float64", "bool"):
        limits = np.iinfo(tensor.dtype)
        low = decimal(np.float32(limits.min))
        top = np.float32(limits.max)
        high = decimal(top if int(top) <= limits.max else np.nextafter(top, np.float32(0)))
    return Port(
        index=index,
        title=comment(tensor.name),
        name=name,
        macro=name.upper(),
        camel=camel_case(name),
        shape=tensor.shape,
        size=math.prod(tensor.shape[1:]),
        dtype=tensor.dtype,
        c_type=C_TYPES[tensor.dtype],
        kotlin_type=KOTLIN_TYPES[tensor.dtype],
        scale="" if tensor.scale is None else decimal(float32(tensor.scale, f"the scale of {tensor.name!r}")),
        zero_point=tensor.zero_point,
        low=low,
        high=high,
    )
