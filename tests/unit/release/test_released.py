"""Release folders as inputs: what is read of them, and that a damaged one is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.errors import InputError, IntegrityError
from pipeline.release.released import model_file, open_release


@pytest.fixture
def release(tmp_path, write_release):
    return write_release(tmp_path)


def test_a_release_gives_its_model_its_preprocessing_and_what_it_says_of_the_data(release):
    found = open_release(release)

    assert found.model == model_file(release) == release / "tiny-1.2.3-arm64.tflite"
    (transform,) = found.transforms
    raw = np.array([[[[2], [4]]]], np.uint8)
    assert np.array_equal(transform.apply(raw), raw * np.float32(0.5) - 1)
    assert transform == Transform(scale=(0.5,), offset=(-1.0,), reason="as the release's manifest.json says")
    assert found.data_settings == {
        "task": ("classification",),
        "labels": ("cat", "dög"),
        "interpolation": "bilinear",
    }


def test_a_file_is_taken_as_it_is(tmp_path):
    assert model_file(tmp_path / "any.tflite") == tmp_path / "any.tflite"


def test_a_folder_that_is_no_release_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"a folder without manifest\.json is not a release; give a release folder"
    ):
        open_release(tmp_path)


@pytest.mark.parametrize("file", ["tiny-1.2.3-arm64.tflite", "manifest.json", "labels.txt"])
def test_a_release_with_a_changed_file_is_refused_with_its_name(release, file):
    (release / file).write_bytes((release / file).read_bytes() + b" ")

    with pytest.raises(IntegrityError, match=file):
        open_release(release)


def test_a_release_with_a_file_too_many_is_refused(release):
    (release / "notes.txt").write_text("mine")

    with pytest.raises(IntegrityError, match=r"notes\.txt: a file too many"):
        open_release(release)


def test_a_renamed_release_is_refused(release):
    renamed = release.rename(release.with_name("other"))

    with pytest.raises(IntegrityError, match=r"give the folder that name"):
        open_release(renamed)
