"""Validation of a file: which preprocessing its samples get."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.released import open_release
from pipeline.settings import make_config
from pipeline.validate.subject import Subject
from pipeline.validate_file import _read


@pytest.fixture
def read(tmp_path, tiny_tflite, write_release):
    """How samples are read for the file of a release, under these settings; and the release."""
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(60) % 3)
    release = write_release(tmp_path / "releases", model_bytes=tiny_tflite)

    def run(**preprocessing):
        raw = {"model": {"path": ""}, "data": {"source": str(tmp_path / "data.npz")}}
        raw |= {"gates": {"allow_chance": True}}
        config = make_config(raw | ({"preprocessing": preprocessing} if preprocessing else {}), "x")
        subject = Subject.open(open_release(release).model)
        (folder := tmp_path / "read").mkdir()
        return _read(subject, subject, config, folder), open_release(release)

    return run


def test_a_releases_own_preprocessing_is_used(read):
    given, release = read()

    assert given.samples.preprocessing == release.transforms
    assert not [note for note in given.notes if "preprocessing" in note]


def test_preprocessing_that_the_settings_declare_beside_a_release_is_not_used_and_a_note_says_so(read):
    given, release = read(scale=0.125)

    assert given.samples.preprocessing == release.transforms
    assert [note for note in given.notes if note.startswith("the release's own preprocessing is used; ")]
