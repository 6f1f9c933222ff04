"""The command's one boundary: an error is one line and an exit code."""

from __future__ import annotations

import click
import pytest

import pipeline.cli.build as build_command
from models.errors import DataError, ModelError
from pipeline.errors import (
    ConfigError,
    DeviceError,
    GateFailed,
    InputError,
    IntegrityError,
    PipelineError,
    StageError,
    ToolchainError,
)


@pytest.fixture
def failing(pipeline, monkeypatch):
    """Run ``pipeline build`` with a body that raises."""

    def run(error, *arguments):
        def fail(*options, **flags):
            raise error

        monkeypatch.setattr(build_command.build, "callback", fail)
        return pipeline(*arguments, "build", "--target", "arm64")

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PipelineError("x"), 1),
        (GateFailed("x"), 1),
        (StageError("prune", "x", "y"), 1),
        (ConfigError("x"), 2),
        (InputError("x"), 3),
        (ModelError("x"), 3),
        (DataError("x"), 3),
        (ToolchainError("x"), 4),
        (DeviceError("x"), 5),
        (IntegrityError("x"), 6),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(error, code, failing):
    ended = failing(error)

    assert ended.code == code
    assert ended.message == f"pipeline: {error}"
    assert ended.out == ""


def test_an_error_of_several_lines_is_put_on_one(failing):
    assert failing(InputError("a bad\nfile\tname")).message == "pipeline: a bad file name"


def test_ctrl_c_ends_with_130(failing):
    ended = failing(KeyboardInterrupt())

    assert ended.code == 130
    assert ended.err.strip() == "pipeline: interrupted; run the same command again to continue"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--debug", "build", "--target", "amr64"),
        ("build", "--target", "amr64", "--debug"),
        ("verify", "nowhere", "--public-key", "nowhere", "--debug"),
        ("keygen", "--debug", "--out", "nowhere/a.key"),
        ("device", "provision", "nothing", "--debug"),
        ("deploy", "list", "name", "--to", "carrier-pigeon://x", "--debug"),
    ],
)
def test_debug_shows_the_traceback_wherever_it_stands(pipeline, arguments):
    ended = pipeline(*arguments)
    usual = pipeline(*(argument for argument in arguments if argument != "--debug"))

    assert ended.err.startswith("Traceback (most recent call last)")
    assert (ended.code, ended.err.splitlines()[-1]) == (usual.code, usual.message)


@pytest.mark.parametrize(
    "arguments",
    [["build"], ["build", "--taget", "arm64"], ["bild"], ["build", "--target", "arm64", "--seed", "x"]],
)
def test_a_usage_error_ends_with_2(arguments, pipeline):
    ended = pipeline(*arguments)

    assert ended.code == 2
    assert ended.out == ""
    assert click.unstyle(ended.err).strip()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["biuld"], "no command 'biuld'; did you mean 'build'?"),
        (
            ["device", "provison"],
            "did you mean 'provision'?; see: pipeline device --help",
        ),
        (["cache", "purge"], "no command 'purge'; did you mean 'prune'?; see: pipeline cache --help"),
        (["deploy", "staus", "x"], "'staus' is neither a command nor a folder; did you mean 'status'?"),
    ],
)
def test_the_nearest_command_is_suggested(words, said, pipeline):
    ended = pipeline(*words)

    assert ended.code == 2
    assert said in ended.err
