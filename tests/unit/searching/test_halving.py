"""Which trials go on after a part of their training."""

from __future__ import annotations

from collections import Counter

from pipeline.searching.halving import goes_on, shares_of


def test_what_nothing_dominates_goes_on():
    others = [(-90.0, 10.0), (-80.0, 5.0), (-70.0, 2.0)]
    assert goes_on((-95.0, 20.0), others)
    assert goes_on((-60.0, 1.0), others)


def test_what_a_third_of_the_trials_beats_in_every_figure_is_stopped():
    others = [(-90.0, 10.0), (-91.0, 11.0), (-60.0, 30.0), (-50.0, 40.0)]
    assert not goes_on((-80.0, 12.0), others)


def test_the_first_trials_go_on_unless_another_one_is_better():
    assert goes_on((-10.0, 10.0), [])
    assert not goes_on((-10.0, 10.0), [(-20.0, 5.0)])


def test_equal_trials_go_on():
    assert goes_on((-10.0, 10.0), [(-10.0, 10.0)] * 6)


def test_hyperband_s_brackets_take_turns_and_one_in_five_trials_is_never_stopped():
    counts = Counter(len(shares_of(trial)) for trial in range(100))
    assert counts == {2: 40, 1: 40, 0: 20}
    assert all(list(shares_of(trial)) == sorted(shares_of(trial)) for trial in range(10))
