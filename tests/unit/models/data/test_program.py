"""Data from the user's function."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.training.tfmot import tensorflow

MODEL = {"inputs": [Port("in", (4,))], "outputs": [Port("out", (3,), activation="softmax")]}
HEAD = """
import numpy as np
X = np.arange(120, dtype=np.float32).reshape(30, 4)
Y = np.arange(30) % 3

class Batches:
    def __init__(self, start, stop): self.start, self.stop = start, stop
    def __len__(self): return (self.stop - self.start) // 5
    def __getitem__(self, index):
        rows = slice(self.start + index * 5, self.start + index * 5 + 5)
        return X[rows], Y[rows]

def samples(start, stop):
    for row in range(start, stop):
        yield X[row], Y[row]

"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A module beside the user, with one function."""

    def write(body, name="source_of_data", arguments="", head=HEAD):
        path = tmp_path / f"{name}.py"
        path.write_text(f"{head}def load({arguments}):\n    {body}\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        return path

    return write


SPLIT = {
    "four": "return X[:20], Y[:20], X[20:], Y[20:]",
    "pairs": "return (X[:20], Y[:20]), (X[20:], Y[20:])",
    "dict": "return {'x_train': X[:20], 'y_train': Y[:20], 'x_test': X[20:], 'y_test': Y[20:]}",
    "dict of sets": "return {'train': (X[:20], Y[:20]), 'validation': Batches(20, 30)}",
    "sequences": "return Batches(0, 20), Batches(20, 30)",
    "generators": "return samples(0, 20), samples(20, 30)",
    "lists": "return X[:20].tolist(), Y[:20].tolist(), X[20:].tolist(), Y[20:].tolist()",
}
WHOLE = {
    "pair": "return X, Y",
    "sequence": "return Batches(0, 30)",
    "generator": "return samples(0, 30)",
    "generator function": "yield from samples(0, 30)",
    "batches": "return ((X[i : i + 7], Y[i : i + 7]) for i in range(0, 30, 7))",
    "weights": "return ((X[i], Y[i], 1.0) for i in range(30))",
    "dicts": "return ({'in': X[i], 'out': Y[i]} for i in range(30))",
    "pair of dicts": "return (({'in': X[i]}, {'out': Y[i]}) for i in range(30))",
}


@pytest.mark.parametrize("form", SPLIT)
@pytest.mark.parametrize("prefix", ["source_of_data", "source_of_data.py"])
def test_a_function_may_return_a_split_of_any_usual_form(form, prefix, program, load):
    program(SPLIT[form])

    loaded = load(f"{prefix}:load", MODEL)

    np.testing.assert_array_equal(loaded.x, np.arange(120).reshape(30, 4))
    np.testing.assert_array_equal(loaded.y, np.arange(30) % 3)
    np.testing.assert_array_equal(loaded.test, np.arange(20, 30))


@pytest.mark.parametrize("form", WHOLE)
def test_a_function_may_return_samples_that_are_to_be_split(form, program, load):
    program(WHOLE[form])

    loaded = load("source_of_data:load", MODEL)

    np.testing.assert_array_equal(loaded.x, np.arange(120).reshape(30, 4))
    np.testing.assert_array_equal(loaded.y, np.arange(30) % 3)
    assert len(loaded.test) == 6
    assert loaded.data.notes == (("sample weights are not used",) if form == "weights" else ())


def test_a_function_with_a_split_is_called_for_each(program, load):
    program("return samples(0, 20) if split == 'train' else (X[20:], Y[20:])", arguments="split")

    np.testing.assert_array_equal(load("source_of_data:load", MODEL).test, np.arange(20, 30))


def test_several_inputs_and_outputs_are_named(program, load):
    ports = {
        "inputs": [Port("a", (4,)), Port("b", (1,))],
        "outputs": [Port("kind", (3,), activation="softmax"), Port("size", (1,), activation="linear")],
    }
    program(
        "return (({'b': X[i, :1], 'a': X[i]}, {'size': X[i, 1], 'kind': Y[i]}) for i in range(30))",
    )
    by_name = load("source_of_data:load", ports)
    program("return ((X, X[:, :1]), (Y, X[:, 1])), None", name="other")
    program("return [(X, X[:, :1]), (Y, X[:, 1])] if split == 'train' else None", "third", "split")

    in_order = load("third:load", ports)

    for loaded in (by_name, in_order):
        assert loaded.data.tasks == ("classification", "regression")
        np.testing.assert_array_equal(loaded.inputs[1], loaded.inputs[0][:, :1])


def test_inputs_alone_are_for_an_autoencoder(program, load):
    ports = {"inputs": [Port("in", (4,))], "outputs": [Port("out", (4,), activation="linear")]}
    for body in ("return X", "return iter(X)", "return ((x,) for x in X)", "return ((x, x) for x in X)"):
        program(body, name="alone")
        assert load("alone.py:load", ports).data.tasks == ("reconstruction",)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return 3", "it returned int; return (x, y)"),
        ("return 'text'", "it returned str"),
        ("return None", "it returned NoneType"),
        ("raise ValueError('no\\nsuch')", "it raised ValueError: no such"),
        ("return (1 / 0 for _ in range(3))", "it raised ZeroDivisionError"),
        ("return (X[:3], Y[: i]) for i in [3, 2])", "raised SyntaxError"),
        ("return iter([(X[:3], Y[:2])])", "training arrays (3, 4), (2,) differ in length"),
        ("return iter([])", "no samples"),
        ("return ((X[0, : 3 + i], 0) for i in range(2))", "samples of different shapes"),
        ("return ((X[i], Y[i]) if i else X[i] for i in range(3))", "some without targets"),
        ("return iter([(1, 2, 3, 4)])", "yield (x, y)"),
        ("return {'a': X}", "name them x_train"),
        ("return X, Y[:3]", "training inputs (30, 4) and labels (3,) differ in length"),
        ("return [[1, 2], [3], [4]], [0, 1, 2]", "it raised ValueError"),
        ("return np.array([{}] * 4), Y[:4]", "not numeric"),
        ("return X, np.array([{}] * 30)", "neither numbers nor text"),
    ],
)
def test_a_function_that_fails_is_named(body, reason, program, refusal):
    program(body)

    message = refusal("source_of_data.py:load", MODEL)

    assert reason in message


