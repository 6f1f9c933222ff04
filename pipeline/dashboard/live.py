"""What a running build or search does now, for panels that are fetched every two seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.console.phases import PHASES, words_of

if TYPE_CHECKING:
    from pipeline.dashboard.folder import Place
    from pipeline.dashboard.following import Story
    from pipeline.events import Progress

MAX_TASKS = 8
PLACES = {stage: place for place, phase in enumerate(PHASES) for stage in phase}


@dataclass(frozen=True)
class Task:
    """A task that runs; ``percent`` is None if its end is unknown."""

    words: str
    percent: int | None


@dataclass(frozen=True)
class Panel:
    """A running build or search.

    Attributes:
        words: the phase of a build, or how many trials have ended.
        percent: of the phases or of the trials.
        figures: the newest of a training.
        ago: seconds since the last event.
        since: seconds since the first event.
    """

    key: str
    kind: str
    name: str
    words: str
    percent: int
    tasks: tuple[Task, ...]
    figures: str
    ago: float
    since: float


def panel(place: Place, story: Story) -> Panel:
    """Return what a build or a search does now."""
    now = time.time()
    words, percent = _trials(story) if place.kind == "search" else _phase(story)
    tasks = [_task(stage, progress) for stage, progress in story.tasks.values()]
    tasks += [Task(f"trial {number}: {each.recipe}", None) for number, each in story.open.items()]
    newest = max((metric.epoch for metric in story.metrics.values()), default=0)
    figures = [
        f"{metric.name} {metric.value:.4g}" for metric in story.metrics.values() if metric.epoch == newest
    ]
    return Panel(
        place.key,
        place.kind,
        story.release or place.key,
        words,
        percent,
        tuple(tasks[:MAX_TASKS]),
        f"epoch {newest}: {', '.join(figures)}" if figures and place.kind == "build" else "",
        max(now - story.last, 0.0),
        max(now - story.first, 0.0),
    )


def _phase(story: Story) -> tuple[str, int]:
    """Return the furthest phase that has begun, and how much of all phases is over."""
    begun = [*(name for name, *_ in story.stages), *story.running]
    place = max((PLACES[name] for name in begun if name in PLACES), default=0)
    now = ", ".join(words_of(name) for name in story.running) or "between two stages"
    return f"phase {place + 1} of {len(PHASES)}: {now}", round(100 * place / len(PHASES))


def _trials(story: Story) -> tuple[str, int]:
    """Return how many trials have ended."""
    last = max(story.trials.values(), key=lambda each: each.finished, default=None)
    if last is None:
        return "no trial has ended yet", 0
    words = f"{last.finished:,} of {last.total:,} trials have ended, {len(last.front):,} are on the front"
    return words, round(100 * min(last.finished / max(last.total, 1), 1))


def _task(stage: str, progress: Progress) -> Task:
    parts = [words_of(progress.task)]
    if stage and words_of(stage) != parts[0]:
        parts.insert(0, words_of(stage))
    count = f"{progress.done:,.0f}"
    percent = None
    if progress.total:
        count += f" of {progress.total:,.0f}"
        percent = round(100 * min(max(progress.done / progress.total, 0), 1))
    tail = [f"{count} {progress.unit}" if progress.unit else "", progress.note]
    return Task(", ".join(filter(None, [": ".join(parts), *tail])), percent)
