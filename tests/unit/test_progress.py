"""Progress: drawn on a terminal, silent elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline import progress


def use(monkeypatch, *, terminal):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=stream, force_terminal=terminal, width=120))
    with progress.track("prune", 40, "steps") as advance:
        advance(10, "loss 0.3")
        advance(30)
    return stream.getvalue()


def test_a_terminal_sees_what_is_done_and_how_much_is_left(monkeypatch):
    drawn = use(monkeypatch, terminal=True)

    assert "prune" in drawn
    assert "40/40" in drawn
    assert "steps" in drawn


def test_a_pipe_sees_nothing(monkeypatch):
    assert use(monkeypatch, terminal=False) == ""
