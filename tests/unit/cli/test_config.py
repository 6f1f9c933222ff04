"""``pipeline config``: what it prints."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import ConfigError
from pipeline.setting_help import schema_text


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with settings to stand in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text(
        '[model]\npath = "m"\n[data]\nsource = "d"\n[gates]\nsize_ratio = 0.4\n'
    )


def run(*arguments):
    return CliRunner().invoke(cli, ["config", *arguments], catch_exceptions=False, standalone_mode=False)


def test_the_schema_is_printed_as_it_is_shipped():
    assert run("schema").output == schema_text()


def test_show_names_the_origin_of_each_setting():
    found = json.loads(run("show", "--json", "--set", "seed=3", "--task", "binary").output)

    assert found["gates.size_ratio"] == {"value": 0.4, "from": "pipeline.toml"}
    assert found["seed"] == {"value": 3, "from": "--set"}
    assert found["data.task"] == {"value": ["binary"], "from": "--task"}
    assert found["gates.download_bytes"] == {"value": None, "from": "default"}


def test_show_can_be_limited_to_a_section_and_to_what_is_changed():
    assert run("show", "gates", "--changed").output.split() == [
        *("[gates]", "size_ratio", "=", "0.4", "#", "pipeline.toml")
    ]
    with pytest.raises(ConfigError, match="did you mean 'gates'"):
        run("show", "gate")


def test_a_recipe_is_the_origin_of_its_steps():
    found = json.loads(run("show", "--json", "--recipe", "weights50-ptq8").output)

    assert found["compress.0.sparsity"] == {"value": 0.5, "from": "--recipe"}
    assert found["quantize.method"] == {"value": "ptq", "from": "--recipe"}


def test_explain_says_what_a_setting_is():
    shown = " ".join(run("explain", "gates.size_ratio").output.split())

    assert shown.startswith("key [gates] size_ratio meaning maximum size of the int8 file")
    assert shown.endswith("default 0.5 allowed number above 0")


def test_explain_tells_methods_with_other_defaults_apart():
    shown = run("explain", "compress.training.epochs").output

    assert shown.count("of method") == 3


def test_explain_without_a_key_lists_every_setting():
    found = json.loads(run("explain", "--json").output)

    assert {"key": "seed", "method": None}.items() <= found[-1].items()
    assert len(found) > 300
