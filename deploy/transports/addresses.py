"""Open transports by address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.errors import AddressError
from deploy.transports.adb import AdbTransport, parse_serial
from deploy.transports.local import ADDRESS, LocalTransport
from deploy.transports.ssh import SshTransport, parse_address

if TYPE_CHECKING:
    from deploy.transports.transport import Transport


def open_transport(text: str) -> Transport:
    """Return the transport to ``ssh://[user@]host[:port]``, ``adb://[SERIAL]`` or ``local://``.

    No connection is made before the first use.

    Raises:
        AddressError: it is none of these, or a part of it could be taken for an option.
    """
    if text == ADDRESS:
        return LocalTransport()
    if text.startswith("adb://"):
        return AdbTransport(parse_serial(text))
    if text.startswith("ssh://"):
        return SshTransport(parse_address(text))
    message = f"{text!r} is not an address of a device; write ssh://user@host, adb://SERIAL or local://"
    raise AddressError(message)
