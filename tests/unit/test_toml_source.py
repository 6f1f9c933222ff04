"""Where a key is in a TOML file, however it is written."""

from __future__ import annotations

import pytest

from pipeline.toml_source import excerpt, locate_key

TEXT = """\
# sparsity = 1
seed = 3
[model]
path = "sparsity.keras"
[[compress]]
method = "weights"
sparsity = 75
[[compress]]
method = "cluster"
training = { epochs = 3, batch_size = -2 }
[data]
labels = [
    "a",  # epochs
    "b",
]
validate.shift.samples = 4
"""


@pytest.mark.parametrize(
    ("key", "line", "word"),
    [
        ("seed", 2, "seed"),
        ("model.path", 4, "path"),
        ("compress.0.sparsity", 7, "sparsity"),
        ("compress.1.training.batch_size", 10, "batch_size"),
        ("compress.1.training.samples", 10, "training"),
        ("data.labels.1", 12, "labels"),
        ("data.validate.shift.samples", 16, "samples"),
        ("model.weights", 3, "model"),
    ],
)
def test_a_key_is_found_in_any_spelling_else_the_table_that_it_belongs_to(key, line, word):
    found = locate_key(TEXT, key)

    assert found is not None
    assert found[0] == line
    assert TEXT.splitlines()[line - 1][found[1] - 1 :].startswith(word)
    assert found[2] == len(word)


def test_a_key_that_is_not_in_the_file_has_no_place():
    assert locate_key(TEXT, "release.version") is None


def test_an_excerpt_has_its_number_and_carets_below_the_key():
    assert excerpt(TEXT, 7, 1, 8) == "   7 | sparsity = 75\n     | ^^^^^^^^"
    assert excerpt("", 1, 1) == "   1 | \n     | ^"


def test_a_long_line_is_cut_around_the_place():
    line, carets = excerpt("x" * 300 + "key" + "y" * 300, 1, 301, 3).splitlines()

    assert len(line) < 120
    assert line[carets.index("^") :].startswith("key")
