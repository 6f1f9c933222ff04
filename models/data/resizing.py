"""Images scaled as ``tf.image.resize`` does it without antialias, and OpenCV: from the four nearest pixels.

Pillow averages over all pixels that one of the result covers. A model trained behind ``tf.image.resize`` or
``image_dataset_from_directory`` has never seen such images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_ANTIALIAS = "bilinear-no-antialias"


def resize_bilinear(image: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate an image between the four pixels that are nearest, with pixel centres at halves.

    Args:
        image: (height, width, channels), numbers.
        size: height and width of the result.

    Returns:
        float32 (height, width, channels), not rounded.
    """
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
