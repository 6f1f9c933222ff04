"""Values and keys as TOML reads them again."""

from __future__ import annotations

import tomllib
from datetime import date

import pytest

from pipeline.toml_text import toml_key, toml_value


@pytest.mark.parametrize(
    "value",
    [
        'a "quoted" text\n\x7f ö',
        1,
        0.1,
        1e-9,
        True,
        date(2027, 6, 30),
        [],
        ["a", 1.5],
        {},
        {"a b": {"c": [1]}},
    ],
)
def test_a_value_is_read_as_it_was(value):
    assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}


@pytest.mark.parametrize("name", ["plain-name_1", "with space", "a.b", 'a"b', "größe"])
def test_a_key_is_read_as_it_was(name):
    assert tomllib.loads(f"{toml_key(name)} = 1") == {name: 1}
