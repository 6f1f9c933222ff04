"""Data in the formats that users have: each function writes arrays and returns the source to name."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from families import TRAIN
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def as_npz(folder: Path, inputs: Any, targets: Any) -> str:
    arrays = {"x_train": inputs[:TRAIN], "x_test": inputs[TRAIN:]}
    if targets is not None:
        arrays |= {"y_train": targets[:TRAIN], "y_test": targets[TRAIN:]}
    np.savez(folder / "data.npz", **arrays)
    return "data.npz"


def as_mask_folder(folder: Path, inputs: Any, targets: Any) -> str:
    for index, (image, mask) in enumerate(zip(inputs, targets, strict=True)):
        split = "train" if index < TRAIN else "test"
        for kind, values in (("images", image), ("masks", mask * 255)):
            place = folder / "scenes" / split / kind
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(place / f"{index}.png")
    return "scenes"


def as_idx(folder: Path, inputs: Any, targets: Any) -> str:
    for split, rows in (("train", slice(0, TRAIN)), ("t10k", slice(TRAIN, None))):
        arrays = (("images-idx3", inputs[rows, ..., 0]), ("labels-idx1", targets[rows].astype(np.uint8)))
        for name, array in arrays:
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            path = folder / "idx" / f"{split}-{name}-ubyte.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(header + array.tobytes(), 1))
    return "idx"
