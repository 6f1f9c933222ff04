"""The 15 corruptions of ImageNet-C and its 4 additional ones, for images of any size and number of channels.

Each is a function of a batch in 0..1, float32 (n, height, width, channels), of one severity's constants, of
the scale of lengths, and of the generator of what is random. What comes out may leave 0..1; the caller clips
it. Three are drawn otherwise than in the paper: frost is a texture and no photograph, drops of water are
shaded by their depth, and glass takes each pixel from a place nearby where the paper swaps two.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.corruptions import filters
from pipeline.corruptions.severities import (
    LARGE,
    LARGE_IMAGES,
    SIDE_OF_LARGE,
    SIDE_OF_SMALL,
    SMALL_IMAGES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pipeline.corruptions.filters import Images

    Corruption = Callable[[Images, tuple[float, ...], float, np.random.Generator], Images]

FROST_COLOUR = (0.75, 0.85, 0.95)
WATER_COLOUR = (175 / 255, 238 / 255, 238 / 255)
MUD_COLOUR = (63 / 255, 42 / 255, 20 / 255)
MIN_SIDE = 4
"""Smaller images cannot be blurred."""


def corrupt_images(
    images: NDArray[Any], name: str, severity: int, limits: tuple[float, float], rng: np.random.Generator
) -> NDArray[Any]:
    """Corrupt a batch.

    Args:
        images: (n, height, width, channels) of any dtype.
        name: a key of ``IMAGES``.
        severity: 1 to 5.
        limits: the values of black and white.
        rng: random generator; the same for every severity, so that only the strength differs.

    Returns:
        Images of the same shape and dtype, within ``limits``.
    """
    low, high = limits
    side = min(images.shape[1:3])
    large = side >= LARGE
    levels = (LARGE_IMAGES if large else SMALL_IMAGES)[name]
    # A filter below one pixel has no effect.
    lengths = side / SIDE_OF_LARGE if large else max(side / SIDE_OF_SMALL, 1)
    unit = ((images.astype(np.float32) - low) / (high - low)).astype(np.float32)
    found = np.clip(IMAGES[name](unit, levels[severity - 1], lengths, rng), 0, 1) * (high - low) + low
    if images.dtype.kind in "iu":
        found = np.rint(found)
    return found.astype(images.dtype)


def gaussian_noise(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Add normal noise."""
    return images + rng.standard_normal(images.shape, np.float32) * np.float32(level[0])


