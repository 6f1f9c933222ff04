"""Raw samples out of files: arrays in ``.npy``, rows of ``.csv``, and photos where Pillow is installed.

Part of every release; needs numpy.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from deploy.device import raw, resizing
else:
    import raw
    import resizing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ARRAY = b"\x93NUMPY"
PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def expanded(names: Sequence[str]) -> list[str]:
    """Return the names of files, with the photos of each folder in its place, sorted.

    Raises:
        ValueError: a folder has no photos.
    """
    found = []
    for name in names:
        if not Path(name).is_dir():
            found.append(name)
            continue
        photos = sorted(str(path) for path in Path(name).iterdir() if _is_photo(path.name))
        if not photos:
            msg = f"{name}: no photos in this folder ({' '.join(PHOTOS)})"
            raise ValueError(msg)
        found += photos
    return found


def titles(names: Sequence[str], count: int) -> list[str]:
    """Return what each sample is called: the name of its photo, or its number."""
    return [Path(name).name for name in names] if all(map(_is_photo, names)) else list(map(str, range(count)))


def read(names: Sequence[str], contract: dict[str, Any]) -> list[NDArray[Any]]:
    """Open the raw samples of each input: a ``.npy`` for each, or photos or a table of the only one.

    A table is a ``.csv`` file with a sample in each row; its first row may have the names of the columns.

    Args:
        names: as ``expanded`` returns them.

    Returns:
        For each input an array (n, ...), of numbers.

    Raises:
        OSError: one cannot be read.
        ValueError: one is neither an array of numbers nor a photo, or is quantized, or they are not one for
            each input, of the same length.
    """
    ports = contract["inputs"]
    if names and len(ports) == 1 and all(_is_photo(name) for name in names):
        return [np.stack([_photo(name, ports[0]) for name in names])]
    if len(names) == 1 and len(ports) == 1 and len(ports[0]["shape"]) == 2 and names[0].endswith(".csv"):
        return [_table(names[0], ports[0])]
    files = [_array(name, contract) for name in names]
    if len(files) != len(ports) or len({len(file) for file in files}) != 1:
        msg = f"give {_shown(contract)}, of equally many samples"
        raise ValueError(msg)
    for file, port in zip(files, ports):
        raw.check(file, port)
    return files


def _array(name: str, contract: dict[str, Any]) -> NDArray[Any]:
    with Path(name).open("rb") as stream:
        begin = stream.read(len(ARRAY))
    if begin != ARRAY:
        msg = (
            f"{name}: not a .npy file; give {_shown(contract)}, with raw samples of shape {_shapes(contract)}"
        )
        raise ValueError(msg)
    try:
        array: NDArray[Any] = np.load(name, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of objects, cut, or with a damaged header, which is Python
        msg = f"{name}: not an array of numbers, or damaged; save it again with numpy.save"
        raise ValueError(msg) from error
    if array.dtype.kind not in "biuf" or not array.ndim:
        msg = f"{name}: {array.dtype} {array.shape}, the model takes numbers of shape {_shapes(contract)}"
        raise ValueError(msg)
    return array


def _table(name: str, port: dict[str, Any]) -> NDArray[Any]:
    """Read the rows of a table as float32, or int64 for indices: (n, columns)."""
    with Path(name).open(newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if row]
    numbers = int if port["preprocessing"].get("indices") else float
    found, columns = [], port["shape"][1]
    for line, row in enumerate(rows, 1):
        try:
            found.append([numbers(cell) for cell in row])
        except ValueError as error:
            if line == 1:
                continue  # the names of the columns
            msg = f"{name}: row {line} has {row!r:.60}; write every value as a number"
            raise ValueError(msg) from error
        if len(row) != columns:
            msg = f"{name}: row {line} has {len(row)} values, the model takes {columns}"
            raise ValueError(msg)
    if not found:
        msg = f"{name}: no rows of numbers"
        raise ValueError(msg)
    return np.array(found, np.int64 if numbers is int else np.float32)


def _is_photo(name: str) -> bool:
    return Path(name).suffix.lower() in PHOTOS


def _photo(name: str, port: dict[str, Any]) -> NDArray[Any]:
    """Decode and resize a photo as the training data were: uint8 (height, width, channels)."""
    resize, shape = port["preprocessing"]["resize"], port["shape"][1:]
    if resize is None or shape[-1] not in MODES:
        msg = f"{name}: the model's input {port['name']!r} is not an image; give a .npy with shape {shape}"
        raise ValueError(msg)
    try:
        from PIL import Image
    except ImportError as error:
        msg = (
            f"{name}: Pillow is needed for photos: pip install pillow; or give a .npy of shape (n, *{shape})"
        )
        raise ValueError(msg) from error
    with Path(name).open("rb") as stream:
        try:
            with Image.open(stream) as photo:
                if photo.mode.startswith(("I", "F")):
                    msg = "more than 8 bits a channel"
                    raise ValueError(msg)
                decoded = photo.convert(MODES[shape[-1]])
        except Exception as error:  # Pillow's decoders raise almost any kind
            msg = f"{name}: cannot be decoded: {' '.join(str(error).split())[:200]}"
            raise ValueError(msg) from error
    pixels = np.asarray(decoded).reshape(decoded.height, decoded.width, shape[-1])
    is_scaled = list(pixels.shape[:2]) != list(resize["size"])
    return resizing.resized(pixels, resize) if is_scaled else pixels


def _shown(contract: dict[str, Any]) -> str:
    return " ".join(f"{port['name']}.npy" for port in contract["inputs"])


def _shapes(contract: dict[str, Any]) -> str:
    return " and ".join(str(("n", *port["shape"][1:])).replace("'", "") for port in contract["inputs"])
