"""IDX files and their siblings."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from models.ports import Port

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 6, 5), np.uint8)
Y = (np.arange(30) % 3).astype(np.uint8)
MODEL = {"inputs": [Port("in", (6, 5, 1))], "outputs": [Port("out", (3,), activation="softmax")]}
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def write(path, array):
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def mnist(folder, suffix="", prefix=""):
    write(folder / f"{prefix}train-labels-idx1-ubyte{suffix}", Y[:20])
    write(folder / f"{prefix}t10k-images-idx3-ubyte{suffix}", X[20:])
    write(folder / f"{prefix}t10k-labels-idx1-ubyte{suffix}", Y[20:])
    return write(folder / f"{prefix}train-images-idx3-ubyte{suffix}", X[:20])


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("one", [False, True])
def test_a_folder_or_one_of_its_files_is_the_whole_set(suffix, one, tmp_path, load):
    path = mnist(tmp_path, suffix)

    loaded = load(path if one else tmp_path, MODEL)

    np.testing.assert_array_equal(loaded.x[..., 0], X)
    np.testing.assert_array_equal(loaded.y, Y)
    np.testing.assert_array_equal(loaded.test, np.arange(20, 30))


def test_a_dense_model_gets_vectors(tmp_path, load):
    mnist(tmp_path)

    loaded = load(tmp_path, {"inputs": [Port("in", (30,))], "outputs": MODEL["outputs"]})

    np.testing.assert_array_equal(loaded.x, X.reshape(30, 30))
    assert loaded.data.notes == ("samples of (6, 5) flattened to (30,)",)


@pytest.mark.parametrize("dtype", CODES)
def test_every_dtype_is_read(dtype, tmp_path, load):
    values = (RNG.random((12, 4)) * 100).astype(dtype)
    write(tmp_path / "images.idx2-ubyte", values)
    write(tmp_path / "labels.idx1-ubyte", Y[:12])

    loaded = load(tmp_path, {"inputs": [Port("in", (4,))], "outputs": MODEL["outputs"]})

    np.testing.assert_array_equal(loaded.x, values)
    assert loaded.x.dtype == dtype


def test_a_file_packed_and_not_is_read_once(tmp_path, load):
    mnist(tmp_path)
    mnist(tmp_path, ".gz")

    assert len(load(tmp_path, MODEL).x) == 30


def test_of_several_sets_one_has_to_be_named(tmp_path, load, refusal):
    path = mnist(tmp_path, prefix="emnist-letters-")
    mnist(tmp_path, prefix="emnist-digits-")

    assert "several sets of IDX files: 'emnist-digits', 'emnist-letters'" in refusal(tmp_path, MODEL)
    assert len(load(path, MODEL).x) == 30


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_no_truncation_gets_past_the_errors(suffix, tmp_path, refusal):
    path = mnist(tmp_path, suffix)
    whole = path.read_bytes()
    for end in range(0, len(whole), 41):
        path.write_bytes(whole[:end])
        refusal(tmp_path, MODEL)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "begins with nothing"),
        (b"text", "begins with 74657874"),
        (b"\0\0\x08\x03\0\0", "ends within its header"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "more than it holds"),
    ],
)
def test_a_file_that_is_none_is_refused(content, reason, tmp_path, refusal):
    mnist(tmp_path).write_bytes(content)

    assert reason in refusal(tmp_path, MODEL)


def test_images_and_labels_of_different_length_are_refused(tmp_path, refusal):
    mnist(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", Y[:4])

    assert "test inputs (10, 6, 5) and labels (4,) differ in length" in refusal(tmp_path, MODEL)
