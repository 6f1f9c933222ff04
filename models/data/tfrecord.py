"""Data from TFRecord files: which feature is what, and how it becomes an array."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from models.data.images import decode_all, image_decoder, mask_decoder
from models.data.options import Feature, Parts
from models.data.records import read_examples
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from models.data.images import Decoder
    from models.data.options import Array, Batch, DataOptions
    from models.data.records import Example, Value
    from models.ports import Port

    Spec = Mapping[str, Feature]
    Located = tuple[str, Example]

WORDS = (".tfrecord", ".tfrecords", ".tfrec")
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
_LABEL_NAMES = ("label", "image/class/label", "class", "target", "y")
_BATCH_BYTES = 4 << 20
_MAX_BATCH = 1024


def record_files(folder: Path) -> list[Path]:
    """Return the TFRecord files of a folder, shards too, in order."""
    return sorted(path for path in folder.iterdir() if is_record_file(path))


def is_record_file(path: Path) -> bool:
    """Return whether a name is that of a TFRecord file, a shard or a packed one."""
    return any(word in path.name.lower() for word in WORDS) and path.is_file()


def read_tfrecord(path: Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions) -> Parts:
    """Read a file, or a folder: files named ``train*``, ``test*`` and ``val*`` for these parts.

    Raises:
        DataError: what the features are cannot be told; while it is read: a file is damaged or has not the
            features.
    """
    files = split_files(path)
    first = next(read_examples(files[0]), None)
    if first is None:
        msg = f"{files[0][0]}: no records; give at least one"
        raise DataError(msg)
    notes = []
    spec = {name: feature for name, feature in options.features.items() if feature.role}
    if not spec:
        spec = _infer_spec(first, inputs, outputs)
        said = ", ".join(f"{name!r} is the {feature.role} ({feature.kind})" for name, feature in spec.items())
        notes.append(f"inferred from the first record: {said}")
    order = _in_order(spec, inputs, outputs, str(path))
    decoders = _decoders(spec, order, inputs, outputs, options.interpolation, first)
    return Parts.in_order(
        [_batches(part, spec, order, decoders, len(inputs)) for part in files],
        notes=notes,
        late_notes=lambda: [note for decoder in decoders.values() for note in decoder.note()],
    )


def split_files(path: Path) -> list[list[Path]]:
    """Return the files to train on, those to test on and those to choose models on, as far as there are any.

    Raises:
        DataError: a shard is missing, or a folder has none to train on.
    """
    if not path.is_dir():
        return [_shards(path)]
    files = record_files(path)
    train = [file for file in files if _says(file, "train")]
    if not train:
        return [files]
    others = ([file for file in files if _says(file, word) and file not in train] for word in ("test", "val"))
    return [train, *filter(None, others)]


def _says(file: Path, word: str) -> bool:
    """Return whether a part of the name begins with the word: not the ``test`` of ``latest``."""
    return re.search(rf"(?<![a-z]){word}", file.name.lower()) is not None


def _shards(path: Path) -> list[Path]:
    """Return the shards that belong to one of them: ``name-00000-of-00010``."""
    stem, _, count = path.name.rpartition("-of-")
    total, _, suffix = count.partition(".")
    if not stem or not total.isdigit() or not stem[-5:].isdigit():
        return [path]
    end = f".{suffix}" if suffix else ""
    found = sorted(path.parent.glob(f"{stem[:-5]}?????-of-{total}{end}"))
    if len(found) != int(total):
        msg = f"{path}: {len(found)} of {int(total)} shards are there; add the others"
        raise DataError(msg)
    return found


def _infer_spec(first: Located, inputs: Sequence[Port], outputs: Sequence[Port]) -> dict[str, Feature]:
    where, example = first
    target = [name for name in _LABEL_NAMES if _is_number(example.get(name))]
    target = target or [name for name, value in example.items() if _is_number(value)]
    found = {}
    for name, value in example.items():
        feature = _as_input(value, inputs[0]) if len(inputs) == 1 else None
        if feature is not None and name not in target[:1]:
            found[name] = feature
    rebuilds = bool(outputs) and outputs[0].shape == inputs[0].shape
    named = [name for name in target if name in _LABEL_NAMES][:1]
    if len(found) == 1 and (named or len(target) == 1):
        found |= {name: Feature("int64", role="target") for name in named or target}
    elif len(found) != 1 or not rebuilds:
        there = ", ".join(f"{name!r} ({_kind(value)})" for name, value in sorted(example.items())[:20])
        msg = f"{where}: the features are {there}; say in features which are the input and the target"
        raise DataError(msg)
    return found


def _is_number(value: Value | None) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "i" and len(value) == 1


def _kind(value: Value) -> str:
    if isinstance(value, np.ndarray):
        return f"{len(value)} {value.dtype}"
    return f"{sum(map(len, value))} bytes"


def _as_input(value: Value, port: Port) -> Feature | None:
    """Return what a value is, if it can be the input."""
    size = math.prod(length or 0 for length in port.shape)
    shape = tuple(length or 0 for length in port.shape)
    if isinstance(value, np.ndarray):
        if len(value) == size > 1 or (len(port.shape) == 1 and port.shape[0] is None and len(value) > 1):
            return Feature(
                "float32" if value.dtype.kind == "f" else "int64", shape or (len(value),), role="input"
            )
        return None
    if len(value) == 1 and value[0].startswith(_IMAGE_STARTS) and len(port.shape) == 3:
        return Feature("image", role="input")
    if len(value) == 1 and len(value[0]) == size:
        return Feature("bytes", shape, role="input")
    return None


def _in_order(spec: Spec, inputs: Sequence[Port], outputs: Sequence[Port], where: str) -> list[str]:
    """Return the features of the inputs and of the outputs, in the model's order."""
    order = []
    for ports, word in ((inputs, "input"), (outputs, "target")):
        names = [_of_role(spec, port.name, word if len(ports) == 1 else port.name) for port in ports]
        lacking = [port.name for port, name in zip(ports, names, strict=True) if name is None]
        if lacking and (word == "input" or len(lacking) < len(ports)):
            role = word if len(ports) == 1 else lacking[0]
            msg = f"{where}: no feature has the role {role!r}; name it in features"
            raise DataError(msg)
        order += [name for name in names if name is not None]
    used = set(order)
    idle = next((name for name in spec if name not in used), None)
    if idle is not None:
        roles = ["input", "target", *(port.name for port in (*inputs, *outputs))]
        msg = f"{where}: feature {idle!r} has the role {spec[idle].role!r}, already taken or none of {roles}"
        raise DataError(msg)
    return order


