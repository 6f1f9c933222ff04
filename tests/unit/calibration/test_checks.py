"""Checks of calibration samples as data, on sets that are deliberately bad."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.checks import (
    Coverage,
    DataChecks,
    InputValues,
    check_coverage,
    check_duplicates,
    check_leakage,
    check_values,
    equal_groups,
    input_values,
)
from calibration.sampling import sample_hashes

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 6, 6, 3)).astype(np.float32)


def coverage(**counts):
    return Coverage.of(
        "class", {name: {"samples": n, "training_samples": of} for name, (n, of) in counts.items()}
    )


def summarized(samples, split=True, chunks=3):
    rows = np.arange(100, 100 + len(samples))
    return input_values("image", "raw", np.array_split(samples, chunks), rows, split=split)


def values(samples, **options):
    [found] = check_values([summarized(samples, **options)], len(samples))
    return found


def test_a_set_in_proportion_passes():
    [found] = check_coverage([coverage(cat=(50, 500), dog=(20, 200))], 70, "stratified")

    assert (found.outcome, found.fix) == ("passed", "")
    assert found.text == "2 of 2 strata, total variation distance 0.000"


def test_a_missing_class_fails_and_is_named():
    [found] = check_coverage([coverage(cat=(50, 500), dog=(0, 90))], 50, "random")

    assert found.outcome == "failed"
    assert "no sample of dog" in found.text
    assert found.fix == 'set [calibration] sampling to "stratified"'


def test_more_classes_than_samples_need_more_samples():
    many = coverage(**{f"c{n}": (int(n < 8), 10) for n in range(20)})
    [found] = check_coverage([many], 8, "stratified")

    assert "no sample of c8, c9, c10, c11, c12 and 7 more" in found.text
    assert found.fix == "set [calibration] samples to at least 40"


@pytest.mark.parametrize(("chosen", "outcome"), [(45, "passed"), (35, "warning"), (10, "failed")])
def test_the_distance_to_the_training_set_decides(chosen, outcome):
    found = coverage(cat=(chosen, 500), dog=(100 - chosen, 500))

    assert found.distance == pytest.approx(0.5 - chosen / 100)
    assert check_coverage([found], 100, "random")[0].outcome == outcome


def test_a_set_that_is_like_the_field_may_be_unlike_the_training_set():
    [found] = check_coverage([coverage(cat=(50, 500), dog=(0, 90))], 50, "field statistics")
    assert found.outcome == "warning"


def test_nothing_to_group_by_is_skipped():
    assert check_coverage([], 50, "random")[0].outcome == "skipped"


def test_values_are_summarized_by_channel_whatever_the_chunks():
    whole, parts = summarized(IMAGES, chunks=1), summarized(IMAGES, chunks=7)

    assert len(whole.channels) == 3
    for channel, (one, other) in enumerate(zip(whole.channels, parts.channels, strict=True)):
        expected = IMAGES[..., channel]
        assert one.mean == pytest.approx(expected.mean()) == pytest.approx(other.mean)
        assert one.std == pytest.approx(expected.std()) == pytest.approx(other.std)
        assert (one.min, one.max) == (expected.min(), expected.max()) == (other.min, other.max)


def test_usual_images_pass():
    assert (values(IMAGES).outcome, values(IMAGES).text) == ("passed", "3 channels from 0 to 255")


def test_indices_have_no_channels():
    assert len(summarized(RNG.integers(0, 9, (20, 12)), split=False).channels) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_fails_by_its_row_and_does_not_spoil_the_others(bad):
    samples = IMAGES.copy()
    samples[7, 2, 2, 1] = bad
    found = values(samples)

    assert found.outcome == "failed"
    assert "1 samples with NaN or Inf (row 107)" in found.text
    assert np.isfinite(summarized(samples).channels[1].max)


@pytest.mark.parametrize(("count", "outcome"), [(1, "passed"), (6, "warning"), (30, "failed")])
def test_constant_samples_are_judged_by_their_number(count, outcome):
    samples = IMAGES.copy()
    samples[:count] = 9
    found = values(samples)

    assert found.outcome == outcome
    assert f"{count} constant samples (row" in found.text


def test_a_constant_feature_is_named():
    table = RNG.normal(size=(50, 4))
    table[:, 2] = 5
    assert values(table).outcome == "warning"
    assert "constant channels: 2" in values(table).text


def test_features_of_unlike_scales_share_one_scale():
    found = values(RNG.normal(size=(50, 3)) * [1, 1, 1000])

    assert found.outcome == "warning"
    assert "share one scale" in found.text
    assert "standardize" in found.fix


def test_a_flattened_image_may_have_constant_borders():
    digits = RNG.normal(size=(50, 784)) * (np.arange(784) > 100)
    assert values(digits).outcome == "passed"


def test_a_sample_repeated_100_times_fails():
    samples = np.concatenate([IMAGES, np.repeat(IMAGES[3:4], 100, axis=0)])
    groups = equal_groups(sample_hashes([samples]), range(len(samples)))
    found = check_duplicates(groups, len(samples))

    assert (len(groups), len(groups[0])) == (1, 101)
    assert found.outcome == "failed"
    assert "100 of 160 samples repeat others, 60 are different" in found.text
    assert "rows 3, 60, 61, 62, 63 and 96 more" in found.text


@pytest.mark.parametrize(("repeats", "outcome"), [(0, "passed"), (2, "passed"), (10, "warning")])
def test_few_duplicates_do_no_harm(repeats, outcome):
    groups = [(0, *range(1000, 1000 + repeats))] if repeats else []
    assert check_duplicates(groups, 100).outcome == outcome


def test_a_test_sample_in_the_set_fails_and_a_nearly_equal_one_is_a_warning():
    equal, near = check_leakage([(3, 900)], [(4, 901), (5, 902)], 1000)

    assert (equal.outcome, near.outcome) == ("failed", "warning")
    assert "rows 3 = 900" in equal.text
    assert "rows 4 = 901, 5 = 902" in near.text


def test_without_leakage_both_checks_pass():
    assert [found.outcome for found in check_leakage([], [], 1000)] == ["passed", "passed"]
    assert [found.outcome for found in check_leakage([], None, 1000)] == ["passed", "skipped"]
    assert [found.outcome for found in check_leakage([], [], 0)] == ["skipped"]


def test_findings_come_in_the_order_of_the_checks():
    checks = DataChecks(
        samples=60,
        training_samples=600,
        test_samples=10,
        sampling="stratified",
        seed=0,
        fingerprint="0",
        coverage=(coverage(cat=(30, 300), dog=(30, 300)),),
        inputs=(summarized(IMAGES), InputValues(name="empty", transform="raw", channels=())),
        duplicates=(),
        equal=(),
        near=(),
    )
    assert [(found.check, found.subject) for found in checks.findings()] == [
        ("coverage", "class"),
        ("values", "image"),
        ("values", "empty"),
        ("duplicates", ""),
        ("leakage", "equal"),
        ("leakage", "nearly equal"),
    ]
