"""What stderr shows of a search: lines of trials, and what is live below them."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime

import click
import pytest
from rich.console import Console, Group

from pipeline.console.reporter import ConsoleReporter
from pipeline.console.trials import TrialsView, trial_line, trial_text
from pipeline.events import Progress, Record, TrialFinished, TrialStarted

NOON = datetime(2026, 1, 2, 12, 0, 0, 0, UTC)
VALUES = {
    "score": 100.0,
    "robustness": 98.91,
    "download": 3451.0,
    "memory": 768.0,
    "rpi4 instructions": 33_230.0,
    "rpi5 instructions": 18_781.0,
}


def trial(number=4, state="complete", reason="", values=VALUES, front=(4,), **others):
    given = {"recipe": "channels30-weights50-qat8", "seconds": 61.4, "finished": 5, "total": 30}
    return TrialFinished(
        number=number,
        state=state,
        reason=reason,
        values=values if state == "complete" else {},
        front=list(front),
        **given | others,
    )


STOPPED = trial(state="stopped", reason="after 33% of the training a third of the trials were better")
REFUSED = trial(state="refused", reason="weights: layer 'dense' has no kernel")
BEYOND = trial(reason="beyond the limit of drop", front=())


def search(done, finished=False):
    return Progress(
        task="search",
        id="1",
        done=done,
        total=30,
        unit="trials",
        note="",
        seconds=1.0,
        finished=finished,
    )


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (trial(), "score 100.00, download 3.45k, rpi4 33.2k; on the front"),
        (trial(front=()), "score 100.00, download 3.45k, rpi4 33.2k; not on the front"),
        (BEYOND, "score 100.00, download 3.45k, rpi4 33.2k; beyond the limit of drop"),
        (STOPPED, f"stopped early: {STOPPED.reason}"),
        (REFUSED, f"refused: {REFUSED.reason}"),
    ],
)
def test_a_log_has_a_line_with_the_figures_of_a_trial_or_the_reason(event, said):
    assert trial_line(event) == f"trial 4: channels30-weights50-qat8: {said}; 61 s (5 of 30)"


def test_figures_that_are_optimized_are_shown_whatever_they_are():
    line = trial_line(trial(values={"robustness": 98.91, "memory": 768.0}))

    assert "robustness 98.91, memory 768;" in line


def test_off_a_terminal_lines_are_stamped_and_plain():
    stream = io.StringIO()
    with ConsoleReporter(Console(file=stream, force_terminal=False, width=80)) as reporter:
        reporter(Record(NOON, "", TrialStarted(number=-1, recipe="ptq8")))
        reporter(Record(NOON, "", trial(number=-1)))
        reporter(Record(NOON, "", STOPPED))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("2026-01-02T12:00:00Z your settings: channels30-weights50-qat8: score 100.00")
    assert lines[1].endswith("(5 of 30)")


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(
    ("event", "mark"), [(trial(), "✓"), (trial(front=()), "·"), (BEYOND, "·"), (STOPPED, "↓"), (REFUSED, "✗")]
)
def test_on_a_terminal_a_trial_is_one_line_with_a_mark(event, mark, width):
    text = trial_text(event, width)

    assert text.plain.startswith(f"{mark} ")
    assert text.cell_len == width
    assert text.plain.endswith(" 61 s")
    assert "\n" not in text.plain


@pytest.mark.parametrize("recipe", ["r" * 200, "low_rank97-" * 9])
def test_figures_stay_visible_at_80_columns_whatever_the_recipe(recipe):
    plain = trial_text(trial(recipe=recipe), 80).plain

    assert len(plain) == 80
    for part in ("score 100.00", "download 3.45k", "rpi4 33.2k", "61 s", "…"):
        assert part in plain


def test_a_reason_is_visible_at_80_columns_whatever_the_recipe():
    assert "beyond the limit of drop" in trial_text(trial(recipe="r" * 200, reason=BEYOND.reason), 80).plain


class Seconds:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def drawn(view, width=80, height=24):
    """The lines that are live on a terminal of this size."""
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=width).print(Group(*view.lines(width, height)))
    return click.unstyle(stream.getvalue()).rstrip("\n").split("\n")


def filled(trials=14, running=7):
    """A view of a search with so many trials on the front, and so many that run."""
    clock = Seconds()
    view = TrialsView(clock)
    for number in range(trials):
        view.start(TrialStarted(number=number, recipe="x"))
        clock.now += 60
        values, recipe = VALUES | {"score": 90.0 + number / 10}, f"channels{number}-" * 9
        view.finish(trial(number, recipe=recipe, values=values, front=range(number + 1), finished=number))
    for number in range(trials, trials + running):
        view.start(TrialStarted(number=number, recipe="low_rank97-" * 9))
    clock.now += 75
    return view


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 24), (80, 16)])
def test_the_live_view_has_room_on_a_terminal(width, height):
    lines = drawn(filled(), width, height)

    assert len(lines) <= height - 3  # for two bars and the trial that ended last
    assert all(len(line) <= width for line in lines)


def test_the_live_view_shows_the_best_of_the_front_with_all_figures_at_80_columns():
    lines = drawn(filled())
    heading = next(line for line in lines if "on the front" in line)
    rows = lines[lines.index(heading) + 1 :][:8]

    assert "6 more" in heading
    assert heading.split()[-6:] == ["score", "robustness", "download", "memory", "rpi4", "rpi5"]
    assert [row.split()[0] for row in rows] == [str(number) for number in range(13, 5, -1)]
    assert rows[0].split()[-6:] == ["91.30", "98.91", "3.45k", "768", "33.2k", "18.8k"]


def test_the_live_view_shows_what_runs_and_for_how_long():
    lines = drawn(filled(trials=2, running=5))
    heading = next(line for line in lines if "running" in line)
    rows = lines[lines.index(heading) + 1 :]

    assert "1 more" in heading
    assert [row.split()[0] for row in rows] == ["2", "3", "4", "5"]
    assert all(row.endswith("0:01:15") for row in rows)


def test_time_left_is_that_of_the_trials_so_far():
    clock = Seconds()
    view = TrialsView(clock)
    assert view.seconds_left() is None
    view.start(TrialStarted(number=0, recipe="x"))
    clock.now = 60
    view.finish(trial(0, finished=20))

    assert view.seconds_left() == 600


def test_trials_of_the_front_that_ended_before_the_search_was_resumed_are_counted():
    view = TrialsView()
    view.finish(trial(9, front=(1, 2, 9)))

    assert any("on the front, 2 more" in line for line in drawn(view))


def test_a_terminal_shows_the_search_while_it_runs_and_only_lines_after_it():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, height=24, highlight=False)
    with ConsoleReporter(console) as reporter:
        for event in (search(0), TrialStarted(number=4, recipe="channels30-weights50-qat8"), trial()):
            reporter(Record(NOON, "", event))
        reporter._bars.refresh()
        live = click.unstyle(stream.getvalue())
        reporter(Record(NOON, "", search(1, finished=True)))
        left = reporter._trials.lines(80, 24)

        assert "✓ trial 4 channels30" in live
        assert "on the front" in live
        assert "0/30 trials" in live
        assert list(left) == []


def test_threads_may_report_trials_while_the_view_is_drawn():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    with ConsoleReporter(console) as reporter:
        reporter(Record(NOON, "", search(0)))

        def report(first):
            for number in range(first, first + 20):
                reporter(Record(NOON, "", TrialStarted(number=number, recipe="ptq8")))
                reporter(Record(NOON, "", trial(number, front=(number,))))

        threads = [threading.Thread(target=report, args=(first,)) for first in (0, 100)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            reporter._bars.refresh()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
