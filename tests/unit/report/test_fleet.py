"""What became of devices, as a person reads it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from deploy.fleet import Outcome
from pipeline.report.fleet import Live, age, outcome_table, reason

OUTCOMES = (
    Outcome(
        address="ssh://pi@kitchen.example.org:2222", state="installed", before="a" * 64, after="b" * 64,
        version="1.2.0", seconds=9.87, notes=("first", "second"),
    ),
    Outcome(
        address="adb://[x]", state="failed", seconds=0.04,
        why="adb://[x] cannot take [red]tiny[/red]-1.2.0-arm64: its ABI is x86_64",
    ),
    Outcome(address="ssh://pi@hall", state="not begun", why="1 device failed before"),
)  # fmt: skip


def shown(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_a_row_tells_the_whole_story_of_a_device():
    rows = [" ".join(line.split()) for line in shown(outcome_table("tiny", OUTCOMES), 200).splitlines()]

    assert rows[0] == "tiny"
    assert rows[2] == (
        f"ssh://pi@kitchen.example.org:2222 {'a' * 12} → {'b' * 12} 1.2.0 installed 9.9 first; second"
    )
    assert rows[3] == "adb://[x] failed 0.0 cannot take [red]tiny[/red]-1.2.0-arm64: its ABI is x86_64"
    assert rows[4] == "ssh://pi@hall not begun 1 device failed before"


@pytest.mark.parametrize("width", [80, 110])
def test_nothing_is_cut_off_on_a_terminal(width):
    lines = shown(outcome_table("tiny", OUTCOMES), width).splitlines()

    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    devices = "".join(line[: lines[1].index("before")].strip() for line in lines[2:])
    assert devices == "".join(one.address for one in OUTCOMES)


def test_a_reason_does_not_repeat_the_device():
    assert reason(Outcome(address="adb://a", state="failed", why="adb://a: no room")) == "no room"
    assert reason(Outcome(address="adb://a", state="failed", why="adb://ab: no room")) == "adb://ab: no room"


def test_a_span_of_time_is_told_in_its_largest_unit():
    assert [age(seconds) for seconds in (5, 300, 7200, 172800)] == ["5 s", "5 min", "2 h", "2 d"]


@pytest.mark.parametrize(("addresses", "lines"), [(["a"], 0), (["a", "b"], 1)])
def test_off_a_terminal_the_failures_of_several_devices_are_told_and_nothing_else(addresses, lines, capfd):
    with Live("deploy", addresses) as live:
        for address in addresses:
            live.on_change(Outcome(address=address, state="under way"))
            live.on_step(address)("push 1 of 2")
        live.on_change(Outcome(address="a", state="failed", why="a: no room"))
        live.on_step("a")("too late")
        live.on_change(Outcome(address="b", state="installed"))

    out, err = capfd.readouterr()
    assert (out, err) == ("", "a: no room\n" * lines)
