"""How a release is installed on a device."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.errors import DeployError

DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user says of a device.

    Attributes:
        root: the folder on the device below which releases are; None takes the one that has the release
            already, else the first of the usual ones that is writable.
        python: the device's Python, a name or a path; None takes the one that the active version was proved
            with, else ``python3``.
        allow_downgrade: whether a release with a lower counter than the active one's may be installed.
        benchmark: path on the device of a ``benchmark_model``, which stands in for the health check where
            there is no Python: it shows that the model runs, not that it answers rightly.
        without_health_check: install where nothing can check the model.
        break_lock: take over from another installation that seems to be under way.
    """

    root: str | None = None
    python: str | None = None
    allow_downgrade: bool = False
    benchmark: str | None = None
    without_health_check: bool = False
    break_lock: bool = False

    def __post_init__(self) -> None:
        for what, path in (("root", self.root), ("benchmark", self.benchmark)):
            if path is not None and not is_plain_path(path):
                msg = f"{path!r} cannot be the {what} on a device: an absolute path, and no .. in it"
                raise DeployError(msg)
        python = self.python
        if python is not None and (python.startswith("-") or not python.isprintable() or not python):
            msg = f"{python!r} cannot be a device's Python: a name or an absolute path"
            raise DeployError(msg)


def is_plain_path(path: str) -> bool:
    """Whether a path on a device is absolute, printable and leads nowhere but down."""
    return path.startswith("/") and path.isprintable() and ".." not in path.split("/")


def require_name(name: str) -> str:
    """Return a release's name if it can be one, as a manifest would have it.

    Raises:
        DeployError: it cannot.
    """
    if not NAME.fullmatch(name):
        msg = (
            f"{name!r} is no release's name: letters, digits, dot, dash and underscore, no dash or dot first"
        )
        raise DeployError(msg)
    return name
