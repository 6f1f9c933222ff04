"""Open transports by address, including the running emulated board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.transports.addresses import open_transport
from deploy.transports.ssh import SshTransport
from pipeline.errors import DeviceError

if TYPE_CHECKING:
    from deploy.transports.transport import Transport

BOARD = "board"


class BoardTransport(SshTransport):
    """A transport to the running emulated board: over ssh, with its key and its host key."""

    def __str__(self) -> str:
        return BOARD


def is_device(text: str) -> bool:
    """Return whether a text is meant as the address of a device, not as a path."""
    return text == BOARD or "://" in text


def open_device(text: str) -> Transport:
    """Open a transport to ``board``, which ``pipeline device up`` started, or to another address.

    Raises:
        AddressError: it is not an address of a device.
        DeviceError: it is the board's and none is up.
    """
    if text != BOARD:
        return open_transport(text)
    from pipeline.emulation.board.board import running

    board = running()
    if board is None:
        message = f"{BOARD}: no emulated board is up; start one with: pipeline device up"
        raise DeviceError(message)
    return BoardTransport(board.address)
