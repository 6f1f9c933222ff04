"""Decode images and scale them to the model's input, on every core and a batch at a time."""

from __future__ import annotations

import io
import itertools
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.resizing import NO_ANTIALIAS, resize_bilinear
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from models.data.options import Array
    from models.ports import Port

    Encoded = tuple[str, Path | bytes]
    """The name for messages, and the file or its content."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_DEEP_MODES = ("I", "F")  # 16 and 32 bits a channel: a conversion to 8 would clip without a word
_RESAMPLING = {
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "lanczos": "LANCZOS",
    "area": "BOX",
    "box": "BOX",
}
_BATCH_BYTES = 8 << 20
_MAX_BATCH = 256
_MAX_WORKERS = 8


@dataclass(frozen=True)
class Decoder:
    """Decodes images or masks to one size.

    Attributes:
        size: height, width and channels of what it gives; None if every image keeps its own.
        interpolation: see :class:`models.data.options.DataOptions`.
        mask: decode to class ids instead: one channel, never interpolated.
        seen: the sizes that were scaled.
    """

    size: tuple[int | None, int | None, int]
    interpolation: str = "bilinear"
    mask: bool = False
    seen: set[tuple[int, int]] = field(default_factory=set)

    def fixed(self, first: Path | bytes, where: str = "") -> Decoder:
        """Return the same with the size of the first image, where the model leaves it open."""
        height, width, channels = self.size
        if height is not None and width is not None:
            return self
        found = self((where or str(first), first)).shape
        return Decoder(
            (height or found[0], width or found[1], channels), self.interpolation, self.mask, self.seen
        )

    def __call__(self, encoded: Encoded) -> Array:
        """Decode one image.

        Returns:
            uint8 ``(height, width, channels)``; of a mask ``(height, width)``, uint8 or int32.

        Raises:
            DataError: it cannot be decoded, or has more pixels than Pillow's limit against bombs.
        """
        from PIL import Image

        where, content = encoded
        height, width, channels = self.size
        try:
            with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as image:
                limit = Image.MAX_IMAGE_PIXELS
                if limit is not None and image.width * image.height > limit:
                    msg = f"more than {limit} pixels"
                    raise Image.DecompressionBombError(msg)
                decoded = self._converted(image, channels, where)
                before = (image.height, image.width)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            msg = f"{where}: more than {Image.MAX_IMAGE_PIXELS} pixels; scale it down"
            raise DataError(msg) from error
        except DataError:
            raise
        except Exception as error:  # Pillow's decoders raise almost any kind
            reason = " ".join(str(error).split())[:200]
            msg = f"{where}: cannot be decoded: {reason}; replace or remove it"
            raise DataError(msg) from error
        after = (height or before[0], width or before[1])
        if after != before:
            self.seen.add(before)
        if after != before and self.interpolation == NO_ANTIALIAS and not self.mask:
            scaled = resize_bilinear(np.asarray(decoded).reshape(*before, channels), after)
            return np.rint(scaled).astype(np.uint8)
        if after != before:
            how = "NEAREST" if self.mask else _RESAMPLING[self.interpolation]
            decoded = decoded.resize(after[::-1], Image.Resampling[how])
        array = np.asarray(decoded)
        return array if self.mask else array.reshape(*after, channels)

    def _converted(self, image: Any, channels: int, where: str) -> Any:
        if self.mask:
            if image.mode not in ("L", "P", "1", "I", "I;16"):
                msg = f"{where}: a mask in {image.mode}; save one channel whose values are class ids"
                raise DataError(msg)
            return image.convert({"1": "L", "I;16": "I"}.get(image.mode, image.mode))
        if image.mode.startswith(_DEEP_MODES):
            msg = f"{where}: more than 8 bits a channel; convert it to 8 bits"
            raise DataError(msg)
        return image.convert(_MODES[channels])

    def note(self) -> list[str]:
        """Return what was scaled."""
        if not self.seen:
            return []
        one = "x".join(map(str, next(iter(self.seen))))
        sizes = f"of {one}" if len(self.seen) == 1 else f"of {len(self.seen)} other sizes"
        what, how = ("masks", "nearest") if self.mask else ("images", self.interpolation)
        return [f"{what} {sizes} scaled to {self.size[0]}x{self.size[1]} ({how}; height x width)"]


def image_decoder(port: Port, interpolation: str, where: str) -> Decoder:
    """Return what decodes images for an input.

    Raises:
        DataError: the input is not for images, or the interpolation is unknown.
    """
    if len(port.shape) != 3 or port.shape[2] not in _MODES:
        msg = f"{where}: images need a model whose input is (height, width, 1, 3 or 4), not {port.shape}"
        raise DataError(msg)
    if interpolation not in (*_RESAMPLING, NO_ANTIALIAS):
        known = ", ".join((*_RESAMPLING, NO_ANTIALIAS))
        msg = f"interpolation {interpolation!r} is not known; give one of {known}"
        raise DataError(msg)
    return Decoder((port.shape[0], port.shape[1], port.shape[2]), interpolation)


def mask_decoder(port: Port, where: str) -> Decoder:
    """Return what decodes masks for an output.

    Raises:
        DataError: the output has no class for each position.
    """
    if len(port.shape) != 3:
        msg = f"{where}: masks need a model whose output is (height, width, classes), not {port.shape}"
        raise DataError(msg)
    return Decoder((port.shape[0], port.shape[1], 1), mask=True)


def decode_all(
    rows: Iterable[tuple[Encoded, ...]], decoders: tuple[Decoder, ...]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Decode many images, in order, on every core.

    Args:
        rows: the images of each sample.
        decoders: one for each image of a sample, of a fixed size.

    Yields:
        One array for each decoder, ``(n, height, width, channels)`` with a few megabytes.

    Raises:
        DataError: as the decoders.
    """
    sample = sum((decoder.size[0] or 1) * (decoder.size[1] or 1) * decoder.size[2] for decoder in decoders)
    count = max(1, min(_MAX_BATCH, _BATCH_BYTES // sample))

    def decode(batch: list[tuple[Encoded, ...]]) -> tuple[NDArray[Any], ...]:
        images = [[decoder(one) for decoder, one in zip(decoders, row, strict=True)] for row in batch]
        return tuple(np.stack(column) for column in zip(*images, strict=True))

    yield from _in_order(decode, _batched(rows, count))


def _batched(rows: Iterable[Any], count: int) -> Iterator[list[Any]]:
    source = iter(rows)
    while batch := list(itertools.islice(source, count)):
        yield batch


def _in_order(function: Callable[[Any], Any], batches: Iterator[Any]) -> Iterator[Any]:
    """Map over batches in threads; at most two for each core wait."""
    workers = min(os.cpu_count() or 1, _MAX_WORKERS)
    waiting: deque[Any] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for batch in batches:
            waiting.append(pool.submit(function, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
