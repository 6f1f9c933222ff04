"""This machine as a device: its own shell and files, for a release that stays here, and for tests."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from deploy.errors import TransportError
from deploy.transports.arguments import arriving, command_line, device_path
from deploy.transports.processes import finish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.transports.transport import CommandResult

ADDRESS = "local://"


class LocalTransport:
    """A transport to this machine; paths are its own."""

    def __str__(self) -> str:
        return ADDRESS

    def run(self, argv: Sequence[str], *, timeout_s: float = 120.0) -> CommandResult:
        """Run a command in a shell, as the other ways do; see ``Transport.run``."""
        result = finish(["sh", "-c", command_line(argv)], str(self), timeout_s)
        # A shell ends with 128 and the signal's number; one that became the command is ended by the signal.
        return replace(result, status=128 - result.status) if result.status < 0 else result

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy a file; see ``Transport.push``."""
        try:
            shutil.copyfile(local, device_path(remote))
            shutil.copymode(local, remote)
        except OSError as error:
            message = f"{self} did not take part in a copy: {error.filename}: {error.strerror or error}"
            raise TransportError(message) from error

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy a file; see ``Transport.pull``."""
        device_path(remote)
        with arriving(local) as part:
            try:
                shutil.copyfile(remote, part)
            except OSError as error:
                message = f"{self} did not take part in a copy: {error.filename}: {error.strerror or error}"
                raise TransportError(message) from error

    def close(self) -> None:
        """Nothing is held open."""
