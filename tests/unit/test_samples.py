"""Samples on disk: which rows, in which order, and how many at a time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.samples import MAX_CHUNK_SAMPLES, Samples

RAW = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1)).astype(np.uint8)


@pytest.fixture
def samples(tmp_path, store_dataset):
    data = store_dataset(tmp_path, RAW, np.arange(100) % 3, test=30)
    return Samples.of(data, "train", (Transform(scale=(1 / 255,)),))


def test_a_split_has_its_own_rows_and_targets(samples):
    assert len(samples) == 70
    np.testing.assert_array_equal(samples.raw(0), RAW[:70])
    np.testing.assert_array_equal(samples.target(0), np.arange(70) % 3)


def test_a_choice_is_seeded_and_in_the_order_of_the_data(samples):
    chosen, again, other = (samples.choose(64, seed) for seed in (1, 1, 2))

    assert len(set(chosen.rows)) == 64
    assert (np.diff(chosen.rows) > 0).all()
    np.testing.assert_array_equal(chosen.rows, again.rows)
    assert not np.array_equal(chosen.rows, other.rows)


def test_the_models_inputs_are_preprocessed_in_any_order(samples):
    [inputs] = samples.take(np.array([5, 2, 9])).model_inputs()

    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs, RAW[[5, 2, 9]] / 255, rtol=1e-6)


def test_chunks_are_bounded_and_hold_every_sample(tmp_path, store_dataset):
    data = store_dataset(tmp_path, np.zeros((MAX_CHUNK_SAMPLES + 3, 1), np.uint8))
    chunks = list(Samples.of(data, "train", (Transform(),)).chunks())

    assert [len(chunk) for chunk in chunks] == [MAX_CHUNK_SAMPLES, 3]


def test_what_is_read_is_no_longer_mapped(samples):
    """A mapped file counts as memory of the process."""
    values = samples.raw(0)

    assert not isinstance(values, np.memmap)
    assert values.base is None or not isinstance(values.base, np.memmap)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float32])
def test_raw_values_become_float32_input(dtype):
    given = np.array([[0, 51, 255]], dtype)
    got = Transform(scale=(1 / 127.5,), offset=(-1.0,)).apply(given)

    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[-1, -0.6, 1]], atol=1e-6)


def test_channels_are_turned_round_before_each_is_scaled():
    got = Transform(scale=(1.0, 2.0, 3.0), offset=(0.0, 0.0, 1.0), reverse_channels=True).apply(
        np.array([[10, 20, 30]], np.uint8)
    )

    np.testing.assert_array_equal(got, [[30, 40, 31]])


def test_indices_go_in_as_they_are():
    words = np.array([[3, 700]], np.int32)

    assert Transform(indices=True).apply(words) is words
