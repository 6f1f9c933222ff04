"""The manifest: enough to prove later what a calibration set was."""

from __future__ import annotations

import json

import numpy as np

from calibration.manifest import write_manifest
from calibration.sampling import Choice, Pool, sample_hashes
from calibration.strata import strata_of


def test_it_holds_the_seed_the_sampling_the_strata_the_range_and_every_hash(tmp_path):
    samples = np.arange(12, dtype=np.uint8).reshape(4, 3)
    pool = Pool(6, strata_of("ids", "class", [np.array([0, 2, 2, 0, 0, 1])], ("a", "b", "c")))
    choice = Choice(np.array([0, 1, 2, 3]), "random")
    write_manifest(tmp_path / "calibration.json", [samples, samples * 2], pool, choice, seed=7)

    assert json.loads((tmp_path / "calibration.json").read_text()) == {
        "seed": 7,
        "sampling": "random",
        "samples": 4,
        "training_samples": 6,
        "strata": {
            "class": {
                "a": {"samples": 2, "training_samples": 3},
                "b": {"samples": 0, "training_samples": 1},
                "c": {"samples": 2, "training_samples": 2},
            }
        },
        "ranges": [[0.0, 11.0], [0.0, 22.0]],
        "sha256": sample_hashes([samples, samples * 2]),
    }
