"""Commands and files on a device that the system's own adb reaches, over USB or the network.

The user's adb server is used, and started by adb where there is none (``ANDROID_ADB_SERVER_PORT`` has its
say); the program is the one that ``ADB`` names, or that of the PATH.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from typing import TYPE_CHECKING

from deploy.errors import AddressError, MissingToolError, TransportError
from deploy.transports.arguments import arriving, command_line, device_path, last_line
from deploy.transports.processes import finish
from deploy.transports.transport import CommandResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
OVER_THE_NETWORK = re.compile(r".+:[0-9]{1,5}")
CONNECT_TIMEOUT_S = 15.0
ERROR = re.compile(r"(?:adb: error: |adb: |error: )(.+)")
END = re.compile(rb"([0-9]{1,3})\n?")


def parse_serial(text: str) -> str:
    """Return the serial of ``adb://SERIAL``, which for a device over the network is its host:port.

    "" for ``adb://``, the only device that there is.

    Raises:
        AddressError: it is none, or could be taken for an option.
    """
    scheme, _, serial = text.partition("://")
    serial = serial.removesuffix("/")
    if scheme != "adb" or (serial and not SERIAL.fullmatch(serial)):
        message = (
            f"{text!r} is not an address of a device; write it as adb://SERIAL, as `adb devices` lists it"
        )
        raise AddressError(message)
    return serial


class AdbTransport:
    """The transport over adb.

    Args:
        serial: as ``adb devices`` lists it; host:port is connected to; "" for the only device.
    """

    def __init__(self, serial: str = "") -> None:
        if serial:
            parse_serial(f"adb://{serial}")
        self.serial = serial
        self._is_ready = self._has_connected = False

    def __str__(self) -> str:
        return f"adb://{self.serial}"

    def run(self, argv: Sequence[str], *, timeout_s: float = 120.0) -> CommandResult:
        """Run a command there; see ``Transport.run``."""
        line = command_line(argv)
        self._prepare()
        # adb exits with 0 if its link breaks during a command: the shell has to confirm the end.
        end = secrets.token_hex(8)
        result = self._adb(["shell", "-T", f"( {line} )\nprintf '\\n%s %d\\n' {end} $?"], timeout_s)
        out, found, rest = result.out.rpartition(f"\n{end} ".encode())
        status = END.fullmatch(rest)
        if not found or status is None:
            raise self._failed(result)
        return CommandResult(int(status[1]), out, result.err)

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy a file there; see ``Transport.push``. Folders that are missing are made."""
        device_path(remote)
        if not local.is_file():
            message = f"cannot read {local}: it is not a file"
            raise TransportError(message)
        self._prepare()
        result = self._adb(["push", str(local.absolute()), remote], timeout_s)
        if result.status != 0:
            raise self._not_copied(result)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy a file from there; see ``Transport.pull``."""
        device_path(remote)
        self._prepare()
        with arriving(local) as part:
            result = self._adb(["pull", remote, str(part)], timeout_s)
            if result.status != 0:
                raise self._not_copied(result)
            if not part.is_file():
                message = f"{self} did not take part in a copy: {remote} is not a file"
                raise TransportError(message)

    def close(self) -> None:
        """End a connection over the network that was made here; the adb server stays."""
        if self._has_connected:
            self._ended(["disconnect", self.serial], CONNECT_TIMEOUT_S)
        self._is_ready = self._has_connected = False

    def _prepare(self) -> None:
        """Find the device, or connect to it, once."""
        if self._is_ready:
            return
        if not self.serial:
            self.serial = choose_device(self._devices())
        if OVER_THE_NETWORK.fullmatch(self.serial):
            self._connect()
        result = self._adb(["features"], CONNECT_TIMEOUT_S)
        if result.status != 0:
            raise self._failed(result)
        if b"shell_v2" not in result.out.split():
            message = f"{self} or this machine's adb knows no exit statuses; Android 7 does"
            raise TransportError(message)
        self._is_ready = True

    def _connect(self) -> None:
        states = dict(self._devices())
        if states.get(self.serial) == "offline":  # the connection was lost
            self._ended(["disconnect", self.serial], CONNECT_TIMEOUT_S)
        elif self.serial in states:
            return
        result = self._ended(["connect", self.serial], CONNECT_TIMEOUT_S)
        if not result.out.startswith((b"connected to", b"already connected")):
            message = f"cannot reach {self}: {last_line(result.out.decode(errors='replace') + result.err)}"
            raise TransportError(message)
        self._has_connected = True
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while dict(self._devices()).get(self.serial) in (None, "connecting", "authorizing", "offline"):
            if time.monotonic() > deadline:
                break  # the next command reports the reason
            time.sleep(0.05)

    def _devices(self) -> list[tuple[str, str]]:
        result = self._ended(["devices"], CONNECT_TIMEOUT_S)
        if result.status != 0:
            message = f"cannot reach {self}: {last_line(result.err)}"
            raise TransportError(message)
        rows = [line.split("\t") for line in result.out.decode(errors="replace").splitlines() if "\t" in line]
        return [(last_line(serial), last_line(state)) for serial, state, *_ in rows]

    def unreachable(self, output: str) -> TransportError:
        """Return the error for what adb said when a command did not end."""
        errors = _errors(output)
        if not errors and output.strip():
            return self._error(last_line(output))
        return self._error(errors[-1] if errors else "the link was cut")

    def _failed(self, result: CommandResult) -> TransportError:
        """Return the error for the end of a command; the next use looks for the device again."""
        self._is_ready = False
        return self.unreachable(result.err if _errors(result.err) else "")

    def _not_copied(self, result: CommandResult) -> TransportError:
        """Return the error for what adb said of a copy, on either stream."""
        self._is_ready = False
        output = f"{result.out.decode(errors='replace')}\n{result.err}"
        return self._error((_errors(output) or [last_line(output)])[-1], "did not take part in a copy")

    def _error(self, output: str, copy: str = "") -> TransportError:
        if "unauthorized" in output:
            message = f"{self} does not trust this machine's key; unlock its screen and allow USB debugging"
        elif "offline" in output:
            message = f"{self} is offline; plug it in again, or see: adb reconnect"
        elif re.fullmatch("device '.*' not found", output):
            message = f"adb knows no device {self}; those that it knows are listed by: adb devices"
        else:
            message = f"{self} {copy}: {output}" if copy else f"cannot reach {self}: {output}"
        return TransportError(message)

    def _adb(self, argv: Sequence[str], timeout_s: float) -> CommandResult:
        return self._ended(["-s", self.serial, *argv], timeout_s)

    def _ended(self, argv: Sequence[str], timeout_s: float) -> CommandResult:
        try:
            return finish([adb_program(), *argv], str(self), timeout_s)
        except TransportError:
            self._is_ready = False
            raise


def choose_device(devices: Sequence[tuple[str, str]]) -> str:
    """Return the serial of the only device of those that adb lists, each with its state.

    Raises:
        TransportError: there are several, which it lists, or none.
    """
    if len(devices) == 1:
        return devices[0][0]
    if devices:
        listed = ", ".join(f"adb://{serial} ({state})" for serial, state in devices)
        message = f"adb:// is one of {len(devices)} devices; say which: {listed}"
    else:
        message = "adb knows no device; plug one in with USB debugging on, or give its adb://HOST:PORT"
    raise TransportError(message)


def adb_program() -> str:
    """Return the adb to run.

    Raises:
        MissingToolError: there is none.
    """
    found = os.environ.get("ADB") or shutil.which("adb")
    if not found:
        message = "adb is missing; as root: apt-get install adb, or name one in ADB"
        raise MissingToolError(message)
    return found


def _errors(output: str) -> list[str]:
    """Return the lines in which adb says what went wrong, without what they begin with."""
    found = (ERROR.match(line) for line in output.splitlines())
    return [last_line(match[1]) for match in found if match]
