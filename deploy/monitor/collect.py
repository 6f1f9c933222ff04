"""Fetch a release's statistics from a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.errors import TransportError
from deploy.monitor.statistics import MAX_BYTES

if TYPE_CHECKING:
    from deploy.transports.transport import Transport

SERVICE = "/var/lib/edge-models"
"""State folder of the runner under systemd."""
ROOTS = ("/opt", "/data/local/tmp/edge-models")
# Constant text: the name is an argument, which the shell does not read as a program.
DAYS = 'cd "$1" && for file in days/*.json; do cat "$file" && echo; done 2>/dev/null | head -c "$2"'
DAYS_IN_HOME = 'set -- "$HOME/.local/share/edge-models/$1/state" "$2"; ' + DAYS
IN_HOME = 'exec head -c "$2" "$HOME/.local/share/edge-models/$1/state/statistics.json"'


def collect(
    transport: Transport, name: str, *, root: str | None = None, timeout_s: float = 60.0
) -> tuple[bytes, ...]:
    """Read the statistics of the release ``name`` wherever its runner may have left some.

    Args:
        transport: to the device.
        name: of the release, without version and target.
        root: the folder that it was installed below, where it is none of the usual ones.
        timeout_s: of each attempt.

    Returns:
        Each file that was found, as the device has it: of this release, or of another version.

    Raises:
        TransportError: the device was not reached, or has no statistics.
    """
    most = str(MAX_BYTES + 1)  # a device is not trusted to end
    tries = [["head", "-c", most, f"{folder}/statistics.json"] for folder in _folders(name, root)]
    if root is None:
        tries.append(["sh", "-c", IN_HOME, "sh", name, most])
    result = [transport.run(argv, timeout_s=timeout_s) for argv in tries]
    found = tuple(one.out for one in result if one.status == 0)
    if not found:
        where = f"{SERVICE}, {root}" if root else f"{SERVICE}, /opt, {ROOTS[1]} or ~/.local/share/edge-models"
        msg = (
            f"{transport}: no statistics of {name} below {where}; deploy it there and let it answer "
            "something, or name the folder with --root"
        )
        raise TransportError(msg)
    return found


def collect_days(
    transport: Transport, name: str, *, root: str | None = None, timeout_s: float = 60.0
) -> tuple[bytes, ...]:
    """Read the counts of single days, wherever ``collect`` looks; the arguments are the same.

    Returns:
        One day each; none of a release that keeps no days.

    Raises:
        TransportError: the device was not reached.
    """
    most = str(MAX_BYTES + 1)
    tries = [["sh", "-c", DAYS, "sh", folder, most] for folder in _folders(name, root)]
    if root is None:
        tries.append(["sh", "-c", DAYS_IN_HOME, "sh", name, most])
    result = [transport.run(argv, timeout_s=timeout_s) for argv in tries]
    return tuple(line for one in result for line in one.out.splitlines() if one.status == 0 and line.strip())


def _folders(name: str, root: str | None) -> list[str]:
    """Return where runners keep their state, but for the user's home."""
    roots = ROOTS if root is None else (root,)
    return [f"{SERVICE}/{name}", *(f"{folder.rstrip('/')}/{name}/state" for folder in roots)]