def shot_noise(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Count photons: fewer are noisier."""
    return (rng.poisson(images * level[0]) / level[0]).astype(np.float32)


def impulse_noise(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Set a share of the values to black or white."""
    drawn = rng.random(images.shape, np.float32)
    white = rng.random(images.shape, np.float32) < 0.5
    return np.where(drawn < level[0], white.astype(np.float32), images)


def speckle_noise(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Add normal noise in proportion to the value."""
    return images + images * rng.standard_normal(images.shape, np.float32) * np.float32(level[0])


def gaussian_blur(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Filter with a Gaussian."""
    return filters.blurred(images, level[0] * lengths)


def glass_blur(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Take each pixel from a random place nearby, between two Gaussian filters."""
    sigma, most, times = level[0] * lengths, max(level[1] * lengths, 1), int(level[2])
    found = filters.blurred(images, sigma)
    for _ in range(times):
        dy, dx = (np.rint(rng.uniform(-most, most, images.shape[:3])).astype(np.int32) for _ in "yx")
        found = filters.moved(found, dy, dx)
    return filters.blurred(found, sigma)


def defocus_blur(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Spread each point over a disk, like a lens that is out of focus."""
    from scipy.ndimage import gaussian_filter

    radius = level[0] * lengths
    reach = int(np.ceil(radius)) + 2
    places = np.arange(-reach, reach + 1)
    disk = np.clip(radius + 0.5 - np.hypot(places[:, None], places), 0, 1).astype(np.float32)
    kernel = gaussian_filter(disk, level[1])
    return filters.convolved(images, (kernel / kernel.sum())[None])


def motion_blur(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Move each image along a line of its own, within 45 degrees of horizontal."""
    angles = np.radians(rng.uniform(-45, 45, len(images)))
    return filters.convolved(images, filters.line_kernels(angles, level[0] * lengths, level[1] * lengths))


def zoom_blur(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Average over magnifications, like a zooming lens."""
    factors = 1 + np.arange(0, level[0] - 1e-9, level[1])
    total = images + sum(filters.zoomed(images, float(factor)) for factor in factors)
    return np.asarray(total / (len(factors) + 1), np.float32)


def snow(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Add falling snowflakes to a whitened image."""
    mean, spread, zoom, threshold, length, sigma, kept = level
    flakes = rng.standard_normal((*images.shape[:3], 1), np.float32) * np.float32(spread) + np.float32(mean)
    flakes = filters.zoomed(flakes, zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1).astype(np.float32)
    angles = np.radians(rng.uniform(45, 135, len(images)))
    falling = filters.convolved(flakes, filters.line_kernels(angles, length * lengths, sigma * lengths))
    grey = images.mean(axis=3, keepdims=True)
    whitened = kept * images + (1 - kept) * np.maximum(images, grey * 1.5 + 0.5)
    return np.asarray(whitened + falling + falling[:, ::-1, ::-1], np.float32)


def frost(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Cover with bright veins that run through a rough surface."""
    plasma = filters.fractals(images.shape[:3], 1.3, rng)
    veins = (1 - np.abs(2 * filters.fractals(images.shape[:3], 1.4, rng) - 1)) ** 4
    ice = np.clip(0.35 * plasma + 0.75 * veins, 0, 1)[..., None]
    return np.asarray(level[0] * images + level[1] * ice * _colour(FROST_COLOUR, images), np.float32)


def fog(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Add clouds of plasma and take the brightest value back to what it was."""
    plasma = filters.fractals(images.shape[:3], level[1], rng)[..., None]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    return np.asarray((images + level[0] * plasma) * brightest / (brightest + level[0]), np.float32)


def spatter(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Splash water, or at the upper severities mud, onto the lens."""
    mean, spread, sigma, threshold, strength, is_mud = level
    noise = rng.standard_normal((*images.shape[:3], 1), np.float32) * np.float32(spread) + np.float32(mean)
    liquid = filters.blurred(noise, sigma * lengths)
    if is_mud:
        cover = filters.blurred((liquid > threshold).astype(np.float32), strength * lengths)
        cover[cover < 0.8] = 0
        return np.asarray(images * (1 - cover) + _colour(MUD_COLOUR, images) * cover, np.float32)
    depth = np.where(liquid < threshold, 0, liquid - threshold)
    deepest = depth.max(axis=(1, 2, 3), keepdims=True)
    drops = np.sqrt(depth / np.maximum(deepest, 1e-12)) * strength
    return np.asarray(images + drops * _colour(WATER_COLOUR, images), np.float32)


def brightness(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Raise the value of HSV: the largest channel by a constant, the others in proportion."""
    value = images.max(axis=3, keepdims=True)
    raised = np.clip(value + level[0], 0, 1)
    return np.where(value > 0, images * raised / np.maximum(value, 1e-6), raised).astype(np.float32)


def contrast(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Bring each channel towards its mean."""
    means = images.mean(axis=(1, 2), keepdims=True)
    return np.asarray((images - means) * level[0] + means, np.float32)


def saturate(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Scale the saturation of HSV; grey stays grey."""
    value = images.max(axis=3, keepdims=True)
    saturation = 1 - images.min(axis=3, keepdims=True) / np.maximum(value, 1e-6)
    target = np.clip(saturation * level[0] + level[1], 0, 1)
    factor = np.where(saturation > 1e-3, target / np.maximum(saturation, 1e-3), 1)
    return np.asarray(value - (value - images) * factor, np.float32)


def elastic_transform(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Pull three points apart, and stretch what is between them."""
    alpha, sigma, pull = level[0] * lengths, level[1] * lengths, level[2] * lengths
    count, height, width = images.shape[:3]
    middle = np.array([height // 2, width // 2], np.float64)
    reach = min(height, width) // 3
    points = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + rng.uniform(-pull, pull, (count, 3, 2))
    known = np.dstack([moved, np.ones((count, 3, 1))])
    # Where the moved points are in the given image: (n, 3, 2), so that [y, x, 1] @ it is the place to read.
    affine = np.linalg.solve(known, np.broadcast_to(points, moved.shape)).astype(np.float32)
    rows, columns = _places(images)
    places = [
        affine[:, 0, at, None, None] * rows
        + affine[:, 1, at, None, None] * columns
        + affine[:, 2, at, None, None]
        for at in (0, 1)
    ]
    shape = (count, height, width)
    bent = [place + filters.smooth_fields(shape, sigma, rng) * np.float32(alpha) for place in places]
    return filters.gathered(images, bent[0], bent[1])


def pixelate(images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator) -> Images:
    """Average over boxes and magnify them again."""
    for axis in (1, 2):
        size = images.shape[axis]
        boxes = max(int(size * level[0]), 1)
        ends = np.linspace(0, size, boxes + 1)
        overlap = np.minimum(ends[1:, None], np.arange(1, size + 1)) - np.maximum(
            ends[:-1, None], np.arange(size)
        )
        shares = (np.maximum(overlap, 0) * boxes / size).astype(np.float32)
        nearest = ((np.arange(size) + 0.5) * boxes / size).astype(int)
        images = np.moveaxis(np.tensordot(shares[nearest], images, axes=(1, axis)), 0, axis)
    return images


def jpeg_compression(
    images: Images, level: tuple[float, ...], lengths: float, rng: np.random.Generator
) -> Images:
    """Encode and decode as JPEG: three channels as colour, any other number as grey images."""
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    if images.shape[3] == 3:
        decoded = [_through_jpeg(image, int(level[0])) for image in pixels]
        return (np.stack(decoded) / np.float32(255)).astype(np.float32)
    decoded = [
        np.stack([_through_jpeg(plane, int(level[0])) for plane in np.moveaxis(image, 2, 0)], axis=2)
        for image in pixels
    ]
    return (np.stack(decoded) / np.float32(255)).astype(np.float32)


IMAGES: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}
MOVING = frozenset({"glass_blur", "motion_blur", "zoom_blur", "elastic_transform"})
"""Corruptions that move objects away from the positions in the targets."""
OF_COLOUR = frozenset({"saturate"})
"""Corruptions without effect on a single channel."""


def _colour(colour: tuple[float, ...], images: Images) -> NDArray[np.float32]:
    """Return the colour for three channels, its mean for any other number."""
    if images.shape[3] == 3:
        return np.array(colour, np.float32)
    return np.array([np.mean(colour)], np.float32)


def _places(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Row and column (1, height, width) of each pixel."""
    rows, columns = np.indices(images.shape[1:3], np.float32)
    return rows[None], columns[None]


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.asarray(image)
