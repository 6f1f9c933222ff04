"""The pages of the dashboard, as HTML."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.contents import SIGNATURE
from deploy.errors import DeployError
from deploy.manifest import read_manifest
from pipeline.console.phases import words_of
from pipeline.dashboard.comparing import compare
from pipeline.dashboard.devices import VERDICTS, Devices
from pipeline.dashboard.drawing import HEIGHT, WIDTH, figure, line
from pipeline.dashboard.folder import REPORT, SHOWN_FILES
from pipeline.dashboard.live import Panel, panel
from pipeline.dashboard.summaries import STATES, Summaries, Summary
from pipeline.dashboard.templates import render
from pipeline.errors import InputError
from pipeline.report.html import report_html

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.dashboard.folder import Library, Place

PER_PAGE = 50
MAX_TRIALS = 500
MAX_CHOICES = 1000
MAX_RESULTS = 200
OF_BUILDS = frozenset({"build", "report", "release"})


class NotFoundError(Exception):
    """There is no such thing in the folder."""


class SearchRow(NamedTuple):
    """A search in the table."""

    key: str
    date: str
    state: str
    trials: int
    front: int
    chosen: str


class TrialRow(NamedTuple):
    """A trial in the table; ``figures`` in the order of the objectives."""

    number: int
    recipe: str
    state: str
    reason: str
    figures: tuple[str, ...]
    seconds: float


class ReleaseRow(NamedTuple):
    """A release in the table; ``key`` and ``kind`` are those of the page that shows it."""

    key: str
    kind: str
    name: str
    version: str
    target: str
    counter: str
    expires: str
    is_expired: bool
    signature: str
    folder: str
    why: str


class Pages:
    """Makes pages of what a folder holds.

    Args:
        library: the folder.
        title: how the user named it.
    """

    def __init__(self, library: Library, title: str) -> None:
        self.library, self.title = library, title
        self.summaries = Summaries(library)
        self.devices_of = Devices(library)

    def prepare(self) -> None:
        """Read what the first page shows, so that it is there at once."""
        with suppress(Exception):  # the page says what is wrong
            self.builds("", 1)

    def builds(self, name: str, page: int) -> str:
        """Return the first page: what runs, drawings, and a table of ``PER_PAGE`` builds."""
        places = self._builds()
        names = sorted({each.name for each in places})
        chosen = [each for each in places if name in {"", each.name}]
        shown = chosen[PER_PAGE * (page - 1) : PER_PAGE * page]
        found = sorted((self.summaries.of(each) for each in shown), key=lambda one: one.date, reverse=True)
        columns = list(dict.fromkeys(name for one in found for name, _ in one.figures))
        panels, mark = self.live(None)
        return self._page(
            "builds.html.j2",
            "Builds",
            "/",
            running=panels,
            mark=mark,
            names=names,
            name=name,
            counts=_counts(found),
            notes=["The folder is larger than is shown: point to a part of it."]
            if self.library.is_cut
            else [],
            trends=_trends(found, name or _most_frequent(found), columns),
            drawn=name or _most_frequent(found),
            columns=[each.removesuffix(" instructions").removesuffix(", bytes") for each in columns],
            rows=[(one, _cells(one, columns)) for one in found],
            first=PER_PAGE * (page - 1) + 1,
            last=PER_PAGE * (page - 1) + len(found),
            total=len(chosen),
            page=page,
        )

    def build(self, key: str) -> str:
        """Return the page of a build, a release or a report."""
        place = self._place(key, OF_BUILDS)
        one = self.summaries.of(place)
        verdicts: Any = ()
        notes: list[str] = []
        if one.figures:
            report = self.summaries.report(place)
            verdicts, notes = report.verdicts, list(report.notes)
        story = self.summaries.story(place)
        panels, mark = self.live(key)
        longest = max((seconds for _, seconds, _ in story.stages), default=0.0) or 1.0
        return self._page(
            "build.html.j2",
            one.name,
            "",
            one=one,
            files=self._files(place),
            running=panels,
            is_running=bool(panels),
            is_followed=place.kind == "build",
            mark=mark,
            figures=[(name, figure(name, value)) for name, value in one.figures],
            verdicts=verdicts,
            others=[each for each in self._builds() if each.report and each.key != key][:MAX_CHOICES]
            if one.figures
            else [],
            notes=list(dict.fromkeys([*notes, *story.notes])),
            stages=[
                (words_of(name), seconds, cached, round(100 * seconds / longest))
                for name, seconds, cached in story.stages
            ],
        )

    def compare(self, keys: list[str]) -> str:
        """Return the comparison of two builds; of fewer or more, the choice."""
        choices = [each for each in self._builds() if each.report is not None][:MAX_CHOICES]
        note, found, summaries = "", None, []
        if len(keys) == 2:
            places = [self._place(key, OF_BUILDS) for key in keys]
            summaries = [self.summaries.of(each) for each in places]
            try:
                first, second = (self.summaries.report(each) for each in places)
                found = compare(first, second)
            except InputError as error:
                note = str(error)
        elif keys:
            note = f"Choose two builds; {len(keys)} {'is' if len(keys) == 1 else 'are'} chosen."
        given = [*keys, *(each.key for each in choices)][:2]
        return self._page(
            "compare.html.j2",
            "Compare two builds",
            "/compare",
            choices=choices,
            first=given[0] if given else "",
            second=given[1] if len(given) > 1 else "",
            note=note,
            found=found,
            summaries=summaries,
        )

    def searches(self) -> str:
        """Return the page of all searches."""
        rows = []
        for place in self._of_kind("search"):
            found = self.summaries.search(place)
            trials, chosen = _dict(found.get("trials")), found.get("chosen")
            recipe = _dict(trials.get(str(chosen))).get("recipe", "")
            state, began = self.summaries.state(place) or "silent", datetime.fromtimestamp(place.started, UTC)
            front = found.get("front")
            rows.append(
                SearchRow(
                    place.key,
                    began.isoformat(timespec="seconds"),
                    state,
                    len(trials),
                    len(front) if isinstance(front, list) else 0,
                    "your own settings" if chosen == -1 else str(recipe),
                )
            )
        return self._page("searches.html.j2", "Searches", "/searches", rows=rows)

    def search(self, key: str) -> str:
        """Return the page of a search, from its events."""
        place = self._place(key, {"search"})
        story = self.summaries.story(place)
        ended = sorted(story.trials.values(), key=lambda each: each.finished, reverse=True)
        columns = list(dict.fromkeys(name for each in ended for name in each.values))
        panels, mark = self.live(key)
        return self._page(
            "search.html.j2",
            f"Search {key}",
            "",
            key=key,
            state_=self.summaries.state(place) or "silent",
            files=self._files(place),
            running=panels,
            is_running=bool(panels),
            mark=mark,
            columns=[name.removesuffix(" instructions") for name in columns],
            front=ended[0].front if ended else [],
            trials=[
                TrialRow(
                    each.number,
                    each.recipe,
                    each.state,
                    each.reason,
                    tuple(_objective(name, each.values.get(name)) for name in columns),
                    each.seconds,
                )
                for each in ended[:MAX_TRIALS]
            ],
            missing=max(len(ended) - MAX_TRIALS, 0),
        )

    def releases(self) -> str:
        """Return the page of all releases, those inside builds included."""
        rows = []
        for place in self.library.places().values():
            if place.kind == "release":
                rows.append(self._release(place, place.path))
            elif place.kind == "build":
                rows += [self._release(place, folder) for folder in self.library.releases(place)]
        return self._page("releases.html.j2", "Releases", "/releases", rows=rows)

    def devices(self) -> str:
        """Return the page of devices: the fleet of each release, and its drift over time."""
        found = self.devices_of.field(self._of_kind("devices"))
        drifts = []
        for release, results in sorted(found.drifts.items()):
            strengths = [
                None if one.strength is None else (f"{one.date[:16]}, {one.verdict}", one.strength)
                for one in results
            ]
            drawn = line("largest change", strengths, limit=1.0)
            drifts.append((release, drawn, results[: -MAX_RESULTS - 1 : -1]))
        return self._page(
            "devices.html.j2",
            "Devices",
            "/devices",
            fleets=sorted(found.fleets.items()),
            drifts=drifts,
            verdicts=VERDICTS,
        )

    def live(self, key: str | None) -> tuple[list[Panel], str]:
        """Return panels of what runs, and a mark that changes with what runs.

        Args:
            key: of one build or search; None of all.
        """
        places = [self._place(key, OF_BUILDS | {"search"})] if key is not None else self._followed()
        running = [each for each in places if self.summaries.state(each) == "running"]
        mark = "\n".join(each.key for each in running).encode("ascii", "backslashreplace").hex()
        return [panel(each, self.summaries.story(each)) for each in running], mark

    def live_html(self, key: str | None) -> tuple[str, str]:
        """Return the panels as a part of a page, and their mark."""
        panels, mark = self.live(key)
        return render("live.html.j2", running=panels), mark

    def file(self, key: str, name: str) -> tuple[bytes, str]:
        """Return the bytes and the type of a shown file; a report is drawn from its figures.

        Raises:
            NotFoundError: there is no such file.
            InputError: it cannot be read.
        """
        place = self._place(key, OF_BUILDS | {"search"})
        if name not in self._files(place):
            raise NotFoundError(name)
        if name == "report.html":
            return report_html(self.summaries.report(place)).encode(), "text/html"
        folder = place.path if place.report is None else place.report.parent
        kind = {".html": "text/html", ".json": "application/json", ".xml": "text/xml"}
        return self.library.read(folder / name), kind.get(name[name.rindex(".") :], "text/plain")

    def problem(self, title: str, words: str) -> str:
        """Return a page that says what is wrong."""
        return self._page("problem.html.j2", title, "", words=words)

    def _page(self, template: str, title: str, here: str, **values: Any) -> str:
        shown = {"folder": self.title, "states": STATES, "width": WIDTH, "height": HEIGHT}
        return render(template, title=title, here=here, **shown, **values)

    def _place(self, key: str, kinds: set[str] | frozenset[str]) -> Place:
        place = self.library.find(key)
        if place is None or place.kind not in kinds:
            raise NotFoundError(key)
        return place

    def _builds(self) -> list[Place]:
        """Return what has or will have a report, the newest first."""
        return [
            each
            for each in self.library.places().values()
            if each.kind in {"build", "report"} or (each.kind == "release" and each.report is not None)
        ]

    def _of_kind(self, kind: str) -> list[Place]:
        return [each for each in self.library.places().values() if each.kind == kind]

    def _followed(self) -> list[Place]:
        return [each for each in self.library.places().values() if each.kind in {"build", "search"}]

    def _files(self, place: Place) -> list[str]:
        folder = place.path if place.report is None else place.report.parent
        names = [name for name in sorted(SHOWN_FILES) if (folder / name).is_file()]
        return (
            ["report.html", *(name for name in names if name != "report.html")] if REPORT in names else names
        )

    def _release(self, place: Place, folder: Path) -> ReleaseRow:
        signature = "present" if (folder / SIGNATURE).is_file() else "none"
        where = folder.relative_to(self.library.root).as_posix()
        key = place.key if place.report is not None else ""
        try:
            manifest = read_manifest(folder)
        except (DeployError, OSError, ValueError) as error:
            why = " ".join(str(error).split()).replace(str(self.library.root), "")
            return ReleaseRow(key, place.kind, folder.name, "", "", "", "", False, signature, where, why)
        expires = manifest.expires
        return ReleaseRow(
            key,
            place.kind,
            manifest.full_name,
            manifest.version,
            manifest.target,
            str(manifest.counter),
            expires.isoformat() if expires else "never",
            expires is not None and expires < date.today(),
            signature,
            where,
            "",
        )


def _counts(found: list[Summary]) -> list[tuple[str, int, str]]:
    counts: dict[str, int] = {}
    for one in found:
        counts[one.state] = counts.get(one.state, 0) + 1
    return [(state, counts[state], STATES[state]) for state in STATES if state in counts]


def _cells(one: Summary, columns: list[str]) -> list[str]:
    figures = dict(one.figures)
    return [figure(name, figures[name]) if name in figures else "" for name in columns]


def _most_frequent(found: list[Summary]) -> str:
    """Return the release with most builds that have figures: only builds of one release are one line."""
    return max(names, key=names.count) if (names := [one.name for one in found if one.figures]) else ""


def _trends(found: list[Summary], name: str, columns: list[str]) -> list[Any]:
    oldest_first = [one for one in reversed(found) if one.figures and one.name == name]
    figures = [
        (f"{one.date[:16].replace('T', ' ')} {one.place.key}", dict(one.figures)) for one in oldest_first
    ]
    drawn = [
        line(name, [(words, each[name]) if name in each else None for words, each in figures])
        for name in columns
    ]
    return [each for each in drawn if each is not None]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objective(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
