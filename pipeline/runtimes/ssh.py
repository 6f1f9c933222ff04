"""Commands and files on a machine that is reached over ssh, by the system's own ssh and sftp.

Host keys are always checked: a key that is not known, or is another one than the known one, ends in an error
that says what to do, and is never taken over. A command is a list of words and arrives as exactly these.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.errors import ConfigError, DeviceError, ToolchainError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FAILED = 255
"""What ssh ends with where it did not reach the machine; a command's own status otherwise."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PYTHON = re.compile(r"/(?:[A-Za-z0-9_.+-]+/)*python[0-9.]*")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True)
class Ran:
    """A command that ended on the other machine, with its exit status and what it printed."""

    status: int
    out: bytes
    err: str


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

    def command(self, words: Sequence[str], *, opens_link: bool = False) -> list[str]:
        """Return the local command that runs ``words`` there; nothing in them is interpreted.

        With ``opens_link`` its connection is the ``link`` for as long as it runs.
        """
        options = ["-T", "-o", "BatchMode=yes"]
        if opens_link and self.link is not None:
            options += ["-o", "ControlMaster=yes"]
        return ["ssh", *options, *self._options("-p"), "--", self.host, shlex.join(words)]

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 120.0) -> Ran:
        """Run a command there and return how it ended.

        Raises:
            DeviceError: the machine was not reached, its key is not the known one, or it took too long.
            ToolchainError: this machine has no ssh.
        """
        return self._ran(self.command(words), stdin, timeout_s)

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy a file there.

        Raises:
            DeviceError: as ``run``, or there is no room, folder or permission for it.
        """
        self._sftp(f"put {_quoted(str(local))} {_quoted(remote)}", timeout_s)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy a file from there.

        Raises:
            DeviceError: as ``run``, or there is no such file.
        """
        self._sftp(f"get {_quoted(remote)} {_quoted(str(local))}", timeout_s)

    def unreachable(self, errors: str) -> DeviceError:
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
            last = [line for line in errors.splitlines() if line.strip()]
            said = " ".join(last[-1].split()) if last else "it said nothing"
            message = f"cannot reach {self}: {said}"
        return DeviceError(message)

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

    def _sftp(self, command: str, timeout_s: float) -> None:
        options = ["-q", "-b", "-", *self._options("-P"), "--", self.host]
        ran = self._ran(["sftp", *options], f"{command}\n".encode(), timeout_s)
        if ran.status != 0:
            last = ran.err.strip().splitlines()[-1:] or ["it said nothing"]
            message = f"{self} did not take part in a copy: {' '.join(last[0].split())}"
            raise DeviceError(message)

    def _ran(self, command: Sequence[str], stdin: bytes, timeout_s: float) -> Ran:
        require_client()
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            message = f"{self} gave no answer in {timeout_s:.0f} s; is it still there?"
            raise DeviceError(message) from None
        errors = done.stderr.decode(errors="replace")
        if done.returncode == FAILED:
            raise self.unreachable(errors)
        return Ran(done.returncode, done.stdout, errors)


def parse_address(text: str) -> SshAddress:
    """Return the address that ``ssh://[user@]host[:port][/path/of/python3]`` is.

    Raises:
        ConfigError: it is none, or a part of it could be taken for an option.
    """
    wanted = "write it as ssh://user@host or ssh://user@host:port"
    try:
        parts = urlsplit(text)
        host, user, port = parts.hostname or "", parts.username, parts.port
    except ValueError as error:
        message = f"{text!r} is no address of a device: {error}; {wanted}"
        raise ConfigError(message) from error
    whole = parts.scheme == "ssh" and not parts.query and not parts.fragment and parts.password is None
    if not whole or not (parts.path in ("", "/") or PYTHON.fullmatch(parts.path)):
        message = f"{text!r} is no address of a device; {wanted}"
        raise ConfigError(message)
    for name, value, pattern in (("host", host, HOST), ("user", user or "root", NAME)):
        if not pattern.fullmatch(value):
            message = f"{value!r} is no {name} name in {text!r}; {wanted}"
            raise ConfigError(message)
    return SshAddress(host, user, port, python=parts.path.rstrip("/") or "python3")


def split_addresses(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[SshAddress, ...]]:
    """Part names of devices from addresses of real ones, each once.

    Raises:
        ConfigError: an address is none that can be used; says how to write it.
    """
    plain, addresses = [], []
    for name in map(str.strip, names):
        if name.startswith("adb:"):
            message = f"{name!r}: devices over adb come with `pipeline deploy`; give an ssh://user@host"
            raise ConfigError(message)
        if "://" in name:
            addresses.append(parse_address(name))
        else:
            plain.append(name)
    return tuple(dict.fromkeys(plain)), tuple(dict.fromkeys(addresses))


def _quoted(path: str) -> str:
    """Quote a path for a line of sftp's own language.

    Raises:
        DeviceError: it has a line break, which no quoting carries.
    """
    if "\n" in path or "\r" in path or "\0" in path:
        message = f"the path {path!r} has a line break; name the file without one"
        raise DeviceError(message)
    # Outside of quotes a backslash turns off whatever sftp takes for its own, wildcards too.
    return "".join(f"\\{char}" if char in "\\\"'*?[] \t#" else char for char in path)


def require_client() -> None:
    """Check that this machine has OpenSSH's programs.

    Raises:
        ToolchainError: one is missing; names the package.
    """
    for name in ("ssh", "sftp", "ssh-keygen"):
        if shutil.which(name) is None:
            message = f"{name} is missing; as root: apt-get install openssh-client"
            raise ToolchainError(message)
