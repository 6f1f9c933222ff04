"""Raw samples out of files: arrays in ``.npy``, rows in ``.csv`` or ``.json``, photos with Pillow.

Part of every release; needs numpy.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from deploy.device import raw, resizing, rows
else:
    import raw
    import resizing
    import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ARRAY = b"\x93NUMPY"
PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MAX_PIXELS = 1 << 26
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

    Args:
        names: as ``expanded`` returns them. Tables are ``.csv`` or ``.json`` files, as ``rows.read``
            takes them, or a JSON object itself.

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
    if len(names) == 1 and names[0].startswith("{"):
        return rows.parse_json(names[0], contract, "row")
    if len(names) == 1 and names[0].endswith(rows.SUFFIXES) and rows.are_taken(contract):
        return rows.read(names[0], contract)
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


def _is_photo(name: str) -> bool:
    return Path(name).suffix.lower() in PHOTOS


def _photo(name: str, port: dict[str, Any]) -> NDArray[Any]:
    with Path(name).open("rb") as stream:
        return picture(stream, name, port)


def picture(stream: IO[bytes], name: str, port: dict[str, Any], most: int = MAX_PIXELS) -> NDArray[Any]:
    """Decode and resize a picture as the training data were: uint8 (height, width, channels).

    Args:
        stream: the encoded picture.
        name: for messages.
        port: the input that takes it.
        most: pixels that it may have.

    Raises:
        ValueError: the input takes no pictures, Pillow is not installed, or the picture cannot be decoded.
    """
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
    try:
        with Image.open(stream) as photo:
            if photo.width * photo.height > most:
                msg = f"{photo.width}x{photo.height} pixels, more than {most} are not decoded"
                raise ValueError(msg)
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
