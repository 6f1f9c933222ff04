"""Many devices, a few at a time: some first to try it on, and a stop where too many fail.

A fleet knows nothing of what is done to a device: that is a function of its address. Every device ends with
an outcome, whatever happens on the others, and the same call again resumes where this one ended.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from itertools import islice
from threading import Thread
from typing import TYPE_CHECKING, Literal

from deploy.errors import AddressError, DeployError
from deploy.transports.addresses import open_transport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from deploy.transports.transport import Transport

    Open: TypeAlias = Callable[[str], Transport]

MAX_FILE_BYTES = 1 << 20
MAX_ADDRESS_CHARS = 300

State = Literal["under way", "installed", "already active", "rolled back", "answered", "failed", "not begun"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome for one device.

    Attributes:
        state: at the end never "under way".
        before: digest of the version that was active; None if there was none, or nothing is known.
        after: digest of the version that is active; None if nothing is known.
        version: of ``after``, as shown to users; "" if nothing is known.
        seconds: from its beginning to its end; 0 of one that was not begun.
        why: it failed or was not begun, in one line; "" otherwise.
        notes: what the user should know of a device that did not fail, one line each.
        error: what was raised where it failed; anything but a ``DeployError`` is a fault of the program.
    """

    address: str
    state: State
    before: str | None = None
    after: str | None = None
    version: str = ""
    seconds: float = 0.0
    why: str = ""
    notes: tuple[str, ...] = ()
    error: Exception | None = None


Work = Callable[[str], Outcome]
Change = Callable[[Outcome], None]


def roll_out(
    addresses: Sequence[str],
    work: Work,
    *,
    parallel: int = 4,
    canary: int = 1,
    max_failures: int = 1,
    on_change: Change,
) -> tuple[Outcome, ...]:
    """Do the work on every device, and return the outcomes in the order of the addresses.

    The first ``canary`` devices go first; the others wait for them, and none is started if one of
    them failed. After the ``max_failures``-th failure among the others no more are started, and those
    that are under way end.

    Args:
        addresses: each once.
        work: called in a thread of its own; what it raises is the device's failure.
        parallel: how many are under way at a time, at least 1.
        canary: 0: there is none.
        max_failures: at least 1.
        on_change: hears of every device that begins, ends or is not begun, always in this thread.

    Raises:
        KeyboardInterrupt: as it came, after those under way have ended; no other was begun. A second one does
            not wait for them.
    """
    canaries, others = addresses[:canary], addresses[canary:]
    done: dict[str, Outcome] = {}
    try:
        _phase(canaries, work, parallel, 1, done, on_change)
        failed = [one.address for one in done.values() if one.state == "failed"]
        why = f"{failed[0]}, which was to try it first, failed" if failed else ""
        if not failed:
            _phase(others, work, parallel, max_failures, done, on_change)
            count = sum(one.state == "failed" for one in done.values())
            why = f"{count} {'device' if count == 1 else 'devices'} failed before"
    except KeyboardInterrupt:
        _leave_out(addresses, "interrupted", done, on_change)
        raise
    _leave_out(addresses, why, done, on_change)
    return tuple(done[address] for address in addresses)


def _phase(
    addresses: Sequence[str],
    work: Work,
    parallel: int,
    max_failures: int,
    done: dict[str, Outcome],
    on_change: Change,
) -> None:
    """Do the work on devices until all ended or too many failed; their outcomes are added to ``done``."""
    waiting = iter(addresses)
    running: dict[Future[Outcome], str] = {}
    failures = 0
    try:
        while True:
            for address in islice(waiting, parallel - len(running) if failures < max_failures else 0):
                on_change(Outcome(address=address, state="under way"))
                future: Future[Outcome] = Future()
                running[future] = address
                # An executor would wait for its threads at the exit; who interrupts twice wants to leave.
                Thread(target=_settle, args=(future, address, work), name=address, daemon=True).start()
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = done[running[future]] = future.result()
                del running[future]
                failures += outcome.state == "failed"
                on_change(outcome)
    except KeyboardInterrupt:
        begun = [future for future in running if not future.cancel()]
        try:
            wait(begun)
        finally:
            for future in begun:
                address = running[future]
                left = Outcome(address=address, state="failed", why="stopped while it was running")
                done[address] = future.result() if future.done() else left
                on_change(done[address])
        raise


def _settle(future: Future[Outcome], address: str, work: Work) -> None:
    # A terminal's Ctrl-C goes to ssh and adb too, which inherit this: what is under way ends undisturbed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if future.set_running_or_notify_cancel():
        future.set_result(_outcome(address, work))


def _outcome(address: str, work: Work) -> Outcome:
    begun = time.monotonic()
    try:
        outcome = work(address)
    except DeployError as error:
        outcome = Outcome(address=address, state="failed", why=_line(str(error)), error=error)
    except Exception as error:  # of one device; the results of the others are kept
        why = _line(f"{type(error).__name__}: {error}")
        outcome = Outcome(address=address, state="failed", why=why, error=error)
    return replace(outcome, seconds=time.monotonic() - begun)


def _leave_out(addresses: Sequence[str], why: str, done: dict[str, Outcome], on_change: Change) -> None:
    for address in addresses:
        if address not in done:
            done[address] = Outcome(address=address, state="not begun", why=why)
            on_change(done[address])


def read_addresses(path: Path, opened: Open = open_transport) -> tuple[str, ...]:
    """Return the addresses in a file: one a line, ``#`` begins a comment, each device once.

    Raises:
        AddressError: a line is not an address; says which.
        DeployError: the file cannot be read, or has no address.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not a text file in UTF-8"
        msg = f"{path}: {cause}; write a file with one address of a device a line"
        raise DeployError(msg) from error
    if len(content) > MAX_FILE_BYTES:
        msg = f"{path}: more than {MAX_FILE_BYTES >> 20} MiB; split it into files of one fleet each"
        raise DeployError(msg)
    found: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        address = line.partition("#")[0].strip()
        if address:
            try:
                found += each_once([address], opened)
            except AddressError as error:
                msg = f"{path}:{number}: {error}"
                raise AddressError(msg) from error
    if not found:
        msg = f"{path}: no address of a device; write one a line, such as ssh://user@host"
        raise DeployError(msg)
    return tuple(dict.fromkeys(found))


def each_once(addresses: Iterable[str], opened: Open = open_transport) -> tuple[str, ...]:
    """Return the addresses as they are written shortest, in their order; one that comes again is dropped.

    Args:
        opened: returns the way to an address, whose text is the shortest.

    Raises:
        AddressError: one is none.
    """
    found: dict[str, None] = {}
    for address in addresses:
        if len(address) > MAX_ADDRESS_CHARS:
            msg = f"{address[:40]!r}... is not an address of a device: it has {len(address):,} characters"
            raise AddressError(msg)
        found[str(opened(address))] = None
    return tuple(found)


def _line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
