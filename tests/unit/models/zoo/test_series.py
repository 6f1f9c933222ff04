"""Reading the archives' series, varying them, and the compact form that ships."""

from __future__ import annotations

import zipfile

import numpy as np

from models.zoo import series
from models.zoo.series import augment, read_ts, write

TEXT = """# a comment
@problemName Small
@classLabel true 1 2
@data
1.5,2,3:-1,-2,-3:2
4,5,6:-4,-5,-6:1
"""


def test_channels_become_the_last_axis():
    inputs, labels = read_ts(TEXT)

    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs[0], [[1.5, -1], [2, -2], [3, -3]])
    np.testing.assert_array_equal(inputs[1], [[4, -4], [5, -5], [6, -6]])
    assert list(labels) == [2, 1]


def test_the_compact_form_counts_classes_from_zero(tmp_path):
    with zipfile.ZipFile(tmp_path / "aeon.whl", "w") as wheel:
        for title in series.FILES.values():
            folder = f"aeon/datasets/data/{title.removesuffix('_eq')}"
            wheel.writestr(f"{folder}/{title}_TRAIN.ts", TEXT)
            wheel.writestr(f"{folder}/{title}_TEST.ts", TEXT)
    write(tmp_path / "aeon.whl", tmp_path)

    for name in series.FILES:
        with np.load(tmp_path / name) as arrays:
            assert arrays["x_train"].shape == arrays["x_test"].shape == (2, 3, 2)
            np.testing.assert_array_equal(arrays["y_test"], [1, 0])


def test_varied_series_are_stretched_and_noisy():
    varied = augment(np.ones((50, 6, 2), np.float32), np.random.default_rng(0))

    assert varied.dtype == np.float32
    assert 0.1 < varied.std() < 0.4
    assert abs(varied.mean() - 1) < 0.1


def test_the_shipped_series_have_the_splits_of_the_archives():
    with np.load(series.ITALY_POWER_DEMAND) as arrays:
        assert arrays["x_train"].shape == (67, 24, 1)
        assert arrays["x_test"].shape == (1029, 24, 1)
        assert set(arrays["y_test"]) == {0, 1}
    with np.load(series.JAPANESE_VOWELS) as arrays:
        assert arrays["x_train"].shape == (270, 25, 12)
        assert arrays["x_test"].shape == (370, 25, 12)
        assert set(arrays["y_test"]) == set(range(9))
