"""Building blocks of image corruptions: filters, resampling and random textures of whole batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    """(n, height, width, channels), 0..1"""


def blurred(images: Images, sigma: float) -> Images:
    """A Gaussian filter over height and width."""
    from scipy.ndimage import gaussian_filter

    smooth: Images = gaussian_filter(images, (0, sigma, sigma, 0)[: images.ndim], mode="nearest")
    return smooth


def convolved(images: Images, kernels: NDArray[np.float32]) -> Images:
    """Filter each image with a kernel of its own, or all with one; kernels are (n or 1, side, side)."""
    from scipy.signal import fftconvolve

    reach = kernels.shape[1] // 2
    edges = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = np.pad(images, edges, mode="edge")
    found: Images = fftconvolve(padded, kernels[..., None], mode="valid", axes=(1, 2))
    return found.astype(np.float32)


def line_kernels(angles: NDArray[np.float64], length: float, sigma: float) -> NDArray[np.float32]:
    """Return (n, side, side) kernels of a movement by ``length`` pixels that fades with ``sigma``.

    The movement starts at the pixel and goes in one direction, as in ImageMagick's motion blur.
    """
    reach = int(np.ceil(length)) + 1
    steps = np.linspace(0, length, 4 * reach)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    y, x = (direction(angles)[:, None] * steps for direction in (np.sin, np.cos))
    kernels = np.zeros((len(angles), 2 * reach + 1, 2 * reach + 1), np.float32)
    rows = np.arange(len(angles))[:, None]
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for below in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - below - (y - top)) * np.abs(1 - right - (x - left)) * weights
            np.add.at(kernels, (rows, top + below + reach, left + right + reach), share)
    return kernels


def zoomed(images: Images, factor: float) -> Images:
    """Magnify the middle by ``factor``, linearly interpolated, and cut to the same size."""
    for axis in (1, 2):
        size = images.shape[axis]
        middle = (size - 1) / 2
        at = np.clip((np.arange(size) - middle) / factor + middle, 0, size - 1)
        lower = np.minimum(at.astype(int), max(size - 2, 0))
        share = (at - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(images.ndim)])
        upper = np.minimum(lower + 1, size - 1)
        images = images.take(lower, axis) * (1 - share) + images.take(upper, axis) * share
    return images


def gathered(images: Images, y: NDArray[np.float32], x: NDArray[np.float32]) -> Images:
    """Resample at (y, x), both (n, height, width), with linear interpolation; mirrored at the edges."""
    height, width = images.shape[1:3]
    y, x = _mirrored(y, height), _mirrored(x, width)
    top, left = y.astype(np.int32), x.astype(np.int32)
    below, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = (y - top)[..., None], (x - left)[..., None]
    rows = np.arange(len(images))[:, None, None]
    upper = images[rows, top, left] * (1 - dx) + images[rows, top, right] * dx
    lower = images[rows, below, left] * (1 - dx) + images[rows, below, right] * dx
    found: Images = upper * (1 - dy) + lower * dy
    return found


def moved(images: Images, dy: NDArray[np.int32], dx: NDArray[np.int32]) -> Images:
    """Displace each pixel by rows and columns, both (n, height, width); the edges are replicated."""
    count, height, width = images.shape[:3]
    rows = np.clip(np.arange(height, dtype=np.int32)[:, None] + dy, 0, height - 1)
    columns = np.clip(np.arange(width, dtype=np.int32) + dx, 0, width - 1)
    found: Images = images[np.arange(count)[:, None, None], rows, columns]
    return found


def smooth_fields(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Uniform noise in -1..1 (n, height, width) after a Gaussian filter, periodic."""
    noise = rng.uniform(-1, 1, shape).astype(np.float32)
    if sigma == 0:
        return noise
    squares = _frequencies(shape) ** 2
    return _filtered(noise, np.exp(-2 * np.pi**2 * sigma**2 * squares))


def fractals(shape: tuple[int, ...], decay: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Plasma (n, height, width) in 0..1: noise that falls by ``decay`` squared with each halving of scale.

    That is how the diamond-square algorithm of ImageNet-C falls; this one has no seams and any shape.
    """
    frequencies = _frequencies(shape)
    frequencies[0, 0] = 1
    weights = frequencies ** -(1 + 2 * np.log2(decay))
    weights[0, 0] = 0
    plasma = _filtered(rng.standard_normal(shape, np.float32), weights)
    low, high = (end(plasma, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    spread: NDArray[np.float32] = ((plasma - low) / np.maximum(high - low, 1e-12)).astype(np.float32)
    return spread


def _frequencies(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Cycles a pixel (height, width // 2 + 1) of the half spectrum."""
    rows, columns = np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2])
    return np.asarray(np.hypot(rows[:, None], columns))


def _filtered(noise: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy.fft import irfft2, rfft2

    found: NDArray[np.float32] = irfft2(rfft2(noise) * weights.astype(np.float32), s=noise.shape[1:])
    return found


def _mirrored(places: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Reflect coordinates beyond the edges back inside."""
    if size == 1:
        return np.zeros_like(places)
    period = 2 * (size - 1)
    inside: NDArray[np.float32] = np.abs((places + size - 1) % period - (size - 1)).astype(np.float32)
    return inside
