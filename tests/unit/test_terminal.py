"""No text of a device, a model or a file is a command to a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

import pipeline
from pipeline.report.tables import make_table
from pipeline.terminal import FILE_WIDTH, Terminal, harmless

COMMANDS = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\x08\x7f\0", "\u202eevil", "\u2066x", "\ud800"]


def shown(part: object, **more: object) -> str:
    stream = io.StringIO()
    Terminal(file=stream, width=60, color_system=None, **more).print(part)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("text", COMMANDS, ids=range(len(COMMANDS)))
def test_a_text_reaches_no_terminal_as_a_command(text: str) -> None:
    table = Table(title=text)
    table.add_column(text)
    table.add_row(Text(text))
    table.add_row(text)
    for part in (text, Text(text, "red"), table):
        for line in shown(part, markup=False).splitlines():
            assert not any(char in line for char in "\x1b\x9b\x07\x08\x7f\0\r\u202e\u2066\ud800")


def test_a_log_is_as_wide_as_a_report_and_columns_override_it(monkeypatch):
    monkeypatch.setattr("os.isatty", lambda _: False)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Terminal(file=io.StringIO()).width == FILE_WIDTH
    monkeypatch.setenv("COLUMNS", "66")
    assert Terminal(file=io.StringIO()).width == 66


def test_what_rich_itself_says_to_a_terminal_stays() -> None:
    stream = io.StringIO()
    terminal = Terminal(
        file=stream, force_terminal=True, color_system="standard", width=60, legacy_windows=False
    )
    with Progress(
        TextColumn("{task.description}", markup=False), console=terminal, transient=True
    ) as progress:
        progress.add_task("\x1b[2Jpushing")
    terminal.print(Text("red", "red"))
    said = stream.getvalue()
    assert "\x1b[31mred\x1b[0m" in said
    assert "\x1b[2J" not in said
    assert "push" in said


@given(st.text())
def test_what_people_read_stays_as_it_is(text: str) -> None:
    assert harmless("é 模型 ✓ 10\N{NO-BREAK SPACE}%\n") == "é 模型 ✓ 10\N{NO-BREAK SPACE}%\n"
    safe = harmless(text)
    assert len(safe) == len(text)
    assert harmless(safe) == safe
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in safe.replace("\n", ""))


def test_every_console_is_this_one() -> None:
    root = Path(pipeline.__file__).parent
    others = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "Console(" in path.read_text(encoding="utf-8") and path.name != "terminal.py"
    ]
    assert others == []


def test_a_table_never_breaks_an_address_or_a_path_and_wraps_the_rest():
    table = make_table("", "device", "digest", "")
    table.add_row("ssh://pi@greenhouse-7.example.org:2222", "5e5e5e5e5e5e", "the disk of the device is full")
    stream = io.StringIO()
    for width in (70, 40):
        terminal = Terminal(file=stream, width=width)
        terminal.print_whole(table)
        assert terminal.width == width
    lines = stream.getvalue().splitlines()

    assert sum("ssh://pi@greenhouse-7.example.org:2222  5e5e5e5e5e5e" in line for line in lines) == 2
    assert max(map(len, lines)) <= 70
    assert all(line == line.rstrip() for line in lines)
