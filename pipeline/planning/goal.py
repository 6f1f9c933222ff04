"""Goals of a plan: limits of what a release costs, e.g. ``rpi4 instructions <= 1.5M, drop <= 1``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import ConfigError
from pipeline.sections import advice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.targets import Target

MULTIPLES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
GRAMMAR = '"DEVICE instructions <= 1.5M", "download <= 40k", "size <= 100k" and "drop <= 1", comma-separated'
_LIMIT = re.compile(
    r"(?:(?P<device>\S+)\s+)?(?P<what>[a-z]+)\s*<=\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<multiple>[kMGmg]?)"
)
_WHAT = ("instructions", "download", "size", "drop")


class Limit(NamedTuple):
    """One limit.

    Attributes:
        what: "instructions" of an inference, "download" or "size" in bytes, or "drop" in points.
        most: the limit.
        device: of instructions; "" of the others.
    """

    what: str
    most: float
    device: str = ""

    @property
    def name(self) -> str:
        return f"{self.device} {self.what}".strip()


class Goal(NamedTuple):
    """Limits that can be predicted, and the drop, which only a build can tell.

    Attributes:
        drop_points: most points of accuracy that int8 may lose against float; None if that is not said.
    """

    limits: tuple[Limit, ...] = ()
    drop_points: float | None = None

    def missed(self, figures: Mapping[str, int]) -> tuple[Limit, ...]:
        """Return the limits that figures, by the limits' names, are above."""
        return tuple(limit for limit in self.limits if figures[limit.name] > limit.most)


def read_goal(text: str, target: Target) -> Goal:
    """Read a goal for the devices of a target.

    Raises:
        ConfigError: a part is not a limit, or names no device of the target.
    """
    limits = [_read(part.strip(), target) for part in text.split(",")]
    names = [limit.name for limit in limits]
    if twice := next((name for name in names if names.count(name) > 1), None):
        msg = f"--goal: {twice!r} has two limits; give one"
        raise ConfigError(msg)
    drop = next((limit.most for limit in limits if limit.what == "drop"), None)
    return Goal(tuple(limit for limit in limits if limit.what != "drop"), drop)


def _read(part: str, target: Target) -> Limit:
    found = _LIMIT.fullmatch(part)
    if found is None:
        msg = f"--goal: {part!r} is not a limit; write {GRAMMAR}"
        raise ConfigError(msg)
    what, device = found["what"], found["device"] or ""
    if what not in _WHAT:
        msg = f"--goal: {part!r}: unknown figure {what!r}; {advice(what, _WHAT, 'figures')}"
        raise ConfigError(msg)
    devices = [each.name for each in target.devices]
    if (what == "instructions") != bool(device):
        form = f"{devices[0]} instructions" if what == "instructions" else what
        msg = f"--goal: {part!r}: write {form} <= {found['number']}{found['multiple']}"
        raise ConfigError(msg)
    if device and device not in devices:
        msg = f"--goal: {device!r} is no device of {target.name}; {advice(device, devices, 'devices')}"
        raise ConfigError(msg)
    most = float(found["number"]) * MULTIPLES[found["multiple"].lower()]
    if not most:
        msg = f"--goal: {part!r}: the limit has to be above 0"
        raise ConfigError(msg)
    return Limit(what, most, device)
