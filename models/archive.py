"""Read what a Keras file holds, its configuration and its arrays, without running anything in it.

Formats: the ``.keras`` zip archive of Keras 3 and of tf_keras, also unpacked as a folder (``config.json``,
``metadata.json``, ``model.weights.h5``); the one-file HDF5 of both (``model_config`` in an attribute); the
SavedModel of tf_keras; ``model.to_json()`` with a file of weights. Everything in them is untrusted: every
declared size has a bound, nothing is extracted to disk, and HDF5 links that could lead out of the file are
refused.
"""

from __future__ import annotations

import json
import stat
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

from models.bundle import Bundle, open_bundle
from models.errors import ModelError
from models.saved_model import read_saved_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    import numpy as np
    from numpy.typing import NDArray

MAX_CONFIG_BYTES = 64 << 20
MAX_WEIGHT_BYTES = 2 << 30
MAX_MEMBERS = 1000
MAX_RATIO = 200  # unpacked / packed size of a weight file; below 10 for trained weights
ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ENCRYPTED = 0x1


@dataclass(frozen=True)
class Archive:
    """An open Keras file.

    Attributes:
        config: ``{"class_name": ..., "config": ...}`` of the model, as the file has it.
        keras_version: the version that wrote it, or ``""``.
        weights: the HDF5 group of the arrays, checked for links, or the checkpoint of a SavedModel.
        numbered: whether the arrays are filed under classes and counters; else under the layers' names.
        names: of the objects of a SavedModel, by their numbers.
    """

    config: dict[str, Any]
    keras_version: str
    weights: h5py.Group | Bundle
    numbered: bool = True
    names: dict[int, str] = field(default_factory=dict)

    @property
    def is_keras3(self) -> bool:
        return self.keras_version.startswith("3.")


@contextmanager
def open_archive(path: Path, weights: Path | None = None) -> Iterator[Archive]:
    """Open a Keras model for reading.

    Args:
        path: the file, or a SavedModel's folder.
        weights: the HDF5 file of the arrays, where ``path`` is an architecture in JSON.

    Raises:
        ModelError: it is missing, empty, cut off, of another format, or dangerous.
    """
    if path.is_dir():
        opened = _open_folder(path)
    else:
        magic = _magic(path)
        if magic.startswith(ZIP_MAGIC):
            opened = _open_zip(path)
        elif magic == HDF5_MAGIC:
            opened = _open_hdf5(path)
        elif magic.lstrip().startswith(b"{"):
            opened = _open_json(path, weights)
            weights = None
        else:
            kind = "empty" if not magic else "none of a .keras archive, HDF5, a SavedModel folder and JSON"
            msg = f"{path}: {kind}; save the model with model.save('name.keras')"
            raise ModelError(msg)
    if weights is not None:
        msg = f"{path}: it has weights of its own; leave {weights} out, or give the architecture in JSON"
        raise ModelError(msg)
    with opened as archive:
        _check_version(path, archive.keras_version)
        yield archive


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}; check the path"
        raise ModelError(msg) from error


def _check_version(path: Path, version: str) -> None:
    if version.startswith(("0.", "1.")):
        msg = (
            f"{path}: written by Keras {version[:20]}, whose layers have other settings; "
            "load it with Keras 2.2 and save it again"
        )
        raise ModelError(msg)


@contextmanager
def _open_folder(path: Path) -> Iterator[Archive]:
    if (path / "saved_model.pb").exists():
        config, names = read_saved_model(path)
        yield Archive(config, "", open_bundle(path / "variables"), numbered=False, names=names)
        return
    if not (path / "config.json").exists():
        msg = f"{path}: a folder without a model in it; save the model with model.save('name.keras')"
        raise ModelError(msg)
    config, metadata = (_parse(path, _read_file(path / name)) for name in ("config.json", "metadata.json"))
    if _magic(path / "model.weights.h5") != HDF5_MAGIC:
        msg = f"{path / 'model.weights.h5'}: not HDF5; save the model again"
        raise ModelError(msg)
    with _hdf5(path, path / "model.weights.h5") as weights:
        yield Archive(config, str(metadata.get("keras_version", "")), weights)


@contextmanager
def _open_json(path: Path, weights: Path | None) -> Iterator[Archive]:
    """Open an architecture from ``model.to_json()`` and the weights that ``model.save_weights`` wrote."""
    config = _parse(path, _read_file(path))
    if "class_name" not in config:
        msg = f"{path}: JSON, but not of model.to_json(); save the model with model.save('name.keras')"
        raise ModelError(msg)
    if weights is None:
        msg = f"{path}: an architecture without weights; give the file that model.save_weights wrote as well"
        raise ModelError(msg)
    if _magic(weights) != HDF5_MAGIC:
        msg = f"{weights}: weights are read from HDF5 only; save them with model.save_weights('x.weights.h5')"
        raise ModelError(msg)
    # Keras 3 leaves its version out; tf_keras does not.
    version = str(config.get("keras_version") or ("3." if "module" in config else ""))
    with _hdf5(weights, weights) as file:
        numbered = not ({"model_weights"} & file.keys() or "layer_names" in file.attrs)
        yield Archive(config, version, file.get("model_weights", file), numbered)


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            msg = f"{path}: {path.stat().st_size} bytes of configuration; not a Keras model"
            raise ModelError(msg)
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}; check the path"
        raise ModelError(msg) from error


