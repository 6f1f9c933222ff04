"""Where values are in a drawing: axes with round ticks, lines and histograms inside of their frames."""

from __future__ import annotations

import pytest

from pipeline.report.drawing import CHART, Axis, Frame, Series, chart

FRAME = Frame.within(width=100, height=50, margin=5)


def places(text):
    return [tuple(map(float, point.split(","))) for point in text.split()]


def test_a_line_goes_from_edge_to_edge_with_the_lowest_value_at_the_bottom():
    assert places(FRAME.line([2, 4, 3], 2, 4)) == [(5, 45), (50, 5), (95, 25)]


def test_one_value_and_equal_values_are_drawn_at_the_bottom():
    assert places(FRAME.line([7], 7, 7)) == [(5, 45)]
    assert places(FRAME.line([7, 7], 7, 7)) == [(5, 45), (95, 45)]


def test_a_histogram_has_two_corners_for_each_bin_and_heights_of_square_roots():
    assert places(FRAME.steps([0, 1, 4], 4)) == [(5, 45), (35, 45), (35, 25), (65, 25), (65, 5), (95, 5)]
    assert {y for _, y in places(FRAME.steps([0, 0], 0))} == {45}


def test_values_that_are_far_apart_have_a_logarithmic_axis_if_it_may_be_one():
    assert Axis.around([1, 100], 0, 300, may_be_log=True).is_log
    assert not Axis.around([1, 100], 0, 300).is_log
    assert not Axis.around([0, 100], 0, 300, may_be_log=True).is_log
    axis = Axis(low=1, high=100, start=0, end=300, is_log=True)
    assert [axis.place(value) for value in (1, 10, 100)] == [0, 150, 300]


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0], [1e-6, 2e-6], [1e9, 3e9]])
def test_every_axis_has_ticks_inside_of_it(values):
    axis = Axis.around(values, 0, 300)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 7
    assert all(0 <= tick.place <= 300 for tick in ticks)


def test_a_chart_holds_all_lines_on_common_axes_and_shows_the_words_of_its_dots():
    drawn = chart(
        "Memory", "inferences", "MiB",
        [Series("one", "line", [(0, 1.0, "first"), (10, 3.0, "")]), Series("two", "base", [(5, 9.0, "")])],
    )  # fmt: skip

    assert [line.name for line in drawn.lines] == ["one", "two"]
    assert [dot.title for dot in drawn.dots] == ["first"]
    every = [place for line in drawn.lines for place in places(line.places)]
    assert all(CHART.left <= x <= CHART.right and CHART.top <= y <= CHART.base for x, y in every)
    assert min(every, key=lambda place: place[1]) == places(drawn.lines[1].places)[0]
    assert drawn.legend == [("one", "line"), ("two", "base")]
