"""Samples as people see them: small pictures of images, lines of series."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.samples import Samples
    from pipeline.tasks.comparison import Comparison

MAX_PIXELS = 64
"""Of the longer side of a picture."""
MIN_PIXELS, MAX_RATIO = 8, 4
"""What is smaller or longer is a series."""
MAX_LINES, MAX_POINTS = 4, 80
"""Of a series: the first so many channels, thinned out to so many values."""


def with_pictures(found: Comparison, samples: Samples) -> Comparison:
    """Return a comparison whose flipped samples have their first input, raw, to look at."""
    if not found.flipped:
        return found
    values = samples.take(np.array([each.sample for each in found.flipped])).raw(0)
    drawn = []
    for each, value in zip(found.flipped, values, strict=True):
        if is_image(value.shape):
            drawn.append(replace(each, picture=picture(value)))
        else:
            drawn.append(replace(each, series=series(value)))
    return replace(found, flipped=tuple(drawn))


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether a sample is an image (height, width), or one with 1 or 3 channels."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        return False
    return min(shape[:2]) >= MIN_PIXELS and max(shape[:2]) <= MAX_RATIO * min(shape[:2])


def picture(image: NDArray[Any]) -> str:
    """Return an image as a PNG in base64; its values run from 0 to 1, to 255, or from least to most."""
    from PIL import Image

    values = image.astype(np.float32).reshape(*image.shape[:2], -1)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 and image.dtype.kind == "f" else 255.0
    pixels = np.rint((values - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    made = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    made.thumbnail((MAX_PIXELS, MAX_PIXELS))
    file = io.BytesIO()
    made.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def series(value: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    """Return the channels of a series (time, ...), or the numbers of a table's row, as lines."""
    lines = value.reshape(len(value), -1)[:, :MAX_LINES].T.astype(np.float64)
    step = -(-lines.shape[1] // MAX_POINTS)
    return tuple(tuple(float(f"{number:.5g}") for number in line[::step]) for line in lines)
