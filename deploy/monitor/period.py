"""Choose the time that is judged: counts grow from the installation, and dilute what changed today."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.device.totals import merge, subtract
from deploy.errors import DeployError
from deploy.monitor.statistics import Statistics, read_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Days = Mapping[str, Statistics]
    """Counts of one device, per day by date."""


def merged(found: Sequence[Statistics], where: str) -> Statistics:
    """Return all of them together; what they have besides counts is left out."""
    return _read(merge(*map(_plain, found)), where)


def after(seen: Statistics, earlier: Statistics, where: str) -> Statistics | None:
    """Return what a device counted after ``earlier``.

    Returns:
        None if ``seen`` does not continue ``earlier``: another release, or restarted statistics.
    """
    same = earlier.model_copy(update={name: getattr(seen, name) for name in ("name", "version", "target")})
    if same.digest != seen.digest:
        return None
    try:
        return _read(subtract(_plain(seen), _plain(same)), where)
    except (ValueError, DeployError):
        return None


def latest(devices: Sequence[Days], enough: Callable[[Statistics], bool]) -> tuple[str, ...]:
    """Return the fewest latest days in which all devices together counted enough; all days if none are.

    Args:
        devices: the days of each.
        enough: whether these counts can be judged.
    """
    dates = sorted({date for days in devices for date in days}, reverse=True)
    for count in range(1, len(dates) + 1):
        chosen = dates[:count]
        if enough(merged([days[date] for days in devices for date in chosen if date in days], "the days")):
            return tuple(sorted(chosen))
    return tuple(sorted(dates))


def _plain(statistics: Statistics) -> dict[str, object]:
    return statistics.model_dump(mode="json", exclude={"null", "day"})


def _read(plain: dict[str, object], where: str) -> Statistics:
    return read_statistics(json.dumps(plain).encode(), where)
