"""Reading Fashion-MNIST, varying it, and the compact form that ships."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from models.zoo.fashion_mnist import (
    COMPACT,
    LABELS,
    augment,
    first_of_each_class,
    mirror,
    read_idx,
    read_split,
    scale,
    write,
)


def idx(path, array):
    """Write an IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def data(tmp_path):
    """A folder like Debian's package, with fifty and twenty images."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 50), ("t10k", 20)):
        idx(
            tmp_path / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        )
        idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path


def test_idx_files_are_read_in_their_own_shape(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    idx(tmp_path / "x.gz", array)

    np.testing.assert_array_equal(read_idx(tmp_path / "x.gz"), array)


def test_images_get_a_channel(data):
    images, labels = read_split(data, "t10k")

    assert images.shape == (20, 28, 28, 1)
    assert labels.shape == (20,)


def test_augmented_images_are_the_same_pixels_elsewhere_in_0_to_1(data):
    images = np.zeros((200, 28, 28, 1), np.uint8)
    images[:, 13, 10] = 255
    shifted = augment(images, np.random.default_rng(0))
    _, rows, columns, _ = np.nonzero(shifted)

    assert shifted.dtype == np.float32
    assert (shifted.sum(axis=(1, 2, 3)) == 1).all()
    assert set(rows) == set(range(11, 16))
    assert set(columns) == {*range(8, 13), *range(15, 20)}


def test_half_of_the_images_are_mirrored_and_the_given_ones_stay_as_they_are():
    images = np.zeros((200, 28, 28, 1), np.uint8)
    images[:, 13, 10] = 255
    mirrored = mirror(images, np.random.default_rng(0))
    columns = np.nonzero(mirrored)[2]

    assert set(columns) == {10, 17}
    assert 70 < (columns == 17).sum() < 130
    assert (images[:, 13, 10] == 255).all()


def test_the_compact_data_set_is_the_first_of_each_class_and_the_whole_test_set(data, tmp_path):
    write(data, tmp_path / "compact.npz")
    again = tmp_path / "again.npz"
    write(data, again)

    with np.load(tmp_path / "compact.npz") as arrays:
        assert arrays["x_train"].shape == (50, 28, 28, 1)
        assert len(arrays["x_test"]) == len(arrays["y_test"]) == 20
    assert again.read_bytes() == (tmp_path / "compact.npz").read_bytes()


def test_the_first_of_each_class_keep_the_order_of_the_data_set():
    labels = np.array([1, 0, 1, 1, 0, 0], np.uint8)

    np.testing.assert_array_equal(first_of_each_class(labels, 2), [0, 1, 2, 4])


def test_the_shipped_data_hold_the_whole_test_set_and_every_class():
    assert COMPACT.stat().st_size < 8_000_000
    with np.load(COMPACT) as arrays:
        assert arrays["x_test"].shape == (10_000, 28, 28, 1)
        assert set(np.unique(arrays["y_train"])) == set(range(len(LABELS)))


def test_scaled_images_are_in_0_to_1():
    np.testing.assert_array_equal(scale(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1]))
