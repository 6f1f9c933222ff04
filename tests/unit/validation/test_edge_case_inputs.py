"""Inputs that no sample is like, for each kind of input."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.runtimes.session import ModelDetails, Tensor
from pipeline.validation.edge_case_inputs import make_edge_cases


def made(array: np.ndarray, scale: float | None) -> dict[str, list[np.ndarray]]:
    tensor = Tensor("x", (1, *array.shape[1:]), array.dtype.name, scale, 0 if scale else None)
    return make_edge_cases([array], ModelDetails((tensor,), (), (), 0, 0.0))


@pytest.mark.parametrize(
    ("array", "scale"),
    [
        (np.arange(12, dtype=np.int8).reshape(3, 4), 0.1),
        (np.arange(12, dtype=np.float32).reshape(3, 4), None),
        (np.arange(12, dtype=np.int32).reshape(3, 4), None),
    ],
    ids=["int8", "float", "indices"],
)
def test_every_kind_has_the_shape_and_dtype_that_the_model_takes(array: np.ndarray, scale: float | None):
    for [found] in made(array, scale).values():
        assert found.shape == (4, 4)
        assert found.dtype == array.dtype


def test_quantized_inputs_reach_the_ends_of_their_dtype():
    kinds = made(np.zeros((1, 4), np.int8), 0.1)
    assert set(kinds["saturated"][0].ravel()) == {-128, 127}
    assert kinds["alternating"][0][0].tolist() == [127, -128, 127, -128]


def test_indices_stay_among_those_that_samples_have():
    kinds = made(np.array([[3, 9]], np.int32), None)
    assert all(3 <= value <= 9 for [found] in kinds.values() for value in found.ravel())


def test_floats_alone_are_given_what_is_no_number():
    assert np.isnan(made(np.ones((1, 4), np.float32), None)["NaN"][0]).all()
    assert "NaN" not in made(np.ones((1, 4), np.int8), 0.1)