@contextmanager
def _open_zip(path: Path) -> Iterator[Archive]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            config = _parse(path, _read_member(path, archive, "config.json", MAX_CONFIG_BYTES))
            metadata = _parse(path, _read_member(path, archive, "metadata.json", MAX_CONFIG_BYTES))
            raw = _read_member(path, archive, "model.weights.h5", MAX_WEIGHT_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        msg = f"{path}: damaged archive: {_one_line(error)}; copy or save it again"
        raise ModelError(msg) from error
    with _hdf5(path, BytesIO(raw)) as weights:
        yield Archive(config, str(metadata.get("keras_version", "")), weights)


@contextmanager
def _open_hdf5(path: Path) -> Iterator[Archive]:
    with _hdf5(path, path) as file:
        with hdf5_faults(path):
            config = _attribute(file, "model_config")
        if config is None or "model_weights" not in file:
            msg = (
                f"{path}: holds weights only; give the architecture (model.to_json()) with it, or save the "
                "whole model with model.save('name.keras')"
            )
            raise ModelError(msg)
        version = str(_attribute(file, "keras_version") or "")
        yield Archive(_parse(path, config), version, file["model_weights"], numbered=False)


@contextmanager
def _hdf5(path: Path, source: Path | BytesIO) -> Iterator[h5py.File]:
    import h5py

    try:
        file = h5py.File(source, "r")
    except OSError as error:
        msg = f"{path}: damaged HDF5: {_one_line(error)}; copy or save it again"
        raise ModelError(msg) from error
    with file:
        with hdf5_faults(path):
            _check_links(path, file)
        yield file


@contextmanager
def hdf5_faults(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a ModelError."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, MemoryError) as error:
        msg = f"{path}: damaged HDF5: {_one_line(error)}; copy or save it again"
        raise ModelError(msg) from error


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        msg = f"{path}: {len(members)} members, at most {MAX_MEMBERS} are read; not a Keras archive"
        raise ModelError(msg)
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
            fault = "leads out of the archive"
        elif stat.S_ISLNK(member.external_attr >> 16):
            fault = "is a symbolic link"
        elif member.flag_bits & ENCRYPTED:
            fault = "is encrypted"
        elif name.casefold() in seen:
            fault = "is there twice"
        else:
            seen.add(name.casefold())
            continue
        msg = f"{path}: member {name!r} {fault}; save the model again from a trusted source"
        raise ModelError(msg)


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        member = archive.getinfo(name)
    except KeyError:
        hint = "sharded weights are not read: save without max_shard_size"
        if "model.weights.json" not in archive.namelist():
            hint = "not a Keras model; save it with model.save('name.keras')"
        msg = f"{path}: no {name} inside; {hint}"
        raise ModelError(msg) from None
    if member.file_size > limit or member.file_size > MAX_RATIO * max(member.compress_size, 4096):
        msg = (
            f"{path}: {name} unpacks from {member.compress_size} to {member.file_size} bytes; "
            "refused as a decompression bomb"
        )
        raise ModelError(msg)
    with archive.open(member) as file:
        return file.read(limit)


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: damaged configuration: {_one_line(error)}; save the model again"
        raise ModelError(msg) from error
    if not isinstance(value, dict):
        msg = f"{path}: the configuration is not an object; save the model again"
        raise ModelError(msg)
    return value


def _attribute(group: h5py.Group, name: str) -> str | None:
    if name not in group.attrs:
        return None
    value = group.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _check_links(path: Path, file: h5py.File) -> None:
    """Refuse links out of the file or to elsewhere in it, and arrays that are stored outside it."""
    import h5py

    total = 0
    queue: list[tuple[str, Any]] = [("", file)]
    seen: set[Any] = set()
    while queue:
        where, group = queue.pop()
        for name in group:
            label = f"{where}/{name}"
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                msg = f"{path}: {label!r} is a link; save the model again from a trusted source"
                raise ModelError(msg)
            item = group[name]
            if item.id in seen:
                msg = f"{path}: {label!r} is there twice; save the model again from a trusted source"
                raise ModelError(msg)
            seen.add(item.id)
            if isinstance(item, h5py.Group):
                queue.append((label, item))
            elif isinstance(item, h5py.Dataset):
                total += _check_dataset(path, label, item)
    if total > MAX_WEIGHT_BYTES:
        msg = f"{path}: {total} bytes of weights, at most {MAX_WEIGHT_BYTES} are read; use a smaller model"
        raise ModelError(msg)


def _check_dataset(path: Path, label: str, dataset: h5py.Dataset) -> int:
    """Return the bytes that ``dataset`` fills in memory."""
    if dataset.is_virtual or dataset.external:
        msg = f"{path}: {label!r} is stored outside the file; save the model again from a trusted source"
        raise ModelError(msg)
    size = int(dataset.size or 0) * int(dataset.dtype.itemsize)
    if size > MAX_RATIO * max(dataset.id.get_storage_size(), 4096):
        msg = f"{path}: {label!r} claims the shape {dataset.shape}, more than the file holds; refused"
        raise ModelError(msg)
    return size


def read_array(dataset: h5py.Dataset) -> NDArray[np.generic]:
    """Read one numeric array as it is stored; bfloat16 becomes float32.

    Raises:
        ModelError: it holds no numbers, or NaN or infinity.
    """
    import numpy as np

    if "bfloat16" in str(dataset.attrs.get("dtype", "")):
        bits = np.frombuffer(dataset[()].tobytes(), np.uint16).astype(np.uint32) << 16
        array: NDArray[np.generic] = bits.view(np.float32).reshape(dataset.shape)
    elif dataset.dtype.kind in "fiub":
        array = np.asarray(dataset[()])
    else:
        msg = f"{dataset.name!r} holds {dataset.dtype}, not numbers; save the model again"
        raise ModelError(msg)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        msg = f"{dataset.name!r} holds NaN or infinity; train the model again from its last good checkpoint"
        raise ModelError(msg)
    return array


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
