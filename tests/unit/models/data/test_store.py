"""How samples are brought to the model's shape, and told from each other."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.store import fit, matches, row_digests
from models.errors import DataError


@pytest.mark.parametrize(
    ("got", "shape", "reshape", "fitted"),
    [
        ((4, 5), (4, 5), False, (4, 5)),
        ((4, 5), (4, 5, 1), False, (4, 5, 1)),
        ((4, 5, 1), (4, 5), False, (4, 5)),
        ((), (1,), False, (1,)),
        ((1,), (), False, ()),
        ((4, 5), (None, 5), False, (4, 5)),
        ((4, 5), (20,), False, (20,)),
        ((20,), (4, 5), True, (4, 5)),
        ((20,), (None, 5), True, (4, 5)),
        ((20,), (4, 5), False, None),
        ((4, 5), (None,), False, None),
        ((4, 5), (5, 4), False, None),
        ((4, 6), (None, 5), True, None),
        ((20,), (None, None, 5), True, None),
    ],
)
def test_only_axes_of_one_are_mended_unless_rows_take_any_shape(got, shape, reshape, fitted):
    rows = np.arange(3 * int(np.prod(got))).reshape(3, *got)
    if fitted is None:
        with pytest.raises(DataError, match="the model takes"):
            fit(rows, shape, reshape=reshape, name="inputs")
        return

    found = fit(rows, shape, reshape=reshape, name="inputs")

    assert found.shape == (3, *fitted)
    np.testing.assert_array_equal(found.ravel(), rows.ravel())


def test_open_lengths_match_any():
    assert matches((3, 4), (None, 4))
    assert not matches((3, 4), (None,))


def test_equal_samples_have_equal_digests():
    first = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    second = np.array([[5], [5], [5]], np.uint8)

    digests = row_digests([first, second])

    assert digests[0] == digests[1] != digests[2]
    assert row_digests([first, second + 1])[0] != digests[0]
