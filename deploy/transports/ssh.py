"""Commands and files on a machine that is reached over ssh, by the system's own ssh.

Files go through ``cat``, which every host has: small ones, such as dropbear's, often have no sftp server.

Host keys are always checked: a key that is not known, or is another one than the known one, ends in an error
that says what to do, and is never taken over. A command is a list of words and arrives as exactly these.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from deploy.errors import AddressError, MissingToolError, TransportError
from deploy.transports.arguments import arriving, command_line, device_path, last_line
from deploy.transports.processes import finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.transports.transport import CommandResult

LINK_PATH_LIMIT = 80
"""A longer path is no name for a socket, less what ssh appends to it."""

FAILED = 255
"""Exit status of ssh if it did not reach the machine; otherwise it is that of the command."""

PUT = 'cat > "$1" && chmod "$2" "$1"'
GET = 'printf "%s\\n" "$2" && cat "$1"'

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PYTHON = re.compile(r"/(?:[A-Za-z0-9_.+-]+/)*python[0-9.]*")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True)
class SshAddress:
    """A machine that is reached over ssh.

    Attributes:
        host: a name or address.
        user: None for the one that ssh's own configuration says.
        port: None likewise.
        identity: the private key to use; None for what ssh's own configuration says.
        known_hosts: the file with the machine's key; None for the user's own.
        link: the socket of a connection that is open and carries further ones; None for one of their own.
        python: the machine's Python: a name, or a whole path.
    """

    host: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    link: Path | None = None
    python: str = "python3"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        python = self.python if self.python.startswith("/") else ""
        return f"ssh://{self.user + '@' if self.user else ''}{host}{port}{python}"

    @property
    def shell(self) -> list[str]:
        """The command that opens a shell there."""
        return ["ssh", *self._options("-p"), "-o", "RequestTTY=auto", "--", self.host]

    def command(self, argv: Sequence[str], *, opens_link: bool = False) -> list[str]:
        """Return the local command that runs ``argv`` there; nothing in them is interpreted.

        With ``opens_link`` its connection is the ``link`` for as long as it runs.
        """
        options = ["-T", "-o", "BatchMode=yes"]
        if opens_link and self.link is not None:
            options += ["-o", "ControlMaster=yes"]
        return ["ssh", *options, *self._options("-p"), "--", self.host, command_line(argv)]

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 120.0) -> CommandResult:
        """Run a command there and return how it ended.

        Raises:
            TransportError: the machine was not reached, its key is not the known one, or it took too long.
            MissingToolError: this machine has no ssh.
        """
        result = self._ended(self.command(argv), stdin, timeout_s)
        if result.status == FAILED:
            raise self.unreachable(result.err)
        return result

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy a file there.

        Raises:
            TransportError: as ``run``, or there is no room, folder or permission for it.
        """
        try:
            with local.open("rb") as file:
                mode = f"{local.stat().st_mode & 0o777:o}"
                result = self._ended(self.command(["sh", "-c", PUT, "sh", remote, mode]), file, timeout_s)
        except OSError as error:
            message = f"cannot read {local}: {error.strerror or error}"
            raise TransportError(message) from error
        self._require_copied(result)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy a file from there.

        Raises:
            TransportError: as ``run``, or there is no such file.
        """
        with arriving(local) as part:
            mark = secrets.token_hex(8)
            with part.open("w+b") as file:
                command = self.command(["sh", "-c", GET, "sh", remote, mark])
                self._require_copied(self._ended(command, b"", timeout_s, file))
                file.seek(0)
                if file.read(len(mark) + 1) != f"{mark}\n".encode():
                    message = (
                        f"{self} did not take part in a copy: its shell's start-up file prints something; "
                        "let it print nothing where no terminal is"
                    )
                    raise TransportError(message)
                _drop_beginning(file, len(mark) + 1)

    def unreachable(self, errors: str) -> TransportError:
        """Return the error for what ssh said when it did not reach the machine."""
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors:
            message = (
                f"{self} has another host key than the known one; find out why before you trust it again"
            )
        elif "Host key verification failed" in errors:
            by_hand = f"ssh {f'-p {self.port} ' if self.port else ''}{self.host}"
            message = (
                f"the host key of {self} is not known; compare it with the device's own, then: {by_hand}"
            )
        elif "Permission denied" in errors:
            message = f"{self} refuses the login; put a key of yours into its authorized_keys"
        else:
            message = f"cannot reach {self}: {last_line(errors)}"
        return TransportError(message)

    def _options(self, port_option: str) -> list[str]:
        options = [
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "ConnectTimeout=15",
            "-o",
            "ClearAllForwardings=yes",
            "-o",
            "ServerAliveInterval=15",  # a link that is cut ends, within a minute
        ]
        if self.link is not None:
            options += ["-o", f"ControlPath={str(self.link).replace('%', '%%')}"]
        if self.known_hosts is not None:  # a machine of our own: the user's configuration has no say
            options += ["-F", "none", "-o", f"UserKnownHostsFile={self.known_hosts}"]
            options += ["-o", "GlobalKnownHostsFile=none"]
        if self.identity is not None:
            options += ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"]
        if self.user is not None:
            options += ["-o", f"User={self.user}"]
        if self.port is not None:
            options += [port_option, str(self.port)]
        return options

    def _require_copied(self, result: CommandResult) -> None:
        if result.status == FAILED:
            raise self.unreachable(result.err)
        if result.status != 0:
            message = f"{self} did not take part in a copy: {last_line(result.err)}"
            raise TransportError(message)

    def _ended(
        self,
        command: Sequence[str],
        stdin: bytes | IO[bytes],
        timeout_s: float,
        file: IO[bytes] | None = None,
    ) -> CommandResult:
        require_client()
        return finish(command, str(self), timeout_s, stdin=stdin, file=file)


class SshTransport:
    """The transport over one ssh connection, which is opened at the first use and again after it broke.

    The connection's socket is in a folder of its own: one that the user's ssh shares already is left alone.
    It serves one thread. A command that takes too long may go on over there.
    """

    def __init__(self, address: SshAddress) -> None:
        self.address = address
        self._folder: Path | None = None
        self._link: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        return str(self.address)

    def run(self, argv: Sequence[str], *, timeout_s: float = 120.0) -> CommandResult:
        """Run a command there; see ``Transport.run``."""
        address = self._linked(timeout_s)
        result = address._ended(address.command(argv), b"", timeout_s)
        if result.status == FAILED and not self._is_up():
            raise self.address.unreachable(result.err)
        return result

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy a file there; see ``Transport.push``."""
        self._linked(timeout_s).push(local, device_path(remote), timeout_s=timeout_s)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy a file from there; see ``Transport.pull``."""
        self._linked(timeout_s).pull(device_path(remote), local, timeout_s=timeout_s)

    def close(self) -> None:
        """End the connection."""
        if self._link is not None:
            self._link.terminate()
            self._link.communicate()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._link = self._folder = None

    def _is_up(self) -> bool:
        """Return whether the connection is still open after status 255, which a command may return, too."""
        if self._link is None:
            return False
        try:
            self._link.wait(0.3)  # it ends together with what it carried
        except subprocess.TimeoutExpired:
            return True
        return False

    def _linked(self, timeout_s: float) -> SshAddress:
        """Return the address with a connection that is open.

        Raises:
            TransportError: the device is not reached.
        """
        if self._link is not None and self._link.poll() is None:
            assert self._folder is not None
            return replace(self.address, link=self._folder / "link")
        self.close()
        require_client()
        self._folder = Path(tempfile.mkdtemp(prefix="edge-ssh-"))
        address = replace(self.address, link=self._folder / "link")
        if len(str(address.link)) > LINK_PATH_LIMIT:
            shutil.rmtree(self._folder)
            message = f"{self._folder.parent} is too long a path for a socket; set TMPDIR to a shorter one"
            raise TransportError(message)
        # `cat` ends with its input, so the connection does not outlive this process, however that ends.
        error_file = self._folder / "stderr"
        with error_file.open("wb") as errors:
            self._link = subprocess.Popen(
                address.command(["cat"], opens_link=True),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        deadline = time.monotonic() + timeout_s
        while not (self._folder / "link").exists():
            if self._link.poll() is not None:
                raise self.address.unreachable(error_file.read_text(encoding="utf-8", errors="replace"))
            if time.monotonic() > deadline:
                self.close()
                message = f"{self} gave no answer in {timeout_s:.0f} s; is it still there?"
                raise TransportError(message)
            time.sleep(0.01)
        return address


def parse_address(text: str) -> SshAddress:
    """Return the address that ``ssh://[user@]host[:port][/path/of/python3]`` is.

    Raises:
        AddressError: it is none, or a part of it could be taken for an option.
    """
    hint = "write it as ssh://user@host or ssh://user@host:port"
    try:
        parts = urlsplit(text)
        host, user, port = parts.hostname or "", parts.username, parts.port
    except ValueError as error:
        message = f"{text!r} is not an address of a device: {error}; {hint}"
        raise AddressError(message) from error
    whole = parts.scheme == "ssh" and not parts.query and not parts.fragment and parts.password is None
    if not whole or not (parts.path in ("", "/") or PYTHON.fullmatch(parts.path)):
        message = f"{text!r} is not an address of a device; {hint}"
        raise AddressError(message)
    for name, value, pattern in (("host", host, HOST), ("user", user or "root", NAME)):
        if not pattern.fullmatch(value):
            message = f"{value!r} is not a valid {name} name in {text!r}; {hint}"
            raise AddressError(message)
    return SshAddress(host, user, port, python=parts.path.rstrip("/") or "python3")


def split_addresses(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[SshAddress, ...]]:
    """Part names of devices from addresses of real ones, each once.

    Raises:
        AddressError: an address is none that can be used; says how to write it.
    """
    plain, addresses = [], []
    for name in map(str.strip, names):
        if name.startswith("adb:"):
            message = f"{name!r}: models are measured over ssh alone; give an ssh://user@host"
            raise AddressError(message)
        if "://" in name:
            addresses.append(parse_address(name))
        else:
            plain.append(name)
    return tuple(dict.fromkeys(plain)), tuple(dict.fromkeys(addresses))


def _drop_beginning(file: IO[bytes], count: int) -> None:
    """Move a file's content ``count`` bytes to its front."""
    at = 0
    while True:
        file.seek(at + count)
        chunk = file.read(1 << 20)
        file.seek(at)
        if not chunk:
            file.truncate()
            return
        file.write(chunk)
        at += len(chunk)


def require_client() -> None:
    """Check that this machine has OpenSSH's programs.

    Raises:
        MissingToolError: one is missing; names the package.
    """
    for name in ("ssh", "ssh-keygen"):
        if shutil.which(name) is None:
            message = f"{name} is missing; as root: apt-get install openssh-client"
            raise MissingToolError(message)
