"""Time series of the UCR and UEA archives."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port

RNG = np.random.default_rng(0)
HEADER = (
    "# a comment\n% another\n@problemName A\n@timestamps false\n@univariate true\n@classLabel true 1 2 10\n"
)
LABELS = np.array(["10", "1", "2"] * 4)
MODEL = {"inputs": [Port("in", (5, 1))], "outputs": [Port("out", (3,), activation="softmax")]}


def write(path, series, labels=None, header=HEADER):
    """Write series: for each a list of dimensions."""
    lines = [":".join(",".join(map(str, dimension)) for dimension in one) for one in series]
    if labels is not None:
        lines = [f"{line}:{label}" for line, label in zip(lines, labels, strict=True)]
    path.write_text(header + "@data\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("named", ["folder", "train", "test"])
def test_a_pair_is_read_as_steps_and_channels(named, tmp_path, load):
    values = RNG.random((12, 2, 5)).round(3)
    train = write(tmp_path / "A_TRAIN.ts", values[:6], LABELS[:6])
    test = write(tmp_path / "A_TEST.ts", values[6:], LABELS[6:])
    source = {"folder": tmp_path, "train": train, "test": test}[named]

    loaded = load(source, {"inputs": [Port("in", (5, 2))], "outputs": MODEL["outputs"]})

    np.testing.assert_allclose(loaded.x, values.transpose(0, 2, 1), rtol=1e-6)
    assert loaded.x.dtype == np.float32
    assert loaded.data.class_names == ("1", "2", "10")  # by value, not by the alphabet
    np.testing.assert_array_equal(loaded.y, [2, 0, 1] * 4)
    np.testing.assert_array_equal(loaded.test, np.arange(6, 12))


@pytest.mark.parametrize(("open_to", "steps"), [(8, 8), (None, 5)])
def test_series_of_unequal_length_end_in_zeros(open_to, steps, tmp_path, load):
    values = [[RNG.random(3 + index % 3).round(3) + 1] for index in range(12)]
    path = write(tmp_path / "A.ts", values, LABELS)

    loaded = load(path, {"inputs": [Port("in", (open_to, 1))], "outputs": MODEL["outputs"]})

    assert loaded.x.shape == (12, steps, 1)
    for one, stored in zip(values, loaded.x[..., 0], strict=True):
        np.testing.assert_allclose(stored[: len(one[0])], one[0], rtol=1e-6)
        assert not stored[len(one[0]) :].any()
    assert loaded.data.notes == (f"series of 3 to 5 steps end in zeros, up to {steps} steps",)


def test_numbers_to_predict_are_a_regression(tmp_path, load):
    header = HEADER.replace("@classLabel true 1 2 10", "@targetLabel true")
    prices = RNG.random(12).round(3)
    path = write(tmp_path / "A.ts", RNG.random((12, 1, 5)), prices, header)

    loaded = load(path, {"inputs": MODEL["inputs"], "outputs": [Port("out", (1,), activation="linear")]})

    assert loaded.data.tasks == ("regression",)
    np.testing.assert_allclose(loaded.y[:, 0], prices, rtol=1e-6)


def test_series_without_labels_are_for_an_autoencoder(tmp_path, load):
    path = write(tmp_path / "A.ts", RNG.random((12, 1, 5)), None, HEADER.replace("true 1 2 10", "false"))

    loaded = load(path, {"inputs": MODEL["inputs"], "outputs": [Port("out", (5, 1), activation="linear")]})

    assert loaded.data.tasks == ("reconstruction",)


@pytest.mark.parametrize(("suffix", "delimiter"), [(".tsv", "\t"), (".txt", "  "), (".txt", ",")])
def test_tables_of_the_archive_have_the_label_first(suffix, delimiter, tmp_path, load):
    values = RNG.random((12, 5)).round(3)
    for part, rows in (("TRAIN", slice(0, 6)), ("TEST", slice(6, 12))):
        lines = [
            delimiter.join([f"{float(label):e}", *map(str, one)])
            for label, one in zip(LABELS[rows], values[rows], strict=True)
        ]
        (tmp_path / f"A_{part}{suffix}").write_text("\n".join(lines))

    loaded = load(tmp_path, MODEL)

    np.testing.assert_allclose(loaded.x[..., 0], values, rtol=1e-6)
    assert loaded.data.class_names == ("1", "2", "10")
    assert len(loaded.test) == 6


def test_a_table_that_is_filled_up_with_nan_has_shorter_series(tmp_path, load):
    (tmp_path / "A_TRAIN.tsv").write_text("1\t1\t2\t3\n2\t4\t5\tNaN\n3\t6\t7\t8\n1\t1\t2\tNaN\n")

    loaded = load(tmp_path, {"inputs": [Port("in", (3, 1))], "outputs": MODEL["outputs"]})

    np.testing.assert_array_equal(loaded.x[1, :, 0], [4, 5, 0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1,2,?,4,5:1\n", "row 1: a value is missing (?)"),
        ("1,2,NaN,4,5:1\n", "row 1: a value is missing (NaN)"),
        ("1,2,,4,5:1\n", "row 1: a value is missing (nothing)"),
        ("1,2,x,4,5:1\n", "row 1: 'x' is not a number"),
        ("1,2,3,4,inf:1\n", "row 1: 'inf' is not a number"),
        ("1,2,3,4,5\n", "row 1: no values, or no label behind the last ':'"),
        ("1,2,3,4,5:1,2,3,4,5:1\n", "row 1 has 2 dimensions, the first 1"),
        ("1,2,3,4,5,6:1\n", "series of up to 6 steps, the model takes 5"),
        ("1,2,3,4,5:7\n", "4 class names (1, 2, 7, 10) for 3 classes"),
    ],
)
def test_a_bad_row_is_named(content, reason, tmp_path, refusal):
    (tmp_path / "A.ts").write_text(HEADER + "@data\n1,2,3,4,6:2\n" + content)

    assert reason in refusal(tmp_path / "A.ts", MODEL)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no @data line"),
        ("1,2,3:1\n", "no @data line"),
        (
            HEADER.replace("@timestamps false", "@timestamps true") + "@data\n",
            "time stamps are not supported",
        ),
        (HEADER + "@data\n", "no samples"),
    ],
)
def test_a_file_that_is_none_is_refused(content, reason, tmp_path, refusal):
    (tmp_path / "A.ts").write_text(content)

    assert reason in refusal(tmp_path / "A.ts", MODEL)


def test_of_several_sets_that_of_the_folders_name_is_read(tmp_path, load, refusal):
    for name in ("A", "A_eq"):
        write(tmp_path / f"{name}_TRAIN.ts", RNG.random((12, 1, 5)), LABELS)
    assert "several files of time series" in refusal(tmp_path, MODEL)

    folder = tmp_path.rename(tmp_path.parent / "A")
    assert len(load(folder, MODEL).x) == 12
