"""Data from folders of images, one folder a class, with or without ``train`` and ``test`` above them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MAX_BYTES = 4 << 30
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_DEEP_MODES = ("I", "F")  # 16 and 32 bits a channel: a conversion to 8 would clip without a word
_TEST = ("test", "val", "valid", "validation")


def read_folder(
    root: Path, input_shape: tuple[int | None, ...] | None
) -> tuple[Samples, Samples | None, tuple[str, ...]]:
    """Read class folders of images, each scaled to the model's input.

    Args:
        root: holds one folder a class, or ``train`` and perhaps ``test`` (or ``val``) with those inside.
        input_shape: ``(height, width, channels)``.

    Returns:
        uint8 ``(n, height, width, channels)`` images in the order of their paths, with int64 labels, to train
        on; the same to test on, or None; the folders' names in order.

    Raises:
        DataError: there are no images, or one cannot be decoded.
    """
    size = _image_size(root, input_shape)
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    train = folders.get("train", root)
    test = next((folders[name] for name in _TEST if name in folders and "train" in folders), None)
    names = tuple(folder.name for folder in _subfolders(train))
    if not names:
        msg = f"{train}: no class folders; put the images of each class in a folder named after it"
        raise DataError(msg)
    if test is not None and not {folder.name for folder in _subfolders(test)} <= set(names):
        extra = sorted({folder.name for folder in _subfolders(test)} - set(names))
        msg = f"{test}: classes {extra} are not among those to train on; add or remove their folders"
        raise DataError(msg)
    held_out = None if test is None else _read_classes(test, names, size)
    return _read_classes(train, names, size), held_out, names


def image_files(root: Path) -> list[Path]:
    """Return every image below ``root``, in order."""
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read_classes(root: Path, names: tuple[str, ...], size: tuple[int, int, int]) -> Samples:
    files = [(path, label) for label, name in enumerate(names) for path in image_files(root / name)]
    if not files:
        msg = f"{root}: no images; supported are {', '.join(sorted(SUFFIXES))}"
        raise DataError(msg)
    if len(files) * int(np.prod(size)) > MAX_BYTES:
        msg = (
            f"{root}: {len(files)} images of {size} do not fit in memory; use fewer or a smaller model input"
        )
        raise DataError(msg)
    images = np.empty((len(files), *size), np.uint8)
    for index, (path, _) in enumerate(files):
        images[index] = read_image(path, size)
    return images, np.array([label for _, label in files], np.int64)


def read_image(path: Path, size: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode one image and scale it (bilinear) to uint8 ``(height, width, channels)``.

    Raises:
        DataError: it cannot be decoded, or has more pixels than Pillow's limit against bombs.
    """
    from PIL import Image

    height, width, channels = size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.mode.startswith(_DEEP_MODES):
                    msg = f"{path}: more than 8 bits a channel; convert it to 8 bits"
                    raise DataError(msg)
                decoded = image.convert(_MODES[channels])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; scale it down"
        raise DataError(msg) from error
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{path}: cannot be decoded: {' '.join(str(error).split())[:200]}; replace or remove it"
        raise DataError(msg) from error
    scaled = decoded.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.uint8).reshape(size)


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _image_size(root: Path, input_shape: tuple[int | None, ...] | None) -> tuple[int, int, int]:
    if input_shape is None or len(input_shape) != 3 or input_shape[-1] not in _MODES:
        msg = f"{root}: images need a model whose input is (height, width, 1, 3 or 4), not {input_shape}"
        raise DataError(msg)
    height, width, channels = input_shape
    if height is None or width is None or channels is None:
        msg = f"{root}: the model's input {input_shape} has no fixed size; export it with one"
        raise DataError(msg)
    return height, width, channels
