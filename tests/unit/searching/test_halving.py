"""Which trials go on after their compression."""

from __future__ import annotations

from pipeline.searching.halving import goes_on, may_stop


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


def test_one_trial_in_five_is_never_stopped():
    assert [may_stop(trial) for trial in range(10)] == [*[True] * 4, False] * 2
