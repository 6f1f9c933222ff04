"""Settings of the working directory: ``pipeline.toml``, else ``[tool.pipeline]`` of ``pyproject.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.command_settings import FLAGS, build_settings
from pipeline.errors import ConfigError
from pipeline.events import listening
from pipeline.settings_file import find_settings_file

TABLE = '[tool.pipeline.project]\nname = "mine"\n[tool.pipeline]\nmodel.path = "m"\ndata.source = "d"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(config=None, **flags):
    return build_settings(config, dict.fromkeys(FLAGS) | {"epochs": None, "fast": False} | flags)


def test_a_table_of_pyproject_has_the_settings(folder):
    (folder / "pyproject.toml").write_text(TABLE)

    assert settings().project.name == "mine"


def test_a_pyproject_of_other_tools_is_none(folder):
    (folder / "pyproject.toml").write_text("[tool.ruff]\n")

    assert find_settings_file() is None
    assert settings().project.name == "fashion-resnet8"


@pytest.mark.parametrize("text", ["[tool", "tool = 1\n"])
def test_a_pyproject_that_cannot_be_read_is_none(folder, text):
    (folder / "pyproject.toml").write_text(text)

    assert find_settings_file() is None


def test_a_file_of_its_own_is_taken_and_the_table_is_said_to_be_left(folder):
    (folder / "pyproject.toml").write_text(TABLE)
    (folder / "pipeline.toml").write_text('[model]\npath = "m"\n[data]\nsource = "d"\n')
    heard = []

    with listening(heard.append):
        found = settings()

    assert found.project.name == "model"
    assert [record.event.text for record in heard] == [
        "pyproject.toml: [tool.pipeline] is not read, because pipeline.toml is there; keep one of them"
    ]


def test_a_table_that_is_named_has_paths_from_its_folder(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "pyproject.toml").write_text(TABLE)

    assert settings(Path("sub/pyproject.toml")).model.path == Path("sub/m")


def test_errors_name_the_table(folder):
    (folder / "pyproject.toml").write_text(f"{TABLE}gate.size = 1\n")

    with pytest.raises(ConfigError, match=r"^pyproject.toml:\d+: unknown key 'gate'"):
        settings()


def test_a_pyproject_without_the_table_is_refused_where_it_is_named(folder):
    (folder / "pyproject.toml").write_text("[tool.ruff]\n")

    with pytest.raises(ConfigError, match=r"pyproject.toml: it has no \[tool.pipeline\]"):
        settings(Path("pyproject.toml"))
