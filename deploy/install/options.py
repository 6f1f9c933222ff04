"""How a release is installed on a device."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.errors import DeployError

DIGEST = re.compile(r"[0-9a-f]{8,64}")
PYTHON = re.compile(r"(?!-)[^\s/][^\s/]*|/[^\s]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the user for a device.

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
        for path in (self.root, self.benchmark):
            require_path(path)
        require_python(self.python)


def is_plain_path(path: str) -> bool:
    """Return whether a path on a device is absolute, printable and leads nowhere but down."""
    return path.startswith("/") and path.isprintable() and ".." not in path.split("/")


def require_path(path: str | None) -> None:
    """Raise DeployError if a path on a device is invalid."""
    if path is not None and not is_plain_path(path):
        msg = f"{path!r} is not a path on a device: write an absolute path without '..'"
        raise DeployError(msg)


def require_python(python: str | None) -> None:
    """Raise DeployError: a Python on a device is given that is no name and no path."""
    if python is not None and not (PYTHON.fullmatch(python) and python.isprintable()):
        msg = f"{python!r} is not a Python on a device: give a name such as python3, or an absolute path"
        raise DeployError(msg)


def require_name(name: str) -> str:
    """Return a release's name if it can be one, as a manifest would have it.

    Raises:
        DeployError: it cannot.
    """
    if not NAME.fullmatch(name):
        msg = f"{name!r} is not a release's name: letters, digits, '.', '-' and '_', a letter or digit first"
        raise DeployError(msg)
    return name


def require_digest(digest: str | None) -> None:
    """Raise DeployError if the beginning of a digest is invalid."""
    if digest is not None and not DIGEST.fullmatch(digest):
        msg = f"{digest!r} is not a digest of a version: 8 to 64 of its digits, from `pipeline deploy list`"
        raise DeployError(msg)