@pytest.mark.parametrize("source", ["absent_module:load", "absent.py:load"])
def test_a_module_that_is_not_there_is_named(source, program, refusal):
    program("return X, Y")

    assert "no module" in refusal(source, MODEL)
    assert "no 'other' in" in refusal("source_of_data.py:other", MODEL)


TF = HEAD + "import tensorflow as tf\nslices = tf.data.Dataset.from_tensor_slices\n"


@pytest.mark.parametrize(
    "body",
    [
        "return slices((X, Y))",
        "return slices((X, Y)).batch(7)",
        "return slices((X, Y)).batch(7).prefetch(2).cache()",
        "return slices((X, tf.one_hot(Y, 3))).batch(30)",
        "return slices(({'in': X}, {'out': Y})).batch(4)",
        "return tf.constant(X), tf.constant(Y)",
    ],
)
def test_a_tf_data_set_is_read(body, program, load):
    tensorflow()
    program(body, head=TF)

    loaded = load("source_of_data.py:load", MODEL)

    np.testing.assert_array_equal(loaded.x, np.arange(120).reshape(30, 4))
    np.testing.assert_array_equal(loaded.y, np.arange(30) % 3)


def test_a_tf_data_set_of_words_without_end_or_that_fails(program, load, refusal):
    tensorflow()
    program("return slices((X, tf.constant(['a', 'b', 'c'] * 10))).batch(8)", head=TF)
    assert load("source_of_data.py:load", MODEL).data.class_names == ("a", "b", "c")

    program("return slices((X, Y)).repeat()", head=TF)
    assert "has no end; leave out repeat()" in refusal("source_of_data.py:load", MODEL)

    program(
        "return slices((X, Y)).map(lambda x, y: (tf.debugging.check_numerics(x / 0.0, 'bad'), y))", head=TF
    )
    assert "it raised InvalidArgumentError" in refusal("source_of_data.py:load", MODEL)
