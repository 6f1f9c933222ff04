"""Fetch a release's statistics from a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.errors import TransportError
from deploy.monitor.statistics import MOST_BYTES

if TYPE_CHECKING:
    from deploy.transports.transport import Transport

ROOTS = ("/opt", "/data/local/tmp/edge-models")
FILE = "state/statistics.json"
# Constant text: the name is an argument, which the shell does not read as a program.
IN_HOME = 'exec head -c "$2" "$HOME/.local/share/edge-models/$1/state/statistics.json"'


def collect(transport: Transport, name: str, *, root: str | None = None, timeout_s: float = 60.0) -> bytes:
    """Read the statistics of the release ``name`` wherever it is installed there.

    Args:
        transport: the way to the device.
        name: of the release, without version and target.
        root: the folder that it was installed below, where it is none of the usual ones.
        timeout_s: of each attempt.

    Raises:
        TransportError: the device was not reached, or has no statistics.
    """
    roots = ROOTS if root is None else (root,)
    most = str(MOST_BYTES + 1)  # a device is not trusted to end
    tries = [["head", "-c", most, f"{folder.rstrip('/')}/{name}/{FILE}"] for folder in roots]
    if root is None:
        tries.insert(1, ["sh", "-c", IN_HOME, "sh", name, most])
    for words in tries:
        ran = transport.run(words, timeout_s=timeout_s)
        if ran.status == 0:
            return ran.out
    where = root or f"{ROOTS[0]}, ~/.local/share/edge-models or {ROOTS[1]}"
    msg = (
        f"{transport}: no statistics of {name} below {where}; deploy it there and let it answer something, "
        "or name the folder with --root"
    )
    raise TransportError(msg)
