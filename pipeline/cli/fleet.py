"""Turn options of commands into devices, and results into output and exit codes."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from rich.table import Table

    from deploy.fleet import Outcome
    from deploy.install.install import Step
    from deploy.install.options import Options
    from deploy.transports.transport import Transport

    Work: TypeAlias = Callable[[str, Transport, Options, Step], Outcome]

Found = TypeVar("Found")

WIDEST = 2000
AGAIN = "run the same command again to continue"


@dataclass(frozen=True)
class Fleet:
    """The devices, how many at a time, and what is said of each."""

    addresses: tuple[str, ...]
    parallel: int
    canary: int
    max_failures: int
    python: str | None
    options: dict[str, Any]


def make_fleet(given: dict[str, Any]) -> Fleet:
    """Make a fleet of a command's options; those of its ``Options`` are what is left.

    Raises:
        ConfigError: no device was named.
        DeviceError: the emulated board was named and none is up.
    """
    from deploy.fleet import each_once, read_addresses
    from pipeline.emulation.board.addresses import open_device
    from pipeline.errors import ConfigError

    options = dict(given)
    named, file = each_once(options.pop("addresses"), open_device), options.pop("to_file")
    addresses = tuple(dict.fromkeys([*named, *(read_addresses(file, open_device) if file else ())]))
    if not addresses:
        msg = "which devices? name each with --to ssh://user@host or --to adb://SERIAL, or all in a --to-file"
        raise ConfigError(msg)
    return Fleet(
        addresses,
        options.pop("parallel"),
        options.pop("canary", 0),
        options.pop("max_failures", len(addresses)),
        options.pop("python"),
        options,
    )


@contextmanager
def _opened(address: str) -> Iterator[Transport]:
    from deploy.errors import TransportError
    from pipeline.emulation.board.addresses import open_device

    transport = open_device(address)
    try:
        yield transport
    finally:
        with suppress(TransportError):  # the command has finished
            transport.close()


def _options_for(fleet: Fleet, transport: Transport) -> Options:
    """Return the options of one device: a Python in its address counts where no other was named."""
    from deploy.install.options import Options
    from deploy.transports.ssh import SshTransport

    named = transport.address.python if isinstance(transport, SshTransport) else ""
    python = fleet.python or (named if named.startswith("/") else None)
    return Options(python=python, **fleet.options)


def roll_out_and_print(
    fleet: Fleet,
    doing: str,
    work: Work,
    about: dict[str, Any],
    title: str,
    *,
    then: str = AGAIN,
    as_json: bool,
) -> None:
    """Change devices, print the outcomes, and exit accordingly; ``then`` is the hint on how to continue."""
    from pipeline.report.fleet import outcome_table

    seen: dict[str, Outcome] = {}
    try:
        _visit(fleet, doing, work, seen)
    except KeyboardInterrupt:
        if then != AGAIN:
            click.echo(f"pipeline: {then}", err=True)
        raise
    finally:  # also of one that is interrupted
        outcomes = [seen[address] for address in fleet.addresses if address in seen]
        if as_json:
            click.echo(json.dumps(about | {"devices": [_plain(one) for one in outcomes]}, indent=2))
        elif len(fleet.addresses) > 1 or all(one.state != "failed" for one in outcomes):
            _print(outcome_table(title, outcomes))
    _end(outcomes, then)


def query_and_print(
    fleet: Fleet,
    name: str,
    doing: str,
    ask: Callable[[Transport, Options], Found],
    table_of: Callable[[dict[str, Found]], Table],
    *,
    as_json: bool,
) -> dict[str, Found]:
    """Ask devices, print what they answered, and end as they did; return the answers by address."""
    from deploy.fleet import Outcome

    answers: dict[str, Found] = {}
    seen: dict[str, Outcome] = {}

    def work(address: str, transport: Transport, options: Options, on_step: Step) -> Outcome:
        on_step("ask")
        answers[address] = ask(transport, options)
        return Outcome(address=address, state="answered")

    _visit(fleet, doing, work, seen)
    found = {address: answers[address] for address in fleet.addresses if address in answers}
    problems = {address: one.why for address, one in seen.items() if one.state == "failed"}
    if as_json:
        plain = {"name": name, "devices": found, "problems": problems}
        click.echo(json.dumps(plain, indent=2, default=asdict))
    elif found:
        _print(table_of(found))
    _end(list(seen.values()), "the others answered")
    return found


def _visit(
    fleet: Fleet,
    doing: str,
    work: Work,
    seen: dict[str, Outcome],
) -> None:
    """Do the work on every device; what becomes of them is added to ``seen`` as it is known."""
    from deploy.fleet import roll_out
    from pipeline.report.fleet import Live

    with Live(doing, fleet.addresses) as live:

        def visit(address: str) -> Outcome:
            with _opened(address) as transport:
                return work(address, transport, _options_for(fleet, transport), live.on_step(address))

        def hear(outcome: Outcome) -> None:
            live.on_change(outcome)
            seen[outcome.address] = outcome

        roll_out(
            fleet.addresses,
            visit,
            parallel=fleet.parallel,
            canary=fleet.canary,
            max_failures=fleet.max_failures,
            on_change=hear,
        )


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "address": outcome.address,
        "state": outcome.state,
        "before": outcome.before,
        "after": outcome.after,
        "version": outcome.version,
        "seconds": round(outcome.seconds, 3),
        "why": outcome.why,
        "notes": list(outcome.notes),
    }


def _print(table: Table) -> None:
    """Print a table: as wide as a terminal is, and in a file or pipe as wide as its rows are."""
    from pipeline.terminal import Terminal

    is_fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    Terminal(highlight=False, markup=False, width=None if is_fixed else WIDEST).print_whole(table)


def _end(outcomes: Sequence[Outcome], then: str) -> None:
    """Raise what the command ends with: a single device's own error, or one for all that failed.

    Raises:
        IntegrityError: all failures are of signatures or downgrades.
        DeviceError: otherwise.
    """
    from deploy.errors import DeployError, SignatureError
    from pipeline.errors import DeviceError, IntegrityError, PipelineError

    failed = [one for one in outcomes if one.state == "failed"]
    if not failed:
        return
    error = failed[0].error
    if len(outcomes) == 1:
        if isinstance(error, DeployError):
            raise error
        msg = f"{failed[0].address}: {failed[0].why}"
        raise PipelineError(msg) from error
    left = sum(one.state == "not begun" for one in outcomes)
    msg = (
        f"{len(failed)} of {len(outcomes)} devices failed: {', '.join(one.address for one in failed)}"
        f"{f'; not begun: {left}' if left else ''}; {then}"
    )
    is_integrity = all(isinstance(one.error, SignatureError) for one in failed)
    raise (IntegrityError if is_integrity else DeviceError)(msg)
