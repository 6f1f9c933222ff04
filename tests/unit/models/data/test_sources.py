"""What every source has in common: what is refused, what is mended, and the fingerprint."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from models.data.options import DataOptions
from models.data.sources import fingerprint
from models.ports import Port

RNG = np.random.default_rng(0)
X = RNG.random((30, 3, 2)).astype(np.float32)
Y = np.arange(30) % 3
OUTPUTS = [Port("y", (3,), activation="softmax")]
MODEL = {"inputs": [Port("x", (3, 2))], "outputs": OUTPUTS}


def changed(index, value):
    inputs = X.copy()
    inputs[index] = value
    return inputs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x_train": changed((7, 1, 0), np.nan)}, "training inputs of 'x': nan at index (7, 1, 0)"),
        ({"x_test": changed((2, 0, 1), np.inf)}, "test inputs of 'x': inf at index (2, 0, 1)"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "training inputs: no samples"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "test inputs: no samples"),
        ({"x_train": np.ones_like(X)}, "training inputs of 'x': every value is 1.0"),
        ({"x_train": X[..., :1]}, "samples of shape (3, 1), the model takes (3, 2)"),
        ({"x_train": X.astype(complex)}, "not numeric"),
        ({"x_train": X.astype("U4")}, "not numeric"),
        ({"x_train": (X * 100).astype(np.uint8)}, "test inputs of 'x': float32 after uint8"),
        (
            {"y_train": Y + 1},
            "training labels: the data has 4 classes (0..3), the model has 3 (0..2): 3 at index 2; use the",
        ),
        (
            {"y_test": Y - 1},
            "test labels: the data has 4 classes (-1..2), the model has 3 (0..2): -1 at index 0",
        ),
        ({"y_test": np.array(["a", "b", "c"])[Y]}, "text and numbers"),
    ],
)
def test_bad_data_are_refused_with_the_place(change, reason, npz, refusal):
    good = {"x_train": X, "y_train": Y, "x_test": X + 1, "y_test": Y}

    path = npz(**(good | change))
    message = refusal(path, MODEL)

    assert reason in message
    assert message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("stored", "wanted"), [((3, 2), (3, 2, 1)), ((3, 2, 1), (3, 2)), ((3, 2), (None, 2)), ((3, 2), (6,))]
)
def test_axes_of_one_are_mended_and_vectors_flattened(stored, wanted, npz, load):
    loaded = load(npz(x=X.reshape(30, *stored), y=Y), {"inputs": [Port("x", wanted)], "outputs": OUTPUTS})

    assert len(loaded.x.shape) == 1 + len(wanted)
    np.testing.assert_array_equal(loaded.x.ravel(), X.ravel())
    assert loaded.data.notes == (("samples of (3, 2) flattened to (6,)",) if wanted == (6,) else ())


def test_an_input_of_indices_is_stored_as_integers(npz, load, refusal):
    ports = {"inputs": [Port("x", (6,), "int32")], "outputs": OUTPUTS}
    words = RNG.integers(0, 1000, (30, 6))

    loaded = load(npz(x=words.astype(np.float32), y=Y), ports)

    np.testing.assert_array_equal(loaded.x, words)
    assert loaded.x.dtype == np.int32
    assert "integers from 0" in refusal(npz(x=words + 0.5, y=Y), ports)
    assert "integers from 0" in refusal(npz(x=words - 1000, y=Y), ports)


def test_raw_values_keep_their_dtype(npz, load):
    for dtype in (np.uint8, np.int16, np.float16, np.float64):
        assert load(npz(x=(X * 100).astype(dtype), y=Y), MODEL).x.dtype == dtype


@pytest.mark.parametrize("name", ["absent.npz", "notes.docx"])
def test_a_source_that_is_missing_or_unknown_says_what_is_understood(name, tmp_path, refusal):
    path = tmp_path / name
    if name == "notes.docx":
        path.write_text("text")

    assert "give .npz, .npy, .csv" in refusal(path, MODEL)


def test_a_fingerprint_follows_content_siblings_and_options(npz, folder, tmp_path):
    root, archive = folder(), npz(x=X, y=Y)
    series = tmp_path / "A_TRAIN.ts"
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"A_{part}.ts").write_text("@classLabel false\n@data\n1,2,3\n")
    program = tmp_path / "source.py"
    program.write_text("def load(): ...\n")
    sources = [archive, root, series, f"{program}:load"]
    before = [fingerprint(source) for source in sources]
    assert before == [fingerprint(source) for source in sources]
    assert fingerprint(root) != fingerprint(root, DataOptions(interpolation="box"))

    npz(x=X, y=Y[::-1])
    (root / "cat" / "0.png").rename(root / "cat" / "00.png")
    (tmp_path / "A_TEST.ts").write_text("@classLabel false\n@data\n1,2,4\n")
    program.write_text("def load(): return 1\n")

    assert all(old != fingerprint(source) for old, source in zip(before, sources, strict=True))


def test_a_source_larger_than_the_memory_allowed_is_read(tmp_path):
    """300 MB in a process whose heap may have 100 MB more than it begins with."""
    rows, size = 3000, (100_000,)
    with (tmp_path / "x.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *size)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(rows):
            file.write(RNG.bytes(size[0]))
    np.save(tmp_path / "y.npy", np.arange(rows) % 3)
    (tmp_path / "out").mkdir()
    code = f"""
        import resource
        from pathlib import Path
        from models.data.sources import load_data
        from models.ports import Port
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
        folder = Path({str(tmp_path)!r})
        outputs = [Port("y", (3,), activation="softmax")]
        data = load_data(folder, folder / "out", inputs=[Port("x", {size})], outputs=outputs)
        print(data.train_samples, data.test_samples)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )

    assert run.stdout.split() == ["2400", "600"], run.stderr
    stored = np.load(tmp_path / "out" / "input_0.npy", mmap_mode="r")
    assert stored.shape == (rows, *size)


def test_a_packed_file_that_unpacks_to_too_much_is_refused(tmp_path, refusal):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write((b"1,2,0" + b" " * 1_000_000 + b"\n") * 100)

    assert "refused as too large" in refusal(path, {"inputs": [Port("x", (2,))], "outputs": OUTPUTS})


def test_names_from_the_data_cannot_write_to_the_terminal(npz, refusal):
    words = np.array(["a\nb", "c\x1b[31m", "d\u202e"])[Y]
    ports = {"inputs": MODEL["inputs"], "outputs": [Port("y", (9,), activation="softmax")]}

    message = refusal(npz(x=X, y=words), ports)

    assert "(a b, c [31m, d )" in message
    assert message.isprintable()