def _of_role(spec: Spec, port: str, role: str) -> str | None:
    return next((name for name, feature in spec.items() if feature.role in (port, role)), None)


def _decoders(
    spec: Spec,
    order: list[str],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    interpolation: str,
    first: Located,
) -> dict[str, Decoder]:
    """Return a decoder for each feature that is an image."""
    where, example = first
    found = {}
    for name, port in zip(order, [*inputs, *outputs], strict=False):
        if spec[name].kind == "image":
            is_input = port in inputs
            decoder = image_decoder(port, interpolation, where) if is_input else mask_decoder(port, where)
            found[name] = decoder.fixed(_content(name, example, where), where)
    return found


def _batches(
    files: list[Path], spec: Spec, order: list[str], decoders: dict[str, Decoder], inputs: int
) -> Iterator[Batch]:
    """Decode images in threads, a batch of examples ahead; the rest as they are read."""
    images = [name for name in order if name in decoders]
    others = [name for name in order if name not in decoders]
    rest: list[list[Array]] = []

    def encoded() -> Iterator[tuple[tuple[str, bytes], ...]]:
        for where, example in read_examples(files):
            rest.append([_array(name, spec[name], example, where) for name in others])
            yield tuple((f"{where}, {name!r}", _content(name, example, where)) for name in images)

    if images:
        stacks = decode_all(encoded(), tuple(decoders[name] for name in images))
    else:
        stacks = (() for _ in encoded())
    for stack in stacks:
        count = len(stack[0]) if stack else len(rest)
        if not stack and len(rest) < _rows_per_batch(rest[0]):
            continue
        columns = dict(zip(images, stack, strict=True)) | _stacked(others, rest[:count])
        del rest[:count]
        yield _ordered(columns, order, inputs)
    if rest:
        yield _ordered(_stacked(others, rest), order, inputs)


def _rows_per_batch(row: list[Array]) -> int:
    return max(1, min(_MAX_BATCH, _BATCH_BYTES // max(1, sum(array.nbytes for array in row))))


def _stacked(names: list[str], rows: list[list[Array]]) -> dict[str, Array]:
    return {name: np.stack([row[index] for row in rows]) for index, name in enumerate(names)}


def _ordered(columns: dict[str, Array], order: list[str], inputs: int) -> Batch:
    arrays = tuple(columns[name] for name in order)
    return arrays[:inputs], arrays[inputs:]


def _value(name: str, example: Example, where: str) -> Value:
    if name not in example:
        msg = f"{where}: no feature {name!r}; there are {', '.join(sorted(example)[:20])}"
        raise DataError(msg)
    return example[name]


def _content(name: str, example: Example, where: str) -> bytes:
    value = _value(name, example, where)
    if isinstance(value, np.ndarray) or len(value) != 1:
        msg = f"{where}: feature {name!r} is not one value of bytes; correct features"
        raise DataError(msg)
    return value[0]


def _array(name: str, feature: Feature, example: Example, where: str) -> Array:
    """Return one sample's value of a feature that is not an image."""
    if feature.kind == "bytes":
        content = _content(name, example, where)
        if not feature.shape and feature.role:  # a word
            return np.array(content.decode("utf-8", "replace"))
        return _from_bytes(name, feature, content, where)
    value = _value(name, example, where)
    if not isinstance(value, np.ndarray) or len(value) != math.prod(feature.shape):
        msg = f"{where}: feature {name!r} has {_kind(value)}, not {feature.shape} of {feature.kind}"
        raise DataError(msg)
    return value.astype(feature.kind).reshape(feature.shape)


def _from_bytes(name: str, feature: Feature, content: bytes, where: str) -> Array:
    try:
        dtype = np.dtype(feature.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        msg = f"feature {name!r}: dtype {feature.dtype!r} is not numeric; give one such as uint8 or float32"
        raise DataError(msg)
    if len(content) != dtype.itemsize * math.prod(feature.shape):
        msg = f"{where}: feature {name!r} has {len(content)} bytes, not {feature.shape} of {dtype}"
        raise DataError(msg)
    return np.frombuffer(content, dtype).reshape(feature.shape)
