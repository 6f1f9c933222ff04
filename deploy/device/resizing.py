"""Images of any size brought to the model's, as the training data were.

Part of every release; needs numpy, and Pillow for interpolations other than ``bilinear-no-antialias``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_ANTIALIAS = "bilinear-no-antialias"
_RESAMPLING = {"area": "BOX"}  # Pillow's name, where it is not ours in capitals


def fitted(raw: NDArray[Any], contract: dict[str, Any]) -> NDArray[Any]:
    """Return a raw sample in the shape of the model's input: an image is scaled, as ``manifest.json`` says.

    Raises:
        ValueError: it has another shape and is not an image, or cannot be scaled.
    """
    resize, expected = contract["preprocessing"]["resize"], contract["shape"][1:]
    if list(raw.shape) == expected:
        return raw
    if resize and raw.ndim == 3 and raw.shape[2] == expected[2]:
        return resized(raw, resize)
    batch = "; save a single sample with a batch axis: x[None]" if raw.shape == tuple(expected[1:]) else ""
    msg = f"{contract['name']}: a sample of shape {raw.shape}, the model takes {expected}{batch}"
    raise ValueError(msg)


def resized(image: NDArray[Any], resize: dict[str, Any]) -> NDArray[Any]:
    """Scale an image as ``manifest.json`` says.

    Args:
        image: (height, width, channels); uint8, unless the interpolation is ``bilinear-no-antialias``.
        resize: its ``size`` (height, width) and ``interpolation``.

    Returns:
        The same dtype where it is uint8, else float32.

    Raises:
        ValueError: Pillow is needed and is not installed, or the image is not uint8.
    """
    (height, width), how = resize["size"], resize["interpolation"]
    if how == NO_ANTIALIAS:
        scaled = resize_bilinear(image, (height, width))
        return np.rint(scaled).astype(np.uint8) if image.dtype == np.uint8 else scaled
    if image.dtype != np.uint8:
        msg = f"an image of {image.dtype}: scale it to {height}x{width} first, or give it as uint8"
        raise ValueError(msg)
    try:
        from PIL import Image
    except ImportError as error:
        msg = f"an image that is not {height}x{width}: pip install pillow, or scale it ({how}) first"
        raise ValueError(msg) from error
    method = Image.Resampling[_RESAMPLING.get(how, how.upper())]
    flat = image[..., 0] if image.shape[2] == 1 else image
    scaled = np.asarray(Image.fromarray(flat).resize((width, height), method))
    return scaled.reshape(height, width, image.shape[2])


def resize_bilinear(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Interpolate between the four nearest pixels, as ``tf.image.resize`` does; float32, not rounded."""
    pixels = image.astype(np.float32)
    for axis, length in enumerate(size):
        known = pixels.shape[axis]
        places = (np.arange(length, dtype=np.float32) + 0.5) * np.float32(known / length) - 0.5
        before = np.floor(places)
        share = (places - before).astype(np.float32).reshape([-1 if axis == at else 1 for at in range(3)])
        low = np.take(pixels, np.clip(before, 0, known - 1).astype(np.int64), axis)
        high = np.take(pixels, np.clip(before + 1, 0, known - 1).astype(np.int64), axis)
        pixels = low + (high - low) * share
    return pixels
