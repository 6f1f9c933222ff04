"""Settings as the shipped schema describes them: for editors, and for ``pipeline config explain``."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from pipeline.errors import ConfigError
from pipeline.setting_help import allowed, find_settings, schema_text
from pipeline.setting_schema import meanings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "configuration.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
FILES = [
    *ROOT.glob("models/zoo/*.toml"),
    *ROOT.glob("benchmarks/*.toml"),
    *ROOT.glob("examples/**/pipeline.toml"),
]
NEEDED = {"model": {"path": "m.keras"}, "data": {"source": "d"}}


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(schema_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


@pytest.mark.parametrize("text", [*EXAMPLES, *(path.read_text() for path in FILES)])
def test_the_schema_accepts_the_settings_of_the_documents_and_of_the_zoo(validator, text):
    assert [error.message for error in validator.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"gate": {}},
        {"gates": {"size_ration": 0.5}},
        {"gates": {"size_ratio": 0}},
        {"gates": {"enabled": ["acuracy"]}},
        {"compress": [{"sparsity": 0.5}]},
        {"compress": [{"method": "weights", "clusters": 16}]},
        {"quantize": {"method": "ptq", "training": {"epochs": 1}}},
        {"preprocessing": {"photo": {"standardize": True}}},
        {"project": {"name": "my model"}},
        {"data": {"source": "d", "task": "clasification"}},
    ],
)
def test_the_schema_refuses_unknown_keys_and_wrong_values(validator, wrong):
    assert not validator.is_valid(NEEDED | wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"quantize": {"training": {"epochs": 1}}},
        {"data": {"source": "d", "labels": "one"}},
        {"preprocessing": {"photo": {"mean": [1.0]}}},
        {"release": {"public_key": ["a.pub", "b.pub"]}},
        {"compress": []},
    ],
)
def test_the_schema_accepts_what_the_settings_reader_accepts(validator, right):
    assert validator.is_valid(NEEDED | right)


def test_every_setting_has_a_meaning_from_the_reference_page():
    known = meanings(PAGE)
    assert known["gates.size_ratio"] == find_settings("gates.size_ratio")[0].meaning
    assert [each.key for each in find_settings("validate") if not each.meaning] == []
    assert [each.key for each in find_settings("compress") if not each.meaning] == []


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("gates.size_ratio", "[gates] size_ratio"),
        ("[gates] size_ratio", "[gates] size_ratio"),
        ("compress.0.sparsity", "[[compress]] sparsity"),
        ("compress.weights.sparsity", "[[compress]] sparsity"),
        ("validate.shift.samples", "[validate.shift] samples"),
        ("quantize.qat.training.epochs", "[quantize] training.epochs"),
        ("preprocessing.photo.scale", "[preprocessing.NAME] scale"),
        ("seed", "seed"),
    ],
)
def test_a_setting_is_found_as_set_or_as_the_file_writes_it(key, where):
    assert find_settings(key)[0].where == where


def test_a_step_has_its_own_default():
    assert [
        find_settings(f"compress.{method}.training.epochs")[0].default for method in ("weights", "distill")
    ] == [
        "4",
        "20",
    ]


def test_the_method_of_a_table_lists_all_methods():
    method = find_settings("quantize.method")[0]
    assert (method.default, method.allowed) == ('"auto"', '"auto", "qat", "ptq", "none"')


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("sparsity", "'compress.sparsity'"),
        ("gates.size_ration", "'gates.size_ratio'"),
        ("quantise.method", "'quantize.method'"),
        ("xyzzy", "list all"),
    ],
)
def test_an_unknown_setting_gets_a_suggestion(key, advice):
    with pytest.raises(ConfigError, match=re.escape(advice)):
        find_settings(key)


def test_limits_are_said_in_words():
    assert allowed({"type": "number", "exclusiveMinimum": 0, "maximum": 1}) == "number above 0 and at most 1"
    assert allowed({"type": "integer", "minimum": 1, "exclusiveMaximum": 2**31}) == "whole number at least 1"
