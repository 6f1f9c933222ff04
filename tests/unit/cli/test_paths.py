"""Every path option of every command: what no command could use is one line and exit code 2 or 3."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipeline.cli import COMMANDS, cli
from pipeline.cli.paths import UserPath

COMMAND = Path(sys.executable).with_name("pipeline")
SOURCES = ("model", "data")  # text that may be a path


def commands(command, words):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), [*words, name])
    else:
        yield words, command


def path_options():
    for name in COMMANDS:
        for words, command in commands(cli.get_command(click.Context(cli), name), [name]):
            for param in command.params:
                if isinstance(param.type, UserPath) or param.name in SOURCES:
                    yield pytest.param(words, command, param, id=f"{' '.join(words)} {param.name}")


def arguments(command, param, value):
    """The fewest arguments with which the command looks at the option."""
    words = []
    for other in command.params:
        if other is param:
            words += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
        elif isinstance(other, click.Argument) and other.required:
            words.append("given")
        elif other.required:
            words += [other.opts[0], "host" if other.name == "target" else "given"]
    names = [each.name for each in command.params]
    other = {"data": "model", "model": "data"}.get(param.name)
    if other in names and isinstance(param, click.Option):
        words += [f"--{other}", "given"]
    elif other == "model" and other in names:
        words.insert(0, "given")
    return words


@pytest.fixture
def bad_paths(tmp_path, monkeypatch):
    """A folder in which nothing but these is."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("circle").symlink_to("circle")
    return {
        "a name that is too long": "a" * 300,
        "a path that is too long": "a/" * 3000,
        "below a file": "file/x",
        "a circle of links": "circle",
        "byte 0xFF": os.fsdecode(b"x\xffy"),
        "NUL": "a\0b",
    }


@pytest.mark.parametrize(("words", "command", "param"), list(path_options()))
def test_a_path_that_cannot_be_is_one_line(words, command, param, bad_paths, pipeline):
    for what, path in bad_paths.items():
        ended = pipeline(*words, *arguments(command, param, path))
        assert ended.code in {2, 3}, (what, ended)
        assert "internal error" not in ended.message, what
        assert len(ended.message) < 400, what
        assert ended.out == ""
    assert {path.name for path in Path.cwd().iterdir()} <= {"file", "circle"}


@pytest.mark.parametrize(("words", "command", "param"), list(path_options()))
def test_a_path_that_may_not_be_read_is_one_line(words, command, param, tmp_path, monkeypatch, pipeline):
    monkeypatch.chdir(tmp_path)
    Path("given").write_text("x")
    real = os.stat

    def refuse(path, *arguments, **options):
        if os.fsdecode(path if isinstance(path, str | bytes | os.PathLike) else "") == "secret":
            raise PermissionError(errno.EACCES, "Permission denied", "secret")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    ended = pipeline(*words, *arguments(command, param, "secret"))
    assert ended.code in {2, 3}
    assert "no permission" in ended.message


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert UserPath().convert("~/x", None, None) == tmp_path / "x"


FULL = "/dev/full"


@pytest.mark.parametrize("command", [["device", "list"], ["device", "list", "--json"], ["--version"]])
def test_a_full_output_is_one_line(command, tmp_path):
    with Path(FULL).open("w") as full:
        ended = subprocess.run(
            [COMMAND, *command], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, text=True, timeout=120
        )
    assert ended.returncode == 1
    assert ended.stderr == "pipeline: output: the disk is full; free space, or choose another folder\n"


def test_an_output_that_nobody_reads_any_more_is_no_error_message(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    ended = subprocess.run(
        [COMMAND, "device", "list"], stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120
    )
    os.close(theirs)
    assert (ended.returncode, ended.stderr) == (1, b"")
