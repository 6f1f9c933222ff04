"""A search in an experiment tracker: every trial that has ended, exactly once.

Trackers are views of the study: they listen to events, and what they miss they log later. They work in a
thread, so that a slow server delays no trial, and an error of theirs is a warning.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from importlib.util import find_spec
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.errors import ConfigError, ToolchainError, cause_of
from pipeline.events import TrialFinished, Warned, emit, listening
from pipeline.searching.front import BASELINE
from pipeline.searching.mlflow_runs import MlflowRuns
from pipeline.sections import advice
from pipeline.shared_store import without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.events import Record
    from pipeline.searching.objectives import Outcome
    from pipeline.searching.space import Params
    from pipeline.searching.study import Study

OPTION = "--tracking"
PAUSE_S = 60
"""Between attempts to reach a tracker that has failed."""
MAX_END_S = {"finished": 60, "failed": 60, "interrupted": 10}
"""How long the end of a search waits for a slow tracker."""


class Tracker(Protocol):
    """Where a search is logged; its methods raise what they like."""

    def logged(self) -> set[int]:
        """Return the numbers of the trials that are logged completely."""
        ...

    def log(self, number: int, params: Params, outcome: Outcome, settings: str) -> None:
        """Log a trial, or the rest of one that an earlier call began; log nothing twice.

        Args:
            number: ``BASELINE`` is that of the user's own settings.
            params: as they were proposed; none for the user's own settings.
            settings: as TOML.
        """
        ...

    def end(self, state: str, folder: Path) -> None:
        """Log how the search has ended.

        Args:
            state: "finished", "failed" or "interrupted".
            folder: of the search, with its result.
        """
        ...


class TrackerKind(NamedTuple):
    """A kind of tracker.

    Attributes:
        open: begins or continues a search; takes the URI, the ID of the study, what the search depends on by
            name, and the user's settings as TOML.
        package: that it imports.
        example: of a URI.
    """

    open: Callable[[str, str, dict[str, str], str], Tracker]
    package: str
    example: str


TRACKERS = {"mlflow": TrackerKind(MlflowRuns, "mlflow", "http://127.0.0.1:5000")}
"""By the name that ``--tracking NAME:URI`` has; the extra of the project has the same."""


def read_tracking(option: str) -> tuple[TrackerKind, str]:
    """Return the kind of tracker and the URI of ``NAME:URI``.

    Raises:
        ConfigError: it is neither.
        ToolchainError: its package is not installed.
    """
    name, _, uri = option.partition(":")
    if name not in TRACKERS:
        known = advice(name, TRACKERS, "trackers")
        msg = f"{OPTION}: unknown tracker {name!r}; {known}; write NAME:URI"
        raise ConfigError(msg)
    kind = TRACKERS[name]
    if not uri:
        msg = f"{OPTION} {name}: no URI; write for example {OPTION} {name}:{kind.example}"
        raise ConfigError(msg)
    if find_spec(kind.package) is None:
        msg = f"{OPTION} {name} needs {kind.package}: pip install '.[search,{name}]'"
        raise ToolchainError(msg)
    return kind, uri


@contextmanager
def tracked(option: str, study: Study, folder: Path, text_of: Callable[[int], str]) -> Iterator[None]:
    """Log the trials that end in the block, and those of the study that are not logged yet.

    Args:
        option: ``NAME:URI``; "" for no tracker.
        folder: of the search.
        text_of: returns the settings of a trial as TOML.

    Raises:
        ConfigError: the option is wrong, or the tracker cannot be used.
        ToolchainError: its package is not installed.
    """
    if not option:
        yield
        return
    kind, uri = read_tracking(option)
    shown = f"{OPTION} {_shown(option)}"
    asked = {
        name: ", ".join(value) if isinstance(value, list) else str(value)
        for name, value in study.asked.items()
        if name != "settings"
    }
    try:
        tracker = kind.open(uri, study.id, asked, text_of(BASELINE))
        missing = study.outcomes.keys() - tracker.logged()
    except Exception as error:  # of MLflow, requests, SQLAlchemy, or the client of an artifact store
        msg = f"{shown}: cannot be used ({_reason(error, uri)}); check server, address and credentials"
        raise ConfigError(msg) from error

    def log(number: int) -> None:
        tracker.log(number, study.params.get(number, {}), study.outcomes[number], text_of(number))

    def warn(error: Exception) -> None:
        emit(Warned(text=f"{shown}: {_reason(error, uri)}; the search goes on, and logs the rest later"))

    tracking = _Tracking(log, lambda state: tracker.end(state, folder), warn)
    for number in sorted(missing):
        tracking.add(number)
    state = "failed"
    try:
        with listening(tracking.hear):
            yield
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        if not tracking.close(state):
            emit(Warned(text=f"{shown}: not everything is logged; the same command logs the rest"))


class _Tracking:
    """Logs trials in a thread; while the tracker fails, they wait.

    Args:
        log: logs a trial.
        end: logs how the search has ended.
        warn: hears the first error.
    """

    def __init__(
        self,
        log: Callable[[int], None],
        end: Callable[[str], None],
        warn: Callable[[Exception], None],
    ) -> None:
        self._log, self._end, self._warn = log, end, warn
        self._ended: SimpleQueue[int | None] = SimpleQueue()
        self._left: list[int] = []  # the thread's own
        self._state = ""
        self._has_warned, self._is_complete = False, False
        self._next_attempt = 0.0
        self._thread = Thread(target=self._run, name="tracking", daemon=True)  # an exit waits for no server
        self._thread.start()

    def add(self, number: int) -> None:
        """Log a trial soon."""
        self._ended.put(number)

    def hear(self, record: Record) -> None:
        """Log the trial that has ended, if this is the event."""
        if isinstance(record.event, TrialFinished):
            self.add(record.event.number)

    def close(self, state: str) -> bool:
        """Log what is left and how the search has ended; return whether everything is logged now.

        After an interrupt, trials wait until the search is continued.
        """
        self._state = state
        self._ended.put(None)
        self._thread.join(MAX_END_S[state])
        return self._is_complete

    def _run(self) -> None:
        while (number := self._ended.get()) is not None:
            self._left.append(number)
            if time.monotonic() >= self._next_attempt:
                self._attempt(self._catch_up)
        caught_up = self._state == "interrupted" or self._attempt(self._catch_up)
        self._is_complete = caught_up and self._attempt(lambda: self._end(self._state))

    def _catch_up(self) -> None:
        while self._left and self._state != "interrupted":
            self._log(self._left[0])
            del self._left[0]

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Return whether an action of the tracker was successful."""
        try:
            action()
        except Exception as error:
            if not self._has_warned:
                self._warn(error)
            self._has_warned, self._next_attempt = True, time.monotonic() + PAUSE_S
            return False
        return True


def _shown(option: str) -> str:
    """Return ``NAME:URI`` without what may be secret in it."""
    return without_password(option).partition("?")[0]


def _reason(error: Exception, uri: str) -> str:
    """Return the first line of an error or of the system's error below it, without what may be secret."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for each in reversed(causes):
        if isinstance(each, OSError):
            return cause_of(each)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_password(lines[0].replace(uri, _shown(uri)))
