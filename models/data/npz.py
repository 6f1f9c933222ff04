"""Data from an ``.npz`` file: the arrays' usual names, and bounds on what a file may claim."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pair = tuple[Array, Array]

npy: Any = np.lib.format  # it has no types

MAX_BYTES = 4 << 30
MAX_RATIO = 1000  # of an array's bytes to its compressed bytes, beyond 16 MiB
_SMALL_BYTES = 16 << 20
_DAMAGE = (ValueError, EOFError, OSError, NotImplementedError, MemoryError)

_INPUTS = ("x", "images", "data", "features", "inputs", "samples")
_LABELS = ("y", "labels", "targets", "classes", "label", "target")
_TEST = ("test", "val", "valid", "validation")


def read_npz(path: Path) -> dict[str, Array]:
    """Read every array of an ``.npz`` file.

    Raises:
        DataError: it is damaged, holds Python objects, or claims more than it may.
    """
    arrays: dict[str, Array] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                name = member.filename.removesuffix(".npy")
                total += member.file_size
                bomb = member.file_size > max(_SMALL_BYTES, MAX_RATIO * member.compress_size)
                if bomb or total > MAX_BYTES:
                    msg = f"{path}: array {name!r} unpacks to {member.file_size} bytes; refused as too large"
                    raise DataError(msg)
                with archive.open(member) as file:
                    _check_header(file, member.file_size, f"{path}: array {name!r}")
                with archive.open(member) as file:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        msg = f"{path}: damaged .npz: {' '.join(str(error).split())[:200]}; save it again with numpy.savez"
        raise DataError(msg) from error
    return arrays


def _check_header(file: IO[bytes], size: int, where: str) -> None:
    """Refuse Python objects, and shapes that the ``size`` bytes of the file cannot fill."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        msg = f"{where} holds Python objects, which are never unpickled; save numbers"
        raise DataError(msg)
    if dtype.itemsize * math.prod(shape) > size:
        msg = f"{where} claims the shape {shape}, more than it holds; save it again"
        raise DataError(msg)


def pick_arrays(arrays: Mapping[str, Any], where: str) -> tuple[Pair, Pair | None, tuple[str, ...] | None]:
    """Find inputs and labels by their names: ``x_train``, ``train_images``, ``X`` and the like.

    Returns:
        Inputs and labels to train on; those to test on, or None; the classes' names, or None.

    Raises:
        DataError: the names found, and those that are understood.
    """
    by_name = {name.lower(): np.asarray(array) for name, array in arrays.items()}
    train = _pair(by_name, ("train",)) or _pair(by_name, ("",))
    if train is None:
        msg = (
            f"{where}: arrays {sorted(arrays)}; "
            "name them x_train, y_train, x_test, y_test, or x and y to have them split"
        )
        raise DataError(msg)
    names = next((by_name[key] for key in ("class_names", "label_names") if key in by_name), None)
    return train, _pair(by_name, _TEST), None if names is None else tuple(map(str, names))


def _pair(arrays: Mapping[str, Array], parts: tuple[str, ...]) -> Pair | None:
    for part in parts:
        inputs, labels = (_find(arrays, names, part) for names in (_INPUTS, _LABELS))
        if inputs is not None and labels is not None:
            return inputs, labels
    return None


def _find(arrays: Mapping[str, Array], names: tuple[str, ...], part: str) -> Array | None:
    for name in names:
        for spelling in (f"{name}_{part}", f"{part}_{name}", f"{part}{name}") if part else (name,):
            if spelling in arrays:
                return arrays[spelling]
    return None
