"""Tables of numbers."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from models.ports import Port

RNG = np.random.default_rng(0)
X = RNG.random((40, 4)).round(3)
Y = np.arange(40) % 3
KINDS = np.array(["setosa", "other, kind", "virginica"])[Y]
MODEL = {"inputs": [Port("x", (4,))], "outputs": [Port("y", (3,), activation="softmax")]}


def rows(*columns, header=None, delimiter=","):
    def cell(value):
        text = str(value)
        return f'"{text}"' if delimiter in text else text

    lines = [delimiter.join(map(cell, row)) for row in zip(*columns, strict=True)]
    return "\n".join(([] if header is None else [delimiter.join(header)]) + lines) + "\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    "header", [None, ("a", "b", "c", "d", "kind"), ("0", "1", "2", "3", "label"), ("0", "1", "2", "3", "4")]
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("labels", [Y, KINDS])
def test_header_delimiter_and_labels_are_told(header, name, labels, table, load):
    path = table(rows(*X.T, labels, header=header, delimiter="\t" if name == "t.tsv" else ","), name)

    loaded = load(path, MODEL)

    np.testing.assert_allclose(loaded.x, X, rtol=1e-6)
    assert loaded.x.dtype == np.float32
    ids = Y if labels is Y else np.searchsorted(np.unique(KINDS), KINDS)
    np.testing.assert_array_equal(loaded.y, ids)
    assert loaded.data.class_names == (() if labels is Y else tuple(np.unique(KINDS)))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_another_delimiter_is_told_from_the_first_row(delimiter, table, load):
    path = table(rows(*X.T, Y, header=("a, b", "c", "d", "e", "label"), delimiter=delimiter))

    np.testing.assert_array_equal(load(path, MODEL).y, Y)


def test_a_line_without_end_is_refused(table, refusal):
    assert "a line of more than" in refusal(table("1," * (9 << 20)), MODEL)


def test_a_column_of_a_usual_name_is_the_target(table, load):
    path = table(rows(Y, *X.T, header=("Label", "a", "b", "c", "d")))

    np.testing.assert_array_equal(load(path, MODEL).y, Y)


def test_columns_are_chosen_and_ordered_by_name(table, load):
    path = table(rows(KINDS, *X.T, Y, header=("text", "a", "b", "c", "d", "out")))
    ports = {"inputs": [Port("x", (2,))], "outputs": MODEL["outputs"]}

    loaded = load(path, ports, target=("out",), columns=("d", "a"))

    np.testing.assert_allclose(loaded.x, X[:, [3, 0]], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y, Y)


def test_several_targets_and_inputs(table, load):
    ports = {
        "inputs": [Port("a", (3,)), Port("b", (1,))],
        "outputs": [Port("kind", (3,), activation="softmax"), Port("price", (1,), activation="linear")],
    }

    loaded = load(table(rows(*X.T, Y, X[:, 0])), ports)

    assert loaded.data.tasks == ("classification", "regression")
    np.testing.assert_allclose(loaded.inputs[1], X[:, 3:], rtol=1e-6)
    np.testing.assert_array_equal(loaded.targets[0], Y)


def test_the_last_columns_are_the_targets_of_a_regression(table, load):
    ports = {"inputs": [Port("x", (2,))], "outputs": [Port("y", (2,), activation="linear")]}

    loaded = load(table(rows(*X.T)), ports)

    np.testing.assert_allclose(loaded.y, X[:, 2:], rtol=1e-6)


def test_all_columns_are_inputs_of_an_autoencoder(table, load):
    ports = {"inputs": [Port("x", (4,))], "outputs": [Port("y", (4,), activation="linear")]}

    assert load(table(rows(*X.T)), ports).data.tasks == ("reconstruction",)
    labelled = load(table(rows(*X.T, (Y == 0) * 1)), ports, tasks=("anomaly",))
    assert labelled.data.tasks == ("anomaly",)


@pytest.mark.parametrize("shape", [(2, 2), (4, 1), (None, 2), (2, 2, 1)])
def test_columns_fill_the_shape_of_a_sequence(shape, table, load):
    loaded = load(table(rows(*X.T, Y)), {"inputs": [Port("x", shape)], "outputs": MODEL["outputs"]})

    assert len(loaded.x.shape) == 1 + len(shape)
    np.testing.assert_allclose(loaded.x.ravel(), X.ravel(), rtol=1e-6)


def test_indices_are_stored_as_integers(table, load):
    tokens = RNG.integers(0, 99, (40, 5))
    ports = {"inputs": [Port("x", (5,), "int32")], "outputs": MODEL["outputs"]}

    loaded = load(table(rows(*tokens.T, Y)), ports)

    np.testing.assert_array_equal(loaded.x, tokens)
    assert loaded.x.dtype == np.int32


def test_a_folder_holds_tables_to_train_and_to_test_on(table, load, tmp_path):
    header = ("a", "b", "c", "d", "label")
    table(rows(*X[:30].T, Y[:30], header=header), "train.csv")
    table(rows(*X[30:].T, Y[30:], header=header), "test.csv")

    loaded = load(tmp_path, MODEL)

    np.testing.assert_array_equal(loaded.test, np.arange(30, 40))
    np.testing.assert_array_equal(loaded.y, Y)


def test_row_numbers_that_pandas_writes_are_no_input(table, load):
    path = table(rows(np.arange(40), *X.T, Y, header=("", "a", "b", "c", "d", "label")))

    np.testing.assert_allclose(load(path, MODEL).x, X, rtol=1e-6)


def test_a_packed_table_with_a_byte_order_mark_and_blank_lines_is_read(tmp_path, load):
    text = "\ufeff" + rows(*X.T, Y, header=("a", "b", "c", "d", "label")).replace("\n", "\r\n\r\n")
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))

    np.testing.assert_array_equal(load(path, MODEL).y, Y)


GOOD = "a,b,c,d,label\n" + "1,2,3,4,0\n2,3,4,5,1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + "1,,3,4,2\n", "row 4, column 'b': missing; fill it"),
        (GOOD + "1,2,3,?,2\n", "row 4, column 'd': missing"),
        (GOOD + "1,2,nan,4,2\n", "row 4, column 'c': missing"),
        (GOOD + "1,2,3,4,\n", "row 4, column 'label': missing"),
        (GOOD + "1,inf,3,4,2\n", "row 4, column 'b': inf"),
        (GOOD + "1,red,3,4,2\n", "row 4, column 'b': text 'red'; write it as numbers"),
        (GOOD + "1,2,3,4\n", "row 4 has 4 cells, the first row 5"),
        (GOOD.replace("a,b,", "a,a,"), "two columns are named 'a'"),
        (GOOD.replace("c,d,", "c,"), "row 2 has 5 cells, the first row 4"),
        (
            "a,b,label\n1,2,0\n3,4,1\n",
            "2 numeric columns (a, b) besides the target 'label'; the model takes 4",
        ),
        (
            "1,2,3,4\n3,4,5,6\n",
            "3 numeric columns (0, 1, 2) besides the target '3'; the model takes 4 inputs",
        ),
        ("", "no rows"),
        ("a,b,c,d,label\n", "text 'a'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_place(text, reason, table, refusal):
    assert reason in refusal(table(text), MODEL)


def test_a_column_that_is_not_there_is_named(table, refusal):
    assert "no column 'price'; there are a, b, c, d, label" in refusal(table(GOOD), MODEL, target=("price",))
    assert "'a' is an input and the target" in refusal(table(GOOD), MODEL, target=("a",), columns=("a",))


def test_a_file_that_is_no_text_is_refused(tmp_path, refusal):
    (tmp_path / "t.csv").write_bytes(b"1,2,3,4,\xff\xfe\n")

    assert "not UTF-8 text" in refusal(tmp_path / "t.csv", MODEL)
    (tmp_path / "t.csv.gz").write_bytes(b"\x1f\x8b\x08 not gzip at all")
    assert "cannot be read" in refusal(tmp_path / "t.csv.gz", MODEL)


def test_the_names_of_the_input_columns_are_kept_in_the_models_order(table, load):
    path = table(rows(Y, *X.T, header=("label", " a", "b ", "c", "sepal length (cm)")))

    assert load(path, MODEL).data.columns == (("a", "b", "c", "sepal length (cm)"),)
    ordered = load(path, MODEL, columns=("c", "a", "b", "sepal length (cm)"))
    assert ordered.data.columns == (("c", "a", "b", "sepal length (cm)"),)


def test_each_input_has_the_names_of_its_own_columns(table, load):
    ports = {"inputs": [Port("width", (1,)), Port("height", (3,))], "outputs": MODEL["outputs"]}
    path = table(rows(*X.T, Y, header=("Height 2", "WIDTH", "Height 0", "Height 1", "label")))

    assert load(path, ports).data.columns == (("WIDTH",), ("Height 0", "Height 1", "Height 2"))


def test_a_table_without_a_header_has_no_names_of_columns(table, load):
    assert load(table(rows(*X.T, Y)), MODEL).data.columns == ()
