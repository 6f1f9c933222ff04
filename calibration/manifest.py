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

    from calibration.sampling import Choice, Pool


def write_manifest(path: Path, inputs: Sequence[NDArray[Any]], pool: Pool, choice: Choice, seed: int) -> None:
    """Write how samples were chosen, the counts of each stratum, input ranges and hashes as JSON.

    Args:
        inputs: for each of the model's inputs the chosen samples (k, ...).
        pool: what they were chosen from.
        choice: the chosen samples, and how they were chosen.
        seed: random seed of the choice.
    """
    chosen = np.zeros(pool.size, bool)
    chosen[choice.places] = True
    manifest = {
        "seed": seed,
        "sampling": choice.sampling,
        "samples": len(choice.places),
        "training_samples": pool.size,
        "strata": {
            strata.trait: {
                name: {"samples": count, "training_samples": len(strata.members[name])}
                for name, count in strata.counts(chosen).items()
            }
            for strata in pool.strata
        },
        "ranges": [[float(values.min()), float(values.max())] for values in inputs],
        "sha256": sample_hashes(inputs),
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
