"""``pipeline calibrate`` on the model and data of a finished build: it takes their stages from the store."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.xdist_group("tiny build")


@pytest.fixture
def calibrate(built, tiny, pipeline, monkeypatch):
    """Run the command with the settings and the store of the build."""
    monkeypatch.chdir(tiny)

    def run(*arguments):
        return pipeline("calibrate", "--store", built.out / "store", *arguments)

    return run


def test_good_samples_pass_and_each_view_is_written(calibrate, tmp_path):
    ended = calibrate("--strict", "--json", "--out", tmp_path / "views")
    found = json.loads(ended.out)

    assert (ended.code, found["failed"]) == (0, [])
    assert found["samples"]["coverage"][0]["distance"] == 0
    assert [each["name"] for each in found["ranges"]["tensors"]][:2] == ["input_layer", "conv2d"]
    assert found["ranges"]["curve"][0]["samples"] == 8
    assert json.loads((tmp_path / "views" / "diagnosis.json").read_text()) == found
    assert (tmp_path / "views" / "diagnosis.html").stat().st_size > 5000


def test_a_failed_check_is_an_error_only_with_strict(calibrate):
    bad = ("--set", "calibration.samples=3", "--set", "calibration.sampling=random")
    plain, strict = calibrate(*bad), calibrate(*bad, "--strict")

    assert (plain.code, strict.code) == (0, 1)
    assert plain.out == strict.out
    assert "no sample of" in plain.out
    assert strict.said[-1].startswith("pipeline: calibration samples: checks failed: coverage")
