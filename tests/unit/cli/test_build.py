"""``pipeline build``: what its options take."""

import pytest

from pipeline.cli.build import split_labels


@pytest.mark.parametrize(
    ("given", "names"),
    [(("b,a,c",), ("b", "a", "c")), (("b", "a, then c"), ("b", "a, then c")), ((), ())],
)
def test_labels_are_one_option_with_commas_or_an_option_each(given, names):
    assert split_labels(None, None, given) == names
