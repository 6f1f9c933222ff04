"""Counts are added and taken off exactly, and never become negative."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.device.observe import Observer
from deploy.device.totals import merge, subtract

PORT = {"shape": [1, 3], "dtype": "int8", "scale": 0.1, "zero_point": 3, "range": None}
MANIFEST = {
    "name": "m",
    "version": "1",
    "target": "t",
    "inputs": [{"name": "in", **PORT}],
    "outputs": [{"name": "out", **PORT, "task": "classification", "logits": False}],
}


def counted(seed, since, until, digest="d"):
    observer = Observer(MANIFEST, digest=digest)
    rng = np.random.default_rng(seed)
    for _ in range(30):
        observer.see(
            [rng.integers(-128, 128, (1, 3)).astype(np.int8)],
            [rng.integers(-128, 128, (1, 3)).astype(np.int8)],
        )
    return observer.statistics() | {"since": since, "until": until}


JUNE = counted(1, "2026-06-01T00:00:00Z", "2026-06-30T00:00:00Z")
JULY = counted(2, "2026-06-30T00:00:00Z", "2026-07-31T00:00:00Z")


def test_what_was_added_can_be_taken_off_again():
    assert subtract(merge(JUNE, JULY), JUNE) == JULY
    assert subtract(JUNE, JUNE)["inferences"] == 0


def test_counts_that_are_no_beginning_are_refused():
    with pytest.raises(ValueError, match="not one after the other"):
        subtract(JULY, JUNE)
    with pytest.raises(ValueError, match="digest: d and e are not of the same release"):
        subtract(JUNE, counted(1, None, None, digest="e"))


@pytest.mark.parametrize("other", [None, 3, [], "x", {}, {"since": None, "until": None}])
def test_what_is_not_of_this_form_is_refused(other):
    for first, second in ((JUNE, other), (other, JUNE)):
        for operation in (subtract, merge):
            with pytest.raises(ValueError, match=r"of the same release|of this form"):
                operation(first, second)
