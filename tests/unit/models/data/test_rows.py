"""Files that rows are appended to and read from a piece at a time."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.rows import RowWriter, rows_of_archive, rows_of_array, rows_of_file, together

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", ">f8", "f2"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0,)])
def test_appended_rows_are_an_ordinary_npy_file(dtype, shape, tmp_path):
    array = (RNG.random((10, *shape)) * 100).astype(dtype)
    writer = RowWriter(tmp_path / "a.npy")
    for start in (0, 4, 9):
        writer.append(array[start : {0: 4, 4: 9, 9: 10}[start]])
    writer.close()
    writer.close()

    for mode in (None, "r"):
        found = np.load(tmp_path / "a.npy", mmap_mode=mode if array.size else None)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def test_rows_of_another_shape_are_an_error_of_the_caller(tmp_path):
    writer = RowWriter(tmp_path / "a.npy")
    writer.append(np.zeros((2, 3)))

    with pytest.raises(ValueError, match="float32"):
        writer.append(np.zeros((2, 3), np.float32))
    writer.close()


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr("models.data.rows._SPARE_BYTES", 1 << 60)

    with pytest.raises(OSError, match="No space left on device"):
        RowWriter(tmp_path / "a.npy").append(np.zeros(3))


@pytest.mark.parametrize("order", ["C", "F"])
def test_files_archives_and_arrays_are_read_alike(order, tmp_path):
    array = np.asarray(RNG.random((11, 3, 2)), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    sources = [
        rows_of_array(array),
        rows_of_file(tmp_path / "a.npy"),
        rows_of_archive(tmp_path / "a.npz")["a"],
    ]

    for rows in sources:
        pieces = list(rows.pieces(4))
        assert [len(piece) for piece in pieces] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate(pieces), array)
        np.testing.assert_array_equal(np.concatenate(list(rows.pieces(4))), array)


def test_arrays_side_by_side_have_pieces_of_one_length():
    arrays = [rows_of_array(np.zeros((9000, 1000))), rows_of_array(np.arange(9000))]

    pieces = list(together(arrays))

    assert len(pieces) > 10
    assert all(len(first) == len(second) for first, second in pieces)
    np.testing.assert_array_equal(np.concatenate([second for _, second in pieces]), np.arange(9000))
