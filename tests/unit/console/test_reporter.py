"""What stderr shows of events: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta

import click
import pytest
from rich.console import Console

from pipeline.compress.steps import COMPRESS
from pipeline.console.bars import _clock, bars
from pipeline.console.phases import PHASES, phase_of, words_of
from pipeline.console.reporter import ConsoleReporter
from pipeline.console.trials import TrialsView
from pipeline.events import (
    BuildFinished,
    Finding,
    Metric,
    Progress,
    Record,
    StageFinished,
    StageStarted,
    Warned,
)
from pipeline.quantize.methods import QUANTIZE

NOON = datetime(2026, 1, 2, 12, 0, 0, 0, UTC)


@pytest.fixture(autouse=True)
def no_actions(monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def show(*events, terminal=False, verbose=False, stage="prune"):
    """What is written of events that follow each other every second."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, highlight=False, markup=False)
    with ConsoleReporter(console, verbose=verbose) as reporter:
        for second, event in enumerate(events):
            reporter(Record(NOON + timedelta(seconds=second), stage, event))
    return stream.getvalue()


def progress(done=0.0, finished=False, seconds=0.0, task="prune", total=40, note=""):
    return Progress(
        task=task,
        id=f"1.{task}",
        done=done,
        total=total,
        unit="steps",
        note=note,
        seconds=seconds,
        finished=finished,
    )


def done(cached=False):
    return StageFinished(cached=cached, seconds=41.25, digest="5e" * 32, folder="/store/prune-1")


def test_a_terminal_sees_what_is_done_and_how_much_is_left():
    last = progress(40, finished=True, note="loss 0.3")
    drawn = show(progress(), progress(10, note="loss 0.3"), last, terminal=True)

    assert "prune" in drawn
    assert "40/40 steps" in drawn
    assert "loss 0.3" in drawn


def test_a_terminal_has_a_line_for_each_stage():
    drawn = show(StageStarted(), done(), done(cached=True), terminal=True)

    assert click.unstyle(drawn).splitlines() == ["✓ prune weights  41.2 s", "= prune weights  41.2 s"]


def test_a_log_has_a_line_with_the_time_for_each_stage_and_epoch():
    epochs = [
        Metric(task="prune", name=name, value=1 / epoch, epoch=epoch, epochs=2, seconds=20.0 * epoch)
        for epoch in (1, 2)
        for name in ("loss", "macro F1")
    ]
    written = show(StageStarted(), progress(), *epochs, progress(40, True, 41.0), done(), done(cached=True))

    assert written.splitlines() == [
        "2026-01-02T12:00:03Z prune weights: epoch 1/2, loss 1.0000, macro F1 1.0000, 20.0 s",
        "2026-01-02T12:00:05Z prune weights: epoch 2/2, loss 0.5000, macro F1 0.5000, 40.0 s",
        "2026-01-02T12:00:07Z prune weights: 41.2 s",
        "2026-01-02T12:00:08Z prune weights: cached",
    ]


def test_a_log_has_a_line_for_a_task_that_took_its_time_and_none_for_a_short_one():
    written = show(
        progress(9, True, 12.25, task="download"),
        progress(9, True, 0.5, task="unpack"),
        progress(0, True, 3.0, task="boot", total=None),
        stage="",
    )

    assert written.splitlines() == [
        "2026-01-02T12:00:00Z download: 9/40 steps, 12.2 s",
        "2026-01-02T12:00:02Z boot: 3.0 s",
    ]


def test_lines_are_plain_and_never_wrapped():
    long = Finding(text="input 'x': " + "declared, " * 40)
    written = show(long, StageStarted(), done(), Warned(text="few [red]samples"))

    assert "\x1b" not in written
    assert len(written.splitlines()) == 3
    assert "warning: few [red]samples" in written
    assert all(line == line.rstrip() for line in written.splitlines()[1:])


def test_a_terminal_wraps_sentences_between_words_and_breaks_no_path():
    sentence = show(Finding(text="declared, " * 40), terminal=True)
    path = "/" + "folder/" * 20
    assert {word for line in sentence.splitlines() for word in line.split()} == {"declared,"}
    assert max(map(len, sentence.splitlines())) <= 100
    assert f"kept in {path}" in show(Warned(text=f"kept in {path}"), terminal=True)


