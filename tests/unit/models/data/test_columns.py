"""Which columns of a table are inputs, and which is the target."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import DataError
from models.ports import Port

RNG = np.random.default_rng(1)
N = 40
X = RNG.random((N, 4)).round(3)
BITS = np.arange(N) % 2
IDS = np.arange(N) % 3
WORDS = np.array(["rest", "walk", "fall"])[IDS]
SIGMOID = Port("out", (1,), activation="sigmoid")
SOFTMAX = Port("out", (3,), activation="softmax")
NUMBER = Port("out", (1,), activation="linear")


def vector(size, output=SIGMOID):
    return {"inputs": [Port("in", (size,))], "outputs": [output]}


def scalars(*names, output=SIGMOID):
    return {"inputs": [Port(name, (1,)) for name in names], "outputs": [output]}


@pytest.fixture
def table(tmp_path):
    def write(name="table.csv", **columns):
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


def test_columns_go_to_inputs_by_name_whatever_their_order(table, load):
    path = table(target=BITS, chol=X[:, 1], age=X[:, 0], bp=X[:, 2])

    loaded = load(path, scalars("age", "bp", "chol"))

    for index, column in enumerate((0, 2, 1)):
        np.testing.assert_allclose(loaded.inputs[index][:, 0], X[:, column], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y, BITS)
    assert loaded.data.findings[0] == "target: 'target'; inputs by name: age, bp, chol"


def test_names_match_without_case_and_punctuation_that_layer_names_cannot_have(table, load):
    path = table(**{"Blood Pressure": X[:, 1], "AGE": X[:, 0], "Outcome": BITS})

    loaded = load(path, scalars("age", "blood_pressure"))

    np.testing.assert_allclose(loaded.inputs[0][:, 0], X[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y, BITS)


def test_an_input_of_several_features_takes_its_numbered_columns(table, load):
    ports = {"inputs": [Port("acc", (2,)), Port("age", (1,))], "outputs": [SIGMOID]}
    path = table(acc_1=X[:, 1], age=X[:, 2], acc_0=X[:, 0], label=BITS)

    loaded = load(path, ports)

    np.testing.assert_allclose(loaded.inputs[0], X[:, :2], rtol=1e-6)
    np.testing.assert_allclose(loaded.inputs[1][:, 0], X[:, 2], rtol=1e-6)


def test_names_that_match_in_part_are_refused_with_both_lists(table, refusal, load):
    path = table(age=X[:, 0], weight=X[:, 1], label=BITS)

    message = refusal(path, scalars("age", "height"))

    assert (
        "inputs (age, height) and the columns (age, weight, label) have only some names in common" in message
    )
    given = load(path, scalars("age", "height"), columns=("age", "weight"))
    np.testing.assert_allclose(given.inputs[1][:, 0], X[:, 1], rtol=1e-6)


def test_inputs_of_other_names_take_columns_by_position_and_say_so(table, load):
    loaded = load(table(a=X[:, 0], b=X[:, 1], label=BITS), scalars("input_1", "input_2"))

    assert loaded.data.findings[0] == "target: 'label'; inputs by position: input_1 = a, input_2 = b"


def test_columns_that_are_named_for_one_input_each_still_go_by_name(table, load):
    path = table(b=X[:, 1], a=X[:, 0], label=BITS)

    loaded = load(path, scalars("a", "b"), columns=("b", "a"), target=("label",))

    np.testing.assert_allclose(loaded.inputs[0][:, 0], X[:, 0], rtol=1e-6)


def test_an_accelerometers_y_is_an_input(table, load):
    path = table(x=X[:, 0], y=X[:, 1], z=X[:, 2], fall=BITS)

    loaded = load(path, vector(3, Port("y", (1,), activation="sigmoid")))

    np.testing.assert_allclose(loaded.x, X[:, :3], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y, BITS)
    assert loaded.data.findings[0] == "target: 'fall'; inputs: x, y, z"


@pytest.mark.parametrize("name", ["y", "Y"])
def test_y_is_the_target_where_nothing_contradicts_it(name, table, load):
    np.testing.assert_array_equal(load(table(x=X[:, 0], **{name: BITS}), vector(1)).y, BITS)
    first = load(table(**{name: BITS}, a=X[:, 0], b=X[:, 1]), vector(2))
    np.testing.assert_array_equal(first.y, BITS)


@pytest.mark.parametrize(
    ("columns", "ports", "reason"),
    [
        ({"x": X[:, 0], "y": BITS, "kind": BITS}, vector(2), "'y' and 'kind' may both be the target"),
        ({"class": IDS, "a": X[:, 0], "won": BITS}, vector(2), "'class' and 'won' may both be the target"),
        ({"label": IDS, "class": IDS, "a": X[:, 0]}, vector(2, SOFTMAX), 'name it, such as target = "label"'),
        (
            {"kind": IDS, "a": X[:, 0], "b": X[:, 1]},
            vector(2, SOFTMAX),
            "the last column, 'b', cannot be the target of 'out', but kind can",
        ),
        (
            {"age": X[:, 0], "bp": X[:, 1], "left": BITS, "right": BITS},
            scalars("age", "bp"),
            'the target may be any of left, right; name it, such as target = "right"',
        ),
    ],
)
def test_a_target_that_may_be_another_column_is_refused(columns, ports, reason, table, refusal):
    assert reason in refusal(table(**columns), ports)


def test_text_and_identifiers_are_left_out_where_the_count_then_fits(table, load):
    path = table(Id=np.arange(N), who=WORDS, a=X[:, 0], b=X[:, 1], won=BITS)

    loaded = load(path, vector(2))

    np.testing.assert_allclose(loaded.x, X[:, :2], rtol=1e-6)
    assert loaded.data.findings[0] == "target: 'won'; inputs: a, b; not used: Id, who"


def test_the_only_text_is_the_classes_wherever_it_stands(table, load):
    loaded = load(table(activity=WORDS, a=X[:, 0], b=X[:, 1]), vector(2, SOFTMAX))

    assert loaded.data.class_names == ("fall", "rest", "walk")


def test_other_counts_than_the_models_are_refused_with_both(table, refusal):
    path = table(a=X[:, 0], b=X[:, 1], state=WORDS, won=BITS)

    message = refusal(path, vector(6))

    assert "the table has 2 numeric columns (a, b) and 'state' besides the target 'won'" in message
    assert "the model takes 6 inputs; encode text as numbers" in message


def test_a_text_column_among_as_many_columns_as_inputs_is_refused_with_the_counts(table, refusal):
    path = table(a=X[:, 0], state=WORDS, won=BITS)

    message = refusal(path, vector(2))

    assert (
        "the table has 1 numeric column (a) and 'state' besides the target 'won'; the model takes 2"
        in message
    )
    assert "encode text as numbers, or name the inputs in [data] columns" in message


def test_text_in_a_column_that_was_named_as_an_input_is_refused_with_its_place(table, refusal):
    path = table(a=X[:, 0], state=WORDS, won=BITS)

    message = refusal(path, vector(2), columns=("a", "state"))

    assert "column 'state': text 'rest'; write it as numbers" in message


def test_more_classes_than_the_models_are_counted(table, refusal):
    path = table(a=X[:, 0], b=X[:, 1], label=np.arange(N) % 9)

    message = refusal(path, vector(2, Port("out", (4,), activation="softmax")))

    assert "the data has 9 classes (0..8), the model has 4 (0..3): 4 at index 4; use the data" in message


def test_a_test_table_with_its_columns_in_another_order_is_read_by_name(table, load, refusal, tmp_path):
    table("train.csv", a=X[:30, 0], b=X[:30, 1], label=BITS[:30])
    table("test.csv", label=BITS[30:], b=X[30:, 1], a=X[30:, 0])

    loaded = load(tmp_path, vector(2))

    np.testing.assert_allclose(loaded.x, X[:, :2], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y, BITS)
    table("test.csv", a=X[30:, 0], b=X[30:, 1])
    assert "test.csv: its first row is not that of train.csv: no column 'label'" in refusal(
        tmp_path, vector(2)
    )


def test_a_regression_takes_the_last_column_and_prints_it(table, load):
    loaded = load(table(a=X[:, 0], b=X[:, 1], price=X[:, 2]), vector(2, NUMBER))

    assert loaded.data.findings == (
        "target: 'price'; inputs: a, b",
        f"task: regression (one linear output, numbers from {X[:, 2].min():g} to {X[:, 2].max():g})",
    )


def test_the_column_of_groups_is_neither_input_nor_target(table, load):
    groups = np.repeat(["anna", "ben", "cleo", "dan"], 10)

    loaded = load(table(a=X[:, 0], b=X[:, 1], won=BITS, who=groups), vector(2), group="who")

    assert loaded.data.findings[0] == "target: 'won'; inputs: a, b; not used: who"
    assert not set(groups[loaded.train]) & set(groups[loaded.test])


def test_the_only_text_column_is_the_target_beside_a_column_of_identifiers(table, load):
    path = table(id=np.arange(N), diagnosis=np.where(BITS, "M", "B"), a=X[:, 0], b=X[:, 1], c=X[:, 2])

    loaded = load(path, vector(3))

    assert loaded.data.findings[0] == "target: 'diagnosis'; inputs: a, b, c; not used: id"
    np.testing.assert_array_equal(loaded.y, BITS)


@pytest.mark.parametrize("mark", [" ", "'", "\u2019"])
def test_marks_between_thousands_of_the_target_are_named(table, load, mark):
    path = table(a=X[:, 0], b=X[:, 1], price=[f"1{mark}{204 + row}" for row in range(N)])

    with pytest.raises(DataError, match="is not a number; write numbers without marks between thousands"):
        load(path, vector(2, NUMBER))
