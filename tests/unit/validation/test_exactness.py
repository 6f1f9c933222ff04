"""Whether outputs are bit-exact: differences by sample, in steps."""

from __future__ import annotations

import numpy as np

from pipeline.validation.exactness import differences


def test_differences_are_counted_a_sample_and_measured_in_steps():
    ours = [np.array([[1, 2], [-128, 4], [5, 6]], np.int8)]
    theirs = [np.array([[1, 2], [127, 4], [5, 7]], np.int8)]

    assert differences(ours, theirs) == (2, 255.0)
    assert differences(ours, ours) == (0, 0.0)


def test_a_sample_differs_where_any_of_its_outputs_does():
    same, one, other = np.zeros((3, 2)), np.array([[0], [0], [3]]), np.zeros((3, 1))

    assert differences([same, one], [same, other]) == (1, 3.0)
