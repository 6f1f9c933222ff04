"""Typed events: what a command does, as it does it; terminal, log and ``events.jsonl`` are views of them.

Code that does work emits events and knows no view; views listen. Format: docs/reference/events.md.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Outcome = Literal["released", "failed", "error", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; ``kind`` is its name in ``events.jsonl``."""

    kind: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class StageStarted(Event):
    """A stage runs; a cached stage does not start."""

    kind: ClassVar[str] = "stage_started"


@dataclass(frozen=True, kw_only=True)
class StageFinished(Event):
    """A stage has its artifact.

    Attributes:
        cached: whether it came from the store.
        seconds: wall-clock time.
        digest: sha256 of the artifact.
        folder: where its files are.
    """

    kind: ClassVar[str] = "stage_finished"
    cached: bool
    seconds: float
    digest: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Progress of a task; its last event has ``finished`` set.

    Attributes:
        task: what is being done; a stage may have several tasks.
        id: of the task, unique in the file.
        done: how much is done, in ``unit``.
        total: how much there is to do; None if that is unknown.
        note: a short remark, such as the current loss.
        seconds: since the task began.
    """

    kind: ClassVar[str] = "progress"
    task: str
    id: str
    done: float
    total: float | None
    unit: str
    note: str
    seconds: float
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Metric(Event):
    """A figure of training, at the end of an epoch.

    Attributes:
        epoch: the first is 1.
        epochs: how many there will be.
        seconds: since training began.
    """

    kind: ClassVar[str] = "metric"
    task: str
    name: str
    value: float
    epoch: int
    epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Distributed(Event):
    """A histogram of a layer's weights or outputs, before or after a training.

    Attributes:
        when: "before" or "after".
        layer: the layer's name.
        of: "weights" or "activations".
        low: lower edge of the first bin.
        high: upper edge of the last bin; all have the same width.
        counts: how many values are in each bin.
    """

    kind: ClassVar[str] = "histogram"
    task: str
    when: str
    layer: str
    of: str
    low: float
    high: float
    counts: list[int]


@dataclass(frozen=True, kw_only=True)
class Finding(Event):
    """An inference about model or data, with its evidence."""

    kind: ClassVar[str] = "finding"
    text: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """A warning to the user."""

    kind: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True, kw_only=True)
class BuildStarted(Event):
    """A build begins; the first event of ``events.jsonl``."""

    kind: ClassVar[str] = "build_started"
    schema_version: int = 1
    release: str


@dataclass(frozen=True, kw_only=True)
class BuildFinished(Event):
    """A build ends; the last event of ``events.jsonl``, missing where the process was killed.

    Attributes:
        outcome: "failed" means by a gate.
        error: the kind of error that ended it, e.g. "StageError"; else "". Its message, which may hold what a
            user keeps secret, is on stderr alone.
        seconds: wall-clock time.
    """

    kind: ClassVar[str] = "build_finished"
    outcome: Outcome
    error: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A worker has begun a trial of a search; it may begin again if its worker dies.

    Attributes:
        number: of the trial; -1 is that of the user's own settings.
        recipe: as ``pipeline build --recipe`` takes it.
        worker: the name of its machine.
    """

    kind: ClassVar[str] = "trial_started"
    number: int
    recipe: str
    worker: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialFinished(Event):
    """A trial of a search has ended.

    Attributes:
        number: of the trial; -1 is that of the user's own settings.
        state: "complete", "stopped" or "refused".
        recipe: as ``pipeline build --recipe`` takes it.
        reason: why it was stopped or refused, or the limits that it misses; "" if it is a candidate.
        values: by objective; none if it is not complete.
        seconds: wall-clock time.
        finished: how many trials have ended, of ``total``.
        front: the numbers of the candidates that no other one beats in every objective.
    """

    kind: ClassVar[str] = "trial_finished"
    number: int
    state: str
    recipe: str
    reason: str
    values: dict[str, float]
    seconds: float
    finished: int
    total: int
    front: list[int]


@dataclass(frozen=True, kw_only=True)
class SearchFinished(Event):
    """A search ends; the last event of its ``events.jsonl``, missing where it was interrupted.

    Attributes:
        chosen: the number of the candidate that is released; None if none passed every gate.
    """

    kind: ClassVar[str] = "search_finished"
    chosen: int | None


@dataclass(frozen=True)
class Record:
    """An event, when it happened (UTC), and the stage that it belongs to ("" outside of stages)."""

    time: datetime
    stage: str
    event: Event

    def to_json(self) -> str:
        """Return one line of ``events.jsonl``, without the line break."""
        when = self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": when, "event": self.event.kind, "stage": self.stage}
        return json.dumps(head | asdict(self.event))

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Read a line of ``events.jsonl``.

        Raises:
            ValueError: it is not an event of this version.
        """
        try:
            fields = json.loads(line)
            time, kind, stage = (fields.pop(key) for key in ("time", "event", "stage"))
            return cls(datetime.fromisoformat(time), stage, _KINDS[kind](**fields))
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"not an event: {line:.80}"
            raise ValueError(msg) from error


_KINDS = {kind.kind: kind for kind in Event.__subclasses__()}


_stage: ContextVar[str] = ContextVar("stage", default="")
_listeners: list[Callable[[Record], None]] = []
_withheld: list[tuple[type[Event], ...]] = []


def emit(event: Event) -> None:
    """Hand an event to every listener; threads may emit at the same time."""
    relay(Record(datetime.now(UTC), "", event))


def relay(record: Record) -> None:
    """Hand an event of a child process to every listener, as one of the stage that runs here."""
    if any(isinstance(record.event, kinds) for kinds in _withheld):
        return
    record = replace(record, stage=record.stage or _stage.get())
    for listener in tuple(_listeners):
        listener(record)


@contextmanager
def listening(listener: Callable[[Record], None]) -> Iterator[None]:
    """Send every event of this process to ``listener`` inside the block.

    It is called in the thread that emits, so it has to be thread-safe, and it must not raise.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def withheld(*kinds: type[Event]) -> Iterator[None]:
    """Hand no event of these kinds to a listener inside the block: what is said otherwise, or was said."""
    _withheld.append(kinds)
    try:
        yield
    finally:
        _withheld.remove(kinds)


@contextmanager
def in_stage(name: str) -> Iterator[None]:
    """Attribute the events of the block to a stage.

    A thread has a context of its own: start it with ``contextvars.copy_context().run``.
    """
    token = _stage.set(name)
    try:
        yield
    finally:
        _stage.reset(token)
