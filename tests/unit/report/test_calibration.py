"""The diagnosis of a calibration set as text and as a page."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from pages import HOSTILE, Page, text_of

from calibration.checks import Coverage, DataChecks, input_values
from calibration.diagnosis import Diagnosis
from calibration.extremes import Extremes
from calibration.histogram import Histogram
from calibration.tensor_checks import Observed, tensor_checks
from pipeline.report.calibration import diagnosis_text
from pipeline.report.calibration_html import diagnosis_html
from pipeline.report.calibration_views import write_diagnosis

RNG = np.random.default_rng(0)


@pytest.fixture
def found():
    """A set without one class, with an outlier in its second sample."""
    samples = RNG.normal(size=(64, 5))
    counts = {"cat": {"samples": 64, "training_samples": 500}, "dog": {"samples": 0, "training_samples": 90}}
    every = Extremes.of(RNG.uniform(-1, -0.9, (128, 4)), RNG.uniform(0.9, 1, (128, 4)))
    every.high[1] = 1000
    rows = np.arange(64) + 300
    values = [Histogram.of(RNG.normal(size=5000).astype(np.float32))] * 4
    low, high = every.low.min(axis=0), every.high.max(axis=0)
    observed = Observed(["in", "a", "b", "out"], every, values, low, high, np.zeros(4, np.int64))
    return Diagnosis(
        model="model.keras",
        data="data.npz",
        samples=DataChecks(
            samples=64,
            training_samples=590,
            test_samples=100,
            sampling="random",
            seed=3,
            fingerprint="0123456789ab",
            coverage=(Coverage.of("class", counts),),
            inputs=(input_values("features", "raw x 1 +0 (given)", [samples], rows, split=True),),
            duplicates=((300, 301),),
            equal=(),
            near=((305, 700),),
        ),
        method="min-max",
        ranges=tensor_checks(observed, np.arange(128) + 300, 64, 0),
    )


def test_the_text_has_every_finding_with_its_fix(found):
    text = " ".join(diagnosis_text(found).split())

    assert (
        "64 of 590 training samples; sampling: random, seed 3; ranges: min-max; preprocessing 0123456789ab"
        in text
    )
    for each in found.findings:
        assert each.subject in text
    assert 'fix: set [calibration] sampling to "stratified"' in text
    assert "row 301" in text


def test_the_page_has_every_finding_and_plots_and_fetches_nothing(found):
    page = Page(diagnosis_html(found))

    assert {"svg", "polyline", "polygon", "rect"} <= page.tags
    assert page.headings == [
        "Calibration samples",
        "Findings",
        "Number of samples",
        "Ranges of tensors",
        "Strata by class",
        "Inputs after preprocessing",
    ]
    assert all(each.text in text_of(page) and each.fix in text_of(page) for each in found.findings)


def test_labels_of_the_curve_do_not_touch(found):
    curve = [replace(found.ranges.curve[-1], samples=count) for count in (8, 64, 512, 576)]
    page = diagnosis_html(replace(found, ranges=replace(found.ranges, curve=tuple(curve))))

    assert re.findall(r'text-anchor="middle">(\d+)<', page) == ["8", "64", "576"]


def test_names_from_the_users_files_stay_text(found):
    hostile = replace(found, model=HOSTILE)
    page = Page(diagnosis_html(hostile))

    assert "script" not in page.tags
    assert HOSTILE in text_of(page)


def test_a_diagnosis_without_ranges_has_the_other_sections(found):
    without = replace(found, ranges=None, problem="the float model does not run: operator FOO")

    assert "operator FOO" in diagnosis_text(without)
    assert "Number of samples" not in Page(diagnosis_html(without)).headings


def test_all_views_are_written(found, tmp_path):
    write_diagnosis(found, tmp_path / "new")

    written = json.loads((tmp_path / "new" / "diagnosis.json").read_text())
    assert written["failed"] == ["coverage", "outliers"]
    assert len(written["findings"]) == len(found.findings)
    assert written["samples"]["coverage"][0]["strata"][1]["training_samples"] == 90
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [
        "diagnosis.html",
        "diagnosis.json",
        "diagnosis.txt",
    ]