def test_findings_and_warnings_are_written_on_a_terminal_too():
    assert "task: binary" in show(Finding(text="task: binary"), terminal=True)
    assert "warning: few samples" in show(Warned(text="few samples"), terminal=True)


def test_verbose_names_digest_and_folder():
    assert show(done(), verbose=True).splitlines()[1] == f"  {'5e' * 8}  /store/prune-1"
    assert "/store" not in show(done())


def test_the_end_of_a_build_is_a_line():
    finished = BuildFinished(outcome="released", error="", seconds=276.0)

    assert show(finished, stage="") == "2026-01-02T12:00:00Z build: released after 276.0 s\n"


def test_github_actions_folds_the_lines_of_a_stage(monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = show(StageStarted(), Finding(text="x"), done(), done(cached=True)).splitlines()

    assert lines[0] == "::group::prune weights"
    assert lines[-2:] == ["::endgroup::", "2026-01-02T12:00:03Z prune weights: cached"]
    assert lines.count("::endgroup::") == 1


class Waiting(io.StringIO):
    """Says when so many lines were written."""

    def __init__(self, lines):
        super().__init__()
        self.lines, self.enough = lines, threading.Event()

    def write(self, text):
        written = super().write(text)
        if self.getvalue().count("\n") >= self.lines:
            self.enough.set()
        return written


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (None, "prune weights:"),
        (progress(12, seconds=65.0, note="loss 0.3"), "prune weights: 12/40 steps, loss 0.3,"),
    ],
)
def test_a_long_stage_says_once_that_it_still_runs_by_its_task_if_it_has_one(event, said):
    stream = Waiting(3)
    console = Console(file=stream, force_terminal=False, width=100)
    with ConsoleReporter(console, heartbeat_s=0.01) as reporter:
        with reporter._lock:  # both are there at the first beat
            reporter(Record(datetime.now(UTC), "prune", StageStarted()))
            if event:
                reporter(Record(datetime.now(UTC), "prune", event))
        assert stream.enough.wait(60)

    lines = {line[21:].rpartition(" running for ")[0] for line in stream.getvalue().splitlines()}
    assert lines == {said}


def test_nothing_is_said_of_what_has_ended():
    stream = io.StringIO()
    with ConsoleReporter(Console(file=stream, force_terminal=False), heartbeat_s=0.001) as reporter:
        reporter(Record(NOON, "", progress()))
        reporter(Record(NOON, "", progress(finished=True)))
        before = stream.getvalue()
        threading.Event().wait(0.05)

    assert stream.getvalue() == before


def test_every_stage_of_a_method_has_a_phase_and_words():
    stages = [row.stage for row in COMPRESS.values()]
    stages += [
        stage
        for row in QUANTIZE.values()
        for stage in (row.train, row.calibrate, row.repair, row.convert)
        if stage is not None
    ]
    names = {stage.__name__ for stage in stages}

    assert names
    assert [name for name in names if not phase_of(name) or "_" in words_of(name)] == []
    assert phase_of("train_qat") == f"[5/{len(PHASES)}] "


def line_of_a_task(width, total=40):
    """What is drawn of a training that is half done."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    display = bars(console, TrialsView())
    fields = {"unit": "steps", "note": "epoch 2/4, loss 0.31", "phase": "[5/7] "}
    task = display.add_task("quantization-aware training", total=total, completed=20, **fields)
    return display.line(display.tasks[task], width).plain[2:]


def test_the_bar_shrinks_first_then_figures_go_and_the_line_always_fits():
    assert [line_of_a_task(width) for width in (140, 100, 80, 40)] == [
        f"[5/7] quantization-aware training  {'━' * 28}  epoch 2/4, loss 0.31  0:00  20/40 steps",
        f"[5/7] quantization-aware training  {'━' * 22}  epoch 2/4, loss 0.31  0:00  20/40 steps",
        "[5/7] quantization-aware training  epoch 2/4, loss 0.31  0:00  20/40 steps",
        "[5/7] quantizat…  epoch 2/4, loss 0.31",
    ]
    assert "━" not in line_of_a_task(140, total=None)


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "0:00"), (16, "0:16"), (3725, "1:02:05")])
def test_a_time_is_minutes_and_seconds(seconds, said):
    assert _clock(seconds) == said
