"""Numbers for people have the digits and the word that say something."""

from __future__ import annotations

import pytest

from pipeline.figures import compared, microseconds


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (3.0917, "3.09x fewer"),
        (1.1206, "1.12x fewer"),
        (1.0, "equal"),
        (1.0004, "equal"),
        (1 / 1.003, "0.3 % more"),
        (1 / 0.972, "2.8 % fewer"),
        (1 / 1.29, "1.29x more"),
        (1 / 26.3, "26x more"),
        (1234.5, "1,234x fewer"),
    ],
)
def test_a_comparison_is_never_a_factor_that_says_nothing(ratio, said):
    assert compared(ratio, "fewer", "more") == said


def test_a_factor_has_as_many_digits_as_are_asked_for():
    assert compared(2.51, "smaller", "larger", 1) == "2.5x smaller"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.4567, "0.46"), (0.05, "0.05"), (6.74, "6.7"), (12.34, "12.3"), (123.4, "123"), (54321.0, "54,321")],
)
def test_a_time_has_two_significant_digits_or_more(value, said):
    assert microseconds(value) == said
