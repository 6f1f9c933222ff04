"""Statistics of the targets of a data set, gathered in one pass over their file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.rows import rows_of_file, together

if TYPE_CHECKING:
    from pathlib import Path

    from models.data.options import Array

MAX_DISTINCT = 4096
WHITE = 255
_TOLERANCE = 1e-3
_NEAR = 48  # distance from 0 or 255: JPEG changes the values of a two-colour mask by this much
_PAINTED_SHARE = 0.95


@dataclass(frozen=True)
class TargetStats:
    """The targets of one output.

    Attributes:
        shape: of one sample's target, without the batch.
        integral: every value is a whole number.
        low: the lowest value.
        high: the highest.
        distinct: the different values in order; empty if they are more than ``MAX_DISTINCT``.
        one_hot: along the last axis there is one 1, the rest are 0.
        soft: along the last axis the values are those of a distribution: not negative, with a sum of 1.
        words: the labels are text.
        nearly_painted: integers from 0 to 255, more than two different ones, nearly all near 0 or 255:
            masks that were stored with loss, as JPEG does.
    """

    shape: tuple[int, ...]
    integral: bool
    low: float
    high: float
    distinct: tuple[float, ...]
    one_hot: bool = False
    soft: bool = False
    words: bool = False
    nearly_painted: bool = False

    @property
    def scalar(self) -> bool:
        """One value for each sample."""
        return self.shape in ((), (1,))

    @property
    def zero_one(self) -> bool:
        """Nothing but 0 and 1."""
        return bool(self.distinct) and set(self.distinct) <= {0.0, 1.0}

    @property
    def painted(self) -> bool:
        """Nothing but 0 and 255, as masks are painted."""
        return self.distinct in ((0.0, float(WHITE)), (float(WHITE),))

    @property
    def contiguous(self) -> bool:
        """Whole numbers without a gap."""
        return self.integral and len(self.distinct) == self.high - self.low + 1


def scan(path: Path, *, words: bool = False) -> TargetStats:
    """Read the targets once.

    Args:
        path: a ``.npy`` file of finite numbers, at least one row.
        words: they are indices of words.
    """
    rows = rows_of_file(path)
    shape = rows.shape[1:]
    integral, soft = True, len(shape) > 0 and shape[-1] > 1
    low, high = np.inf, -np.inf
    distinct: Array | None = np.empty(0)
    near = count = 0
    for (piece,) in together([rows]):
        integral = integral and (piece.dtype.kind in "iu" or bool((piece == np.floor(piece)).all()))
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
        if soft:
            sums = piece.sum(axis=-1, dtype=np.float64)
            soft = bool(piece.min() >= 0 and (np.abs(sums - 1) < _TOLERANCE).all())
        if integral and low >= 0 and high <= WHITE:
            near += int(((piece <= _NEAR) | (piece >= WHITE - _NEAR)).sum())
            count += piece.size
        if distinct is not None:
            distinct = np.union1d(distinct, piece.astype(np.float64, copy=False))
            distinct = distinct if len(distinct) <= MAX_DISTINCT else None
    values = () if distinct is None else tuple(distinct.tolist())
    ids = set(values) <= {0, 1, 2, WHITE}  # class ids and a value to be ignored
    grey = integral and low >= 0 and WHITE - _NEAR <= high <= WHITE and len(values) > 2 and not ids
    nearly = grey and low <= _NEAR and near >= _PAINTED_SHARE * count
    return TargetStats(shape, integral, low, high, values, soft and integral, soft, words, nearly)


def same(path: Path, other: Path) -> bool:
    """Return whether two ``.npy`` files hold the same values in the same shape."""
    files = [rows_of_file(path), rows_of_file(other)]
    if files[0].shape != files[1].shape:
        return False
    return all(np.array_equal(piece, twin) for piece, twin in together(files))
