"""How tables are written: encodings, delimiters, decimal marks, numbers and missing cells."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.dialect import parse_number
from models.ports import Port

RNG = np.random.default_rng(2)
X = RNG.uniform(-9, 9, (30, 3)).round(1)
Y = (X.sum(axis=1) * 3).round(1)
NAMES = ("Temperatur[°C]", "Luftdruck", "Wind", "CO2[mg/m³]")
MODEL = {"inputs": [Port("in", (3,))], "outputs": [Port("out", (1,), activation="linear")]}
CLASSES = {"inputs": [Port("in", (1,))], "outputs": [Port("out", (2,), activation="softmax")]}


def text(delimiter=";", decimal=".", names=NAMES, end="\n"):
    rows = [
        delimiter.join(str(cell).replace(".", decimal) for cell in (*row, y))
        for row, y in zip(X, Y, strict=True)
    ]
    return end.join(([] if names is None else [delimiter.join(names)]) + rows) + end


@pytest.fixture
def table(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("names", [NAMES, None])
def test_a_german_loggers_table_is_read_in_any_encoding(encoding, names, table, load):
    path = table(text(decimal=",", names=names, end="\r\n").encode(encoding))

    loaded = load(path, MODEL)

    np.testing.assert_allclose(loaded.x, X, rtol=1e-6)
    np.testing.assert_allclose(loaded.y[:, 0], Y, rtol=1e-6)
    assert "table.csv: decimal comma" in loaded.data.findings
    assert (names is None) or "Temperatur[°C]" in loaded.data.findings[0]
    one_byte = names is not None and encoding in ("latin-1", "cp1252")
    assert ("table.csv is not UTF-8 and was read as Windows-1252 (Latin-1)" in loaded.data.notes) == one_byte


@pytest.mark.parametrize("delimiter", ["|", " ", "   ", "\t", ";", ","])
@pytest.mark.parametrize("name", ["table.csv", "table.txt", "table.data", "table.dat"])
def test_the_delimiter_is_told_from_the_first_rows(delimiter, name, table, load):
    path = table(text(delimiter, names=("a", "b", "c", "d")), name)

    np.testing.assert_allclose(load(path, MODEL).x, X, rtol=1e-6)


def test_columns_aligned_with_blanks_and_without_a_header_are_read(table, load):
    lines = [" ".join(f"{cell:9.3f}" for cell in (*row, y)) + " " for row, y in zip(X, Y, strict=True)]

    np.testing.assert_allclose(load(table("\n".join(lines), "uci.data"), MODEL).x, X, rtol=1e-6)


def test_quoted_cells_may_hold_the_delimiter_and_line_ends(table, load):
    lines = ['"a, b","c","d ""x""","y"'] + [
        ",".join(f'"{cell}"' for cell in (*row, y)) for row, y in zip(X, Y, strict=True)
    ]

    assert "a, b" in load(table("\n".join(lines)), MODEL).data.findings[0]


def test_a_decimal_mark_may_be_given(table, load, refusal):
    mixed = text(decimal=",", names=("01.5", "b", "c", "d")).replace("01.5", "a") + "1.5;2,5;3,5;4,5\n"

    assert "row 32, column 'a': '1.5' has a decimal point" in refusal(table(mixed), MODEL, decimal=",")
    path = table("a;b\n" + "1,500;0\n2,250;1\n" * 9)
    assert "may have a decimal comma or a separator of thousands" in refusal(path, CLASSES)
    np.testing.assert_allclose(load(path, CLASSES, decimal=",").x[:2, 0], [1.5, 2.25])


@pytest.mark.parametrize(
    "cell", ["1_1", "nan", "inf", "-Infinity", "0x1F", "1,5", "1.5.2", "", "٣", "1d5", "--1"]
)
def test_what_is_no_decimal_number_is_none(cell):
    assert parse_number(cell) is None


@pytest.mark.parametrize(("cell", "value"), [(" 1.5 ", 1.5), ("+.5", 0.5), ("-2.", -2.0), ("1e-3", 0.001)])
def test_decimal_numbers_are_read(cell, value):
    assert parse_number(cell) == value


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1_1", "text '1_1'"),
        ("٣", "text '٣'"),
        ("1e999", "1e999 is too large"),
        ("1,5", "'1,5' has a decimal"),
    ],
)
def test_a_cell_that_python_alone_takes_for_a_number_is_refused(cell, reason, table, refusal):
    path = table("a\tb\n" + "1\t0\n2\t1\n3.5\t0\n" * 40 + f"{cell}\t1\n")

    assert f"row 122, column 'a': {reason}" in refusal(path, CLASSES)


@pytest.mark.parametrize("word", ["none", "NA", "null", "-", "?"])
def test_a_class_may_be_called_like_a_missing_value(word, table, load, refusal):
    path = table("a,class\n" + "".join(f"{index},{word if index % 2 else 'mild'}\n" for index in range(30)))

    loaded = load(path, CLASSES)

    assert set(loaded.data.class_names) == {word, "mild"}
    assert "row 3, column 'class': missing" in refusal(path, CLASSES, missing=(word,))


def test_a_class_that_comes_first_alone_is_found_in_the_whole_column(table, load):
    path = table(
        "a,class\n" + "".join(f"{index},{'none' if index < 150 else 'mild'}\n" for index in range(300))
    )

    assert load(path, CLASSES).data.class_names == ("mild", "none")


@pytest.mark.parametrize("word", ["NA", "", "?", "none"])
def test_a_missing_number_is_refused_as_input_and_as_target(word, table, refusal):
    assert "row 3, column 'a': missing" in refusal(table(f"a,b\n1,0\n{word},1\n"), CLASSES)
    assert "row 4, column 'b': missing" in refusal(table(f"a,b\n1,0\n2,1\n3,{word}\n"), CLASSES)


def test_booleans_among_the_inputs_are_one_and_zero(table, load):
    path = table("a,b,label\n" + "True,1,0\nFalse,2,1\nTrue,3,1\n" * 5)
    ports = {"inputs": [Port("in", (2,))], "outputs": CLASSES["outputs"]}

    np.testing.assert_array_equal(load(path, ports).x[:3, 0], [1, 0, 1])


@pytest.mark.parametrize("content", [b"a,b\n1,\x00\n", b"a,b\n\x81,1\n", b"\x00\x01\x02\x03"])
def test_what_is_no_text_is_refused(content, table, refusal):
    assert "not UTF-8 text" in refusal(table(content), CLASSES)


def test_tables_of_a_folder_are_told_by_a_word_in_their_names(table, load, tmp_path):
    table(text(",", names=("a", "b", "c", "d")), "weather_train.csv")
    table(text(",", names=("a", "b", "c", "d")).replace(".", ".0"), "weather_test.csv")

    assert load(tmp_path, MODEL).data.test_samples == 30
