"""Devices as text: a line for each in progress, and a table of all outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipeline.report.tables import make_table
from pipeline.terminal import console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from rich.table import Table

    from deploy.fleet import Outcome
    from deploy.install.versions import Status, Version

SHORT = 12
WIDEST = 40
STYLES = {
    "installed": "green",
    "rolled back": "green",
    "already active": "green",
    "failed": "bold red",
    "not begun": "yellow",
}
MINUTE, HOUR, DAY = 60, 3600, 86400


class Live:
    """A line on stderr for each device under way, where that is a terminal; failures stay, on any stderr.

    Args:
        doing: what is done to the devices, such as ``"deploy"``.
        addresses: of all devices; the failure of a single one is the error of the command, not printed here.
    """

    def __init__(self, doing: str, addresses: Sequence[str]) -> None:
        self._doing, self._total, self._ended = doing, len(addresses), 0
        self._width = min(max(map(len, addresses), default=0), WIDEST)
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[step]}", style="dim", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None

    def __enter__(self) -> Live:
        self._progress.start()
        if self._total > 1:
            self._all = self._progress.add_task(
                self._doing.ljust(self._width), total=None, step=self._count()
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_change(self, outcome: Outcome) -> None:
        """Hear of a device that begins or ends."""
        if outcome.state == "under way":
            name = outcome.address.ljust(self._width)
            self._tasks[outcome.address] = self._progress.add_task(name, total=None, step="")
            return
        if outcome.address in self._tasks:
            self._progress.remove_task(self._tasks.pop(outcome.address))
        self._ended += 1
        if self._all is not None:
            self._progress.update(self._all, step=self._count())
        if outcome.state == "failed" and self._total > 1:
            failure = Text.assemble(outcome.address, ": ", reason(outcome))
            console.print(failure, soft_wrap=True)

    def on_step(self, address: str) -> Callable[[str], None]:
        """Return what hears the steps of a device, in whatever thread."""

        def hear(step: str) -> None:
            task = self._tasks.get(address)
            if task is not None:
                self._progress.update(task, step=step)

        return hear

    def _count(self) -> str:
        return f"{self._ended} of {self._total} devices"


def outcome_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """Return a table of the devices: previous and active version, outcome and reason."""
    table = make_table(title, "device", "before", "", "after", "outcome", "seconds", "")
    table.columns[5].justify = "right"
    for one in outcomes:
        after = " ".join(part for part in (short(one.after), one.version) if part)
        table.add_row(
            Text(one.address),
            short(one.before),
            "→" if after else "",
            Text(after),
            Text(one.state, STYLES.get(one.state, "")),
            f"{one.seconds:.1f}" if one.state != "not begun" else "",
            Text("; ".join(one.notes) or reason(one)),
        )
    return table


def status_table(found: Mapping[str, Status]) -> Table:
    """Return a table of the devices: active version, version for rollback, and health."""
    table = make_table("", "device", "active", "previous", "healthy", "versions", "free", "counted", "")
    for column in table.columns[4:7]:
        column.justify = "right"
    for address, one in found.items():
        shown, style = {True: ("yes", "green"), False: ("no", "bold red"), None: ("unknown", "yellow")}[
            one.healthy
        ]
        table.add_row(
            Text(address),
            _version(one.active),
            _version(one.previous),
            Text(shown, style),
            f"{one.versions}",
            f"{one.free_bytes / 2**20:,.0f} MiB",
            "never" if one.statistics_age_s is None else f"{age(one.statistics_age_s)} ago",
            Text(_without(address, one.why)),
        )
    return table


def versions_table(found: Mapping[str, Sequence[Version]]) -> Table:
    """Return a table of the versions on each device."""
    table = make_table("", "device", "version", "counter", "target", "digest", "size", "")
    for at in (2, 5):
        table.columns[at].justify = "right"
    for address, versions in found.items():
        for one in versions:
            kind = "active" if one.is_active else "previous" if one.is_previous else ""
            table.add_row(
                Text(address),
                Text(one.version),
                f"{one.counter}",
                Text(one.target),
                short(one.digest),
                f"{one.size_bytes / 2**20:,.1f} MiB",
                Text(kind, "green" if one.is_active else ""),
            )
    return table


def removed_table(found: Mapping[str, Sequence[str]]) -> Table:
    """Return a table of the versions that were removed from each device."""
    table = make_table("", "device", "removed")
    for address, digests in found.items():
        table.add_row(Text(address), ", ".join(map(short, digests)) or "nothing")
    return table


def short(digest: str | None) -> str:
    """Return the beginning of a digest; "" of none."""
    return (digest or "")[:SHORT]


def reason(outcome: Outcome) -> str:
    """Why it failed, without the address that a table or line has before it."""
    return _without(outcome.address, outcome.why)


def age(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _without(address: str, why: str) -> str:
    return why.removeprefix(f"{address}: ").removeprefix(f"{address} ")


def _version(one: Version | None) -> Text:
    return Text(f"{short(one.digest)} {one.version}" if one else "none")
