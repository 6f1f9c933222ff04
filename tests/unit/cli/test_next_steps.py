"""What a build prints last: its files, and commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from pipeline.cli import cli
from pipeline.cli.next_steps import after_failure, after_release

RELEASE = Path("my build/release/tiny-1.0-arm64")
WIDE = 500


def commands(text):
    """The words after ``pipeline`` in each command of the text."""
    return [found.split() for found in re.findall(r"\bpipeline ([^;\n]+)", text)]


def require_known(text):
    for first, *words in commands(text):
        command = cli.get_command(click.Context(cli), first)
        command = getattr(command, "get_command", lambda *_, found=command: found)(None, "RELEASE")
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_an_unsigned_release_is_to_be_signed_first():
    text = after_release(RELEASE, "5e" * 32, WIDE, is_signed=False)

    require_known(text)
    assert [words[0] for words in commands(text)] == ["inspect", "keygen", "release", "deploy"]
    assert text.startswith(f"release  {RELEASE}\nreport   {RELEASE}/report.html\ndigest   {'5e' * 32}\n")
    assert "'my build/release/tiny-1.0-arm64/predict.py'" in text
    assert "pipeline deploy 'my build/signed'/tiny-1.0-arm64 " in text


def test_a_signed_release_is_to_be_verified():
    text = after_release(RELEASE, "5e" * 32, WIDE, is_signed=True)

    require_known(text)
    assert [words[0] for words in commands(text)] == ["inspect", "verify", "deploy"]


def test_a_failed_build_has_a_report_and_a_way_to_the_cause():
    text = after_failure(Path("build/report/tiny-1.0-arm64"), Path("build"), WIDE)

    require_known(text)
    assert text.startswith("report   build/report/tiny-1.0-arm64/report.html\n")
    assert [words[0] for words in commands(text)] == ["debug"]


def test_paths_below_the_working_directory_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    release = after_release(tmp_path / "build/release/tiny-1.0-arm64", "0" * 64, WIDE, is_signed=False)
    assert "release  build/release/tiny-1.0-arm64\n" in release
    assert str(tmp_path) not in release
    assert str(tmp_path) not in after_failure(tmp_path / "build/report", tmp_path / "build", WIDE)

    elsewhere = after_release(tmp_path.parent / "release/tiny-1.0-arm64", "0" * 64, WIDE, is_signed=True)
    assert f"{tmp_path.parent}/release/tiny-1.0-arm64/report.html" in elsewhere


def test_a_command_wider_than_the_terminal_is_one_command_to_the_shell():
    wide, narrow = (after_release(RELEASE, "0" * 64, width, is_signed=False) for width in (WIDE, 60))

    commands = narrow.partition("Next\n")[2]
    assert max(map(len, commands.splitlines())) <= 60
    words = [shlex.split(command) for command in commands.replace("\\\n", "").splitlines()]
    assert words == [shlex.split(command) for command in wide.partition("Next\n")[2].splitlines()]
