"""The interface of transports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class CommandResult:
    """A command that ended on the device, with its exit status and what it printed."""

    status: int
    out: bytes
    err: str


class Transport(Protocol):
    """A transport to one device; ``str()`` of it is the address that the user wrote.

    Only ``TransportError`` gets out of any method. Paths on the device are absolute POSIX paths.
    """

    def run(self, argv: Sequence[str], *, timeout_s: float = 120.0) -> CommandResult:
        """Run a command there; the words arrive as exactly these, whatever is in them.

        Raises:
            TransportError: the device was not reached, or it took too long. A command that ends with another
                status than 0 is no error here.
        """
        ...

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copy one file there, over one of that name.

        Raises:
            TransportError: as ``run``, or there is no room, folder or permission for it.
        """
        ...

    def pull(self, remote: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copy one file from there.

        Raises:
            TransportError: as ``run``, or there is no such file.
        """
        ...

    def close(self) -> None:
        """End what it holds open; it is not used again."""
        ...
