"""Record the calibration samples by hash, so that they can be verified later without the data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.sampling import sample_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def write_manifest(path: Path, inputs: Sequence[NDArray[Any]], labels: NDArray[np.int64], seed: int) -> None:
    """Write the seed, class counts, input ranges and the SHA-256 of every sample as JSON."""
    classes, counts = np.unique(labels, return_counts=True)
    manifest = {
        "seed": seed,
        "samples": len(labels),
        "per_class": {str(c): int(n) for c, n in zip(classes, counts, strict=True)},
        "ranges": [[float(values.min()), float(values.max())] for values in inputs],
        "sha256": sample_hashes(inputs),
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
