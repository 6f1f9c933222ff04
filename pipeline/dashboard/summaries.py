"""What pages show of each report: read once, and again only when the file has changed."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.dashboard.following import Follower, Story, last_record
from pipeline.errors import InputError
from pipeline.events import BuildFinished, SearchFinished
from pipeline.report.history import Entry
from pipeline.validation.report import Report, parse_report

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.dashboard.folder import Library, Place

SEARCHED = "searched"
STATES = {
    "released": "passed",
    "passed": "passed",
    SEARCHED: "passed",
    "failed": "failed",
    "error": "failed",
    "broken": "failed",
    "interrupted": "inconclusive",
    "silent": "inconclusive",
    "running": "running",
}
"""States, and the class of the style sheet for each."""


@dataclass(frozen=True)
class Summary:
    """What tables and drawings show of a build, a release or a report.

    Attributes:
        date: when the gates were judged, else when it began; an ISO date in UTC.
        state: a key of ``STATES``.
        why: what is wrong; "" if nothing is.
        failed: the gates that failed.
        figures: by name, as ``pipeline report`` compares them.
    """

    place: Place
    name: str
    date: str
    state: str
    why: str = ""
    recipe: str = ""
    target: str = ""
    format: str = ""
    failed: tuple[str, ...] = ()
    figures: tuple[tuple[str, float], ...] = ()


class Summaries:
    """Summaries and events of everything in a folder."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._lock = threading.Lock()
        self._reports: dict[Path, tuple[tuple[int, ...], _Read]] = {}
        self._followers: dict[Path, Follower] = {}
        self._ends: dict[Path, tuple[tuple[int, ...], str]] = {}

    def of(self, place: Place) -> Summary:
        """Return the summary of a build, a release or a report; whatever is wrong with it is in ``why``."""
        state = self.state(place)
        began = datetime.fromtimestamp(place.started, UTC).isoformat(timespec="seconds")
        if place.report is None:
            why = "" if state == "running" else "it has no report"
            return Summary(place, place.name, began, state, why)
        found = self._read(place.report)
        if found.problem:
            return Summary(place, place.name, began, "broken", found.problem)
        is_older = state in {"running", "silent", "error", "interrupted"} and found.date[:19] < began[:19]
        if is_older:  # the report of the build before, in the same folder
            return Summary(place, place.name, began, state, "its report is of an earlier build")
        if state in {"", "released", "failed"}:
            state = "passed" if found.passed else "failed"
        return Summary(
            place,
            found.name,
            found.date or began,
            state,
            recipe=found.recipe,
            target=found.target,
            format=found.format,
            failed=found.failed,
            figures=found.figures,
        )

    def report(self, place: Place) -> Report:
        """Return the whole report.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        if place.report is None:
            msg = f"{place.key} has no report yet"
            raise InputError(msg)
        return parse_report(self.library.read(place.report), place.report.name)

    def story(self, place: Place) -> Story:
        """Return all events of a build or a search so far."""
        with self._lock:
            follower = self._followers.setdefault(place.path, Follower(place.path / "events.jsonl"))
        return follower.story()

    def state(self, place: Place) -> str:
        """Return how a build ended, or "running" or "silent"; "" if it has no events.

        Only the end of the file is read, and again only when it has changed.
        """
        events = place.path / "events.jsonl"
        if place.kind not in {"build", "search"} or not (stamp := _stamp(events)):
            return ""
        known = self._ends.get(events)
        if known is not None and known[0] == stamp and known[1] not in {"running", "silent"}:
            return known[1]
        record = last_record(events)
        if record is None:
            return "silent"
        event = record.event
        story = Story(end=event if isinstance(event, BuildFinished) else None, last=record.time.timestamp())
        state = SEARCHED if isinstance(event, SearchFinished) else story.state()
        self._ends[events] = (stamp, state)
        return state

    def search(self, place: Place) -> dict[str, Any]:
        """Return ``search.json``; {} if it is missing or damaged."""
        try:
            found = json.loads(self.library.read(place.path / "search.json"))
        except (InputError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _read(self, path: Path) -> _Read:
        stamp = _stamp(path)
        with self._lock:
            known = self._reports.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            found = _Read.of(parse_report(self.library.read(path), path.name))
        except InputError as error:
            found = _Read(problem=str(error))
        except Exception as error:  # values that no build writes: the others are still shown
            found = _Read(problem=f"{path.name} cannot be summarized: {type(error).__name__}")
        with self._lock:
            self._reports[path] = (stamp, found)
        return found


@dataclass(frozen=True)
class _Read:
    """A report as far as summaries need it; ``problem`` says why it cannot be read."""

    name: str = ""
    date: str = ""
    passed: bool = False
    recipe: str = ""
    target: str = ""
    format: str = ""
    failed: tuple[str, ...] = ()
    figures: tuple[tuple[str, float], ...] = ()
    problem: str = ""

    @classmethod
    def of(cls, report: Report) -> _Read:
        return cls(
            report.name,
            report.created,
            report.passed,
            report.recipe,
            report.target,
            report.format,
            report.failed_gates,
            tuple(Entry(report, report.created).figures().items()),
        )


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with a file; () if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size
