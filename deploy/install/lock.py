"""One installation at a time on a device."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import RefusedError, TransportError
from deploy.install import scripts
from deploy.install.device import version_in
from deploy.install.messages import BUSY, LOCK_MINUTES, fields, printed, run_script, silent_script, unframed

if TYPE_CHECKING:
    from deploy.install.device import DeviceState
    from deploy.transports.transport import Transport

_held: set[str] = set()  # ids of the locks that this process uses


def this_machine() -> str:
    """Return what tells the processes that this one sees from others, and says nothing else of the machine.

    Two containers of one machine, since it was started, see other processes of the same numbers.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    about = boot.read_bytes() if boot.exists() else b""
    with suppress(OSError):
        about += Path("/proc/self/ns/pid").readlink().name.encode()
    return hashlib.sha256(about).hexdigest()[:16]


def _is_dead(owner: str, holder: str) -> bool:
    """Return whether a lock was of a process that this one would see, and is used no more."""
    machine, _, process = owner.partition(":")
    if machine != this_machine() or not re.fullmatch("[0-9]{1,10}", process, re.ASCII):
        return False
    # One of this very process may not have been given back because the link was lost.
    return holder not in _held if process == str(os.getpid()) else not Path(f"/proc/{process}").exists()


class Lock:
    """One installation at a time on a device; ``with Lock(...) as lock`` gives its ``id``.

    A lock whose owner was killed on this machine is taken over at once, another one after ``LOCK_MINUTES``.
    What it left is removed then.

    Args:
        there: the folder of all versions.
        state: what was found before; another installation must not have changed it meanwhile.

    Raises:
        RefusedError: another installation holds it, or was there in between.
        TransportError: the device was not reached, or cannot be written to.
    """

    def __init__(
        self, transport: Transport, there: str, state: DeviceState, *, break_lock: bool = False
    ) -> None:
        self.transport, self.there, self.state, self.break_lock = transport, there, state, break_lock
        self.id = secrets.token_hex(8)

    def __enter__(self) -> Lock:
        _held.add(self.id)
        try:
            found = fields(self.transport, self._take(by_force=self.break_lock), ("current", "previous"))
            if (version_in(found["current"]), version_in(found["previous"])) != (
                self.state.active,
                self.state.previous,
            ):
                msg = f"{self.transport} was installed to by somebody else just now; look again"
                raise RefusedError(msg)
        except BaseException:
            self._give_back()  # it may have been taken before the link was lost
            raise
        return self

    def _take(self, *, by_force: bool) -> str:
        force = "yes" if by_force else ""
        arguments = (self.there, self.id, str(LOCK_MINUTES), force, f"{this_machine()}:{os.getpid()}")
        result = run_script(self.transport, scripts.LOCK, *arguments)
        if result.status == BUSY and not by_force:
            found = fields(self.transport, unframed(self.transport, result), ("owner", "holder"))
            if _is_dead(found["owner"], found["holder"]):
                return self._take(by_force=True)
        return printed(self.transport, result)

    def refresh(self) -> None:
        """Keep the lock from growing old.

        Raises:
            RefusedError: another installation took it over.
            TransportError: the device was not reached.
        """
        silent_script(self.transport, scripts.HELD, self.there, self.id)

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        _held.discard(self.id)
        try:
            run_script(self.transport, scripts.UNLOCK, self.there, self.id)
        except TransportError:
            return  # the next installation takes over, see LOCK_MINUTES
