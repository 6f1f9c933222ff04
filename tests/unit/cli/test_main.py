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


@pytest.mark.parametrize("group", [[], ["device"], ["cache"], ["deploy"]])
def test_a_group_without_a_command_prints_its_help_and_ends_with_2(group, pipeline):
    ended = pipeline(*group)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == pipeline(*group, "--help").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "--taget", "arm64"], "no option '--taget'; did you mean '--target'?; see: pipeline build"),
        (["build"], "--target is missing (target to build for); see: pipeline build --help"),
        (["verify"], "RELEASE is missing; see: pipeline verify --help"),
        (["build", "--seed", "x"], "--seed: 'x' is not a whole number; see"),
        (["build", "--seed", "-1"], "--seed: -1 is out of range; allowed: 0 to 4294967295; see"),
        (["bench", "x", "--runs", "1"], "--runs: 1 is out of range; allowed: at least 5; see"),
        (["build", "--seed"], "--seed: it needs a value"),
        (["release", "x", "--out", "y", "--expires", "soon"], "--expires: 'soon' is not a date; write it as"),
        (["inspect", "a", "b"], "unexpected argument (b); see: pipeline inspect --help"),
        (["build", "--target", "arm64", "--cache-size", "lots"], "--cache-size: 'lots' is not a size; write"),
        (
            ["build", "--target", "arm64", "--method", "qta"],
            "--method: unknown method 'qta'; did you mean 'qat'?",
        ),
        (
            ["build", "--target", "arm64", "--recipe", "weights175-qat8"],
            "--recipe weights175-qat8: compress.0.spa",
        ),
        (
            ["build", "--target", "arm64", "--model", "my model.keras", "--data", "d.npz"],
            "--name: 'my model' contains a space",
        ),
    ],
)
def test_an_error_in_a_flag_begins_with_its_name(words, said, pipeline):
    ended = pipeline(*words)

    assert ended.code == 2
    assert ended.message.startswith(f"pipeline: {said}")


def test_an_error_in_a_settings_file_shows_the_line(pipeline, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        "[model]\npath = 'm.keras'\n[data]\nsource = 'd'\n[[compress]]\nmethod = 'weights'\nsparsity = 75\n"
    )
    ended = pipeline("build", "--target", "arm64", "--config", path)

    assert ended.err.splitlines() == [
        (
            f"pipeline: {path}:7: compress.0.sparsity: 75 is out of range; it is a fraction, write 0.75 for "
            "75 %; 'auto' is allowed, too"
        ),
        "   7 | sparsity = 75",
        "     | ^^^^^^^^",
    ]
    path.write_text("[model]\npath =\n")
    assert pipeline("build", "--target", "arm64", "--config", path).err.splitlines()[1:] == [
        "   2 | path =",
        "     |       ^",
    ]
