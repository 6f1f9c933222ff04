"""``pipeline help`` and ``pipeline completion``: what an installation without the docs folder has."""

from __future__ import annotations

from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def test_topics_are_listed_with_their_titles(pipeline):
    lines = [line.split() for line in pipeline("help").out.splitlines()]

    assert lines[0] == ["Topics:"]
    assert ["data", "Data"] in lines
    assert ["gates", "Gates"] in lines


def test_a_topic_is_a_page_of_the_reference_as_it_is_off_a_terminal(pipeline):
    assert pipeline("help", "data").out == (REFERENCE / "data.md").read_text()


def test_the_help_of_a_command_is_the_same_as_with_its_option(pipeline):
    assert pipeline("help", "verify").out == pipeline("verify", "--help").out


def test_an_unknown_topic_comes_with_the_nearest_one(pipeline):
    ended = pipeline("help", "datta")

    assert (ended.code, ended.message) == (2, "pipeline: no topic 'datta'; did you mean 'data'?")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_the_command_for_completions(shell, pipeline):
    assert f"_PIPELINE_COMPLETE={shell}_complete" in pipeline("completion", shell).out


@pytest.mark.parametrize(
    ("line", "at", "offered"),
    [
        ("pipeline de", 1, "deploy"),
        ("pipeline build --mod", 2, "--model"),
        ("pipeline device pro", 2, "provision"),
    ],
)
def test_commands_and_options_are_completed(line, at, offered, pipeline, monkeypatch):
    monkeypatch.setenv("_PIPELINE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(at))

    assert f"plain,{offered}\n" in pipeline().out
