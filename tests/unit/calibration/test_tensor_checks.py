"""Checks of tensor ranges from the extremes of each sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.checks import DataChecks
from calibration.diagnosis import Diagnosis
from calibration.extremes import Extremes, beyond, influence, spread
from calibration.histogram import Histogram
from calibration.tensor_checks import (
    Observed,
    TensorRange,
    check_outliers,
    check_resolution,
    check_stability,
    tensor_checks,
)

RNG = np.random.default_rng(0)
NAMES = ("image", "conv", "dense")
OTHER = 'set [calibration] ranges to "auto"'


def extremes(samples=256, outlier=None, scale=1000.0):
    """Three tensors whose ranges hardly depend on single samples; the last one is not negative."""
    low = RNG.uniform(-1, -0.9, (samples, 3)).astype(np.float32)
    low[:, 2] = 0.5
    high = RNG.uniform(0.9, 1, (samples, 3)).astype(np.float32)
    if outlier is not None:
        high[outlier] *= scale
    return Extremes.of(low, high)


def histograms(every):
    """Values all over the range of each tensor."""
    ends = zip(every.low.min(axis=0), every.high.max(axis=0), strict=True)
    return [Histogram.of(np.linspace(low, high, 1001, dtype=np.float32)) for low, high in ends]


def observed(every, samples, values=None, ranges=None):
    """Min-max ranges of the calibration samples, unless others are given."""
    chosen = every.take(slice(samples))
    low, high = ranges or (chosen.low.min(axis=0), chosen.high.max(axis=0))
    return Observed(NAMES, every, values or histograms(every), low, high, np.zeros(3, np.int64))


def diagnosed(every, samples, values=None, ranges=None):
    rows = np.arange(len(every)) * 10
    checks = tensor_checks(observed(every, samples, values, ranges), rows, samples, seed=0)
    return checks, checks.findings(samples, 5000, OTHER)


def of_check(findings, check, subject=""):
    return [found for found in findings if (found.check, found.subject) == (check, subject)]


def brute_force(every):
    whole = every.widths()
    return np.array(
        [1 - every.take(np.delete(np.arange(len(every)), out)).widths() / whole for out in range(len(every))]
    )


def test_influence_is_what_leaving_out_each_sample_shows():
    every = Extremes.of(-RNG.gamma(1, size=(30, 6)), RNG.gamma(1, size=(30, 6)))
    expected = brute_force(every)
    found = influence(every, every.widths())

    np.testing.assert_allclose(found.share, expected.max(axis=0))
    np.testing.assert_array_equal(found.sample, expected.argmax(axis=0))


def test_one_sample_may_set_both_ends():
    every = Extremes.of(np.array([[-1], [-9], [-1]]), np.array([[1], [9], [1]]))
    assert influence(every, every.widths()).share == pytest.approx([16 / 18])


def test_ranges_contain_zero():
    every = Extremes.of(np.array([[3.0]]), np.array([[4.0]]))
    assert every.widths() == pytest.approx([4.0])


def test_a_single_sample_sets_the_whole_range():
    assert influence(extremes(1), np.ones(3)).share.tolist() == [1, 1, 1]


def test_subsets_of_equal_samples_have_the_same_range():
    same = Extremes.of(np.full((40, 2), -1.0), np.full((40, 2), 2.0))

    assert spread(same, 0).tolist() == [0, 0]
    assert np.isnan(spread(same.take(slice(3)), 0)).all()


def test_samples_beyond_the_range_are_measured_in_its_width():
    others = Extremes.of(np.array([[0.0, 0], [-2.0, 0]]), np.array([[1.5, 0], [0, 1]]))
    shares, samples = beyond(others, np.array([-1.0, 0]), np.array([1.0, 0]))

    assert shares.tolist() == [0.5, 0]
    assert samples.tolist() == [1, 1]


def test_a_good_set_passes_every_check():
    checks, found = diagnosed(extremes(512), 256)

    assert {each.outcome for each in found} == {"passed"}
    assert [tensor.name for tensor in checks.tensors] == list(NAMES)
    assert (checks.tensors[2].low, checks.constant) == (0, ())


def test_an_outlier_times_1000_fails_and_is_named_with_its_row():
    checks, found = diagnosed(extremes(512, outlier=17), 256)

    [outlier] = of_check(found, "outliers", "row 170")
    assert outlier.outcome == "failed"
    assert "in 3 of 3 tensors" in outlier.text
    assert {tensor.row for tensor in checks.tensors} == {170}
    assert min(tensor.influence for tensor in checks.tensors) > 0.99


def test_an_outlier_that_the_range_clips_has_no_influence():
    every = extremes(512, outlier=17)
    narrow = every.low.min(axis=0), np.full(3, 1.1)
    checks, found = diagnosed(every, 256, histograms(extremes(512)), ranges=narrow)

    assert max(tensor.influence for tensor in checks.tensors) < 0.1
    assert {each.outcome for each in found if each.check == "outliers"} == {"passed"}


def test_an_outlier_among_the_other_training_samples_is_named():
    _, found = diagnosed(extremes(512, outlier=400), 256)

    [others] = of_check(found, "outliers", "other training samples")
    assert others.outcome == "warning"
    assert "row 4000" in others.text


def test_a_tensor_that_is_not_finite_fails():
    every = extremes(64)
    given = replace(observed(every, 32), not_finite=np.array([0, 3, 0]))
    first, *_ = tensor_checks(given, np.arange(64), 32, 0).findings(32, 64, OTHER)

    assert (first.outcome, first.text) == ("failed", "tensors with infinite values or NaN: conv")


def test_a_model_whose_tensors_are_all_zero_fails():
    zero = Extremes.of(np.zeros((9, 3)), np.zeros((9, 3)))
    checks = tensor_checks(observed(zero, 9), np.arange(9), 9, 0)

    assert checks.constant == NAMES
    assert [found.outcome for found in checks.findings(9, 9, OTHER)] == ["failed"]


def test_two_equal_outliers_hide_each_other_but_not_among_the_most_extreme():
    _, found = diagnosed(extremes(512, outlier=[17, 18], scale=np.array([[1000.0], [1000.5]])), 256)

    assert of_check(found, "outliers", "row 170") == []
    assert of_check(found, "outliers", "1 % of the samples")[0].outcome == "warning"


def influenced(tensors, rows, share=0.3):
    """Tensors of which the first ones are each influenced by one of several samples."""
    return [
        TensorRange(
            name=str(at),
            low=0,
            high=1,
            influence=share if at < rows else 0.1,
            row=at,
            trimmed=0.3,
            used=0.5,
            spread=0.1,
            error_db=1,
            best_low=0,
            best_high=1,
        )
        for at in range(tensors)
    ]


def test_many_outliers_are_summed_up():
    found = check_outliers(influenced(20, 20), OTHER)

    assert [each.subject for each in found[5:]] == ["other rows", "1 % of the samples"]
    assert found[5].text.startswith("15 more samples")


def test_a_sample_may_set_much_of_a_single_range_among_many():
    few, much = (
        check_outliers(given, OTHER) for given in (influenced(100, 3), influenced(100, 1, share=0.7))
    )

    assert few[0].outcome == "passed"
    assert few[0].text.endswith("and none more than 20% in 5% of the tensors")
    assert (much[0].outcome, much[0].subject) == ("failed", "row 0")


def test_a_range_that_few_values_use_is_a_warning():
    every = extremes(512)
    values = histograms(every)
    values[1] = Histogram.of(np.concatenate([np.linspace(-0.01, 0.01, 9999), [1.0]]).astype(np.float32))
    checks, found = diagnosed(every, 256, values)

    assert checks.tensors[1].used == pytest.approx(0.01, rel=0.1)
    assert checks.tensors[0].used > 0.9
    used, *_ = of_check(found, "resolution")
    assert used.outcome == "warning"
    assert "in 1 tensors: conv 1.0%" in used.text


def test_a_range_that_is_much_wider_than_the_best_one_is_a_warning():
    every = extremes(512)
    values = histograms(every)
    every.high[5, 1] = 100
    checks, found = diagnosed(every, 256, values)

    assert checks.tensors[1].error_db == pytest.approx(20 * np.log10(101 / 2), abs=1)
    _, wide, narrow = of_check(found, "resolution")
    assert (wide.outcome, narrow.outcome) == ("warning", "passed")
    assert "in 1 tensors: conv 34" in wide.text


def test_a_range_that_clips_too_much_is_a_warning():
    every = extremes(512)
    _, found = diagnosed(every, 256, ranges=(np.full(3, -0.5), np.full(3, 0.5)))

    _, wide, narrow = of_check(found, "resolution")
    assert (wide.outcome, narrow.outcome) == ("passed", "warning")
    assert "in 3 tensors" in narrow.text


def test_a_tensor_that_is_always_zero_is_named():
    every = extremes(64)
    every.low[:, 1] = every.high[:, 1] = 0
    checks, found = diagnosed(every, 32)

    assert checks.constant == ("conv",)
    assert [each.outcome for each in of_check(found, "resolution")] == ["passed"] * 3 + ["warning"]
    assert len(check_resolution(checks.tensors, (), OTHER)) == 3


def test_unstable_ranges_are_a_warning():
    every = Extremes.of(-RNG.pareto(1, (64, 3)), RNG.pareto(1, (64, 3)))
    checks, _ = diagnosed(every, 64)

    found = check_stability(checks.tensors, 64, OTHER)
    assert found.outcome == "warning"
    assert "samples to 128" in found.fix


def test_a_diagnosis_without_ranges_says_why():
    samples = DataChecks(
        samples=9, training_samples=9, test_samples=0, sampling="random", seed=0, fingerprint="0",
        coverage=(), inputs=(), duplicates=((1, 2, 3, 4, 5),), equal=(), near=(),
    )  # fmt: skip
    found = Diagnosis(
        model="m", data="d", samples=samples, ranges=None, method="min-max", problem="it does not run"
    )

    assert found.findings[-1].text == "it does not run"
    assert found.failed == ("duplicates",)


def judged(other_ranges, scale):
    """The fixes of all findings on ranges of which each is far wider than its values."""
    every = extremes(512, outlier=[17, 18], scale=scale)
    checks = tensor_checks(observed(every, 256, histograms(extremes(512))), np.arange(512), 256, 0)
    return {each.fix for each in checks.findings(256, 5000, other_ranges) if each.fix}


def test_no_fix_names_a_way_to_choose_ranges_where_all_were_compared():
    scale = np.array([[1000.0], [10.0]])
    known, unknown = judged("", scale), judged(OTHER, scale)

    assert len(known) >= 3
    assert not [fix for fix in known if "ranges to" in fix]
    assert "look at this sample; remove it if it is wrong" in known
    assert OTHER in unknown
    assert f"look at this sample; remove it if it is wrong, or {OTHER}" in unknown


def test_tensors_that_share_a_range_are_judged_as_one():
    low = np.tile([[0.0, -0.01, -5.0]], (64, 1))
    every = Extremes.of(low, np.tile([[1.0, 0.01, 5.0]], (64, 1)))
    values = [
        Histogram.of(np.linspace(*ends, 1001, dtype=np.float32)) for ends in ((0, 1), (-0.01, 0.01), (-5, 5))
    ]
    shared = np.full(3, -5.0), np.full(3, 5.0)
    apart = Observed(NAMES, every, values, *shared, np.array([0, 2, 1]))

    together = apart.as_one(np.array([0, 1, 1]))

    assert list(together.names) == ["image", "conv (+1)"]
    assert together.every.high[0].tolist() == [1, 5]
    assert together.histograms[1].total == 2002
    assert together.not_finite.tolist() == [0, 3]
    one, *others = (
        [
            found
            for found in tensor_checks(given, np.arange(64), 32, 0).findings(32, 64, OTHER)
            if "conv" in found.text
        ]
        for given in (apart, together)
    )
    assert "resolution" in {each.check for each in one}
    assert "resolution" not in {each.check for each in others[0]}
