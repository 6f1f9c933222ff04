"""This machine as a device: its own shell and files, for a release that stays here, and for tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from deploy.errors import TransportError
from deploy.transports.transport import Ran
from deploy.transports.words import arriving, command_line, device_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ADDRESS = "local://"


class LocalTransport:
    """A way to this machine; paths are its own."""

    def __str__(self) -> str:
        return ADDRESS

    def run(self, words: Sequence[str], *, timeout_s: float = 120.0) -> Ran:
        """Run a command in a shell, as the other ways do; see ``Transport.run``."""
        try:
            process = subprocess.Popen(
                ["sh", "-c", command_line(words)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            message = f"cannot run {words[0]!r} here: {error.strerror or error}"
            raise TransportError(message) from error
        with process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                message = f"{self} gave no answer in {timeout_s:.0f} s; is it still there?"
                raise TransportError(message) from None
        # A shell ends with 128 and the signal's number; one that became the command is ended by the signal.
        status = 128 - process.returncode if process.returncode < 0 else process.returncode
        return Ran(status, out, err.decode(errors="replace"))

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
