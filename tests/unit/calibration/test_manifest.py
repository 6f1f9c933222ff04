"""The manifest: enough to prove later what a calibration set was."""

from __future__ import annotations

import json

import numpy as np

from calibration.manifest import write_manifest
from calibration.sampling import sample_hashes


def test_it_holds_the_seed_the_classes_the_range_and_every_hash(tmp_path):
    samples = np.arange(12, dtype=np.uint8).reshape(4, 3)
    write_manifest(tmp_path / "calibration.json", [samples, samples * 2], np.array([0, 2, 2, 0]), seed=7)

    assert json.loads((tmp_path / "calibration.json").read_text()) == {
        "seed": 7,
        "samples": 4,
        "per_class": {"0": 2, "2": 2},
        "ranges": [[0.0, 11.0], [0.0, 22.0]],
        "sha256": sample_hashes([samples, samples * 2]),
    }
