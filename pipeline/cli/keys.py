"""Options of commands that verify or sign releases."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.cli.paths import UserPath
from pipeline.settings_file import DEFAULT_FILE, find_settings_file

Command = TypeVar("Command", bound=Callable[..., Any])

SUGGESTED_DAYS = 365


def verifying(command: Command) -> Command:
    """Add ``--public-key`` and ``--revoked-key``, whose values ``trusted_keys`` takes."""
    public = click.option(
        "--public-key",
        type=UserPath(),
        multiple=True,
        help="Public key to verify with; repeatable; default: EDGE_PIPELINE_PUBLIC_KEY, else the one in "
        "./pipeline.toml.",
    )
    revoked = click.option(
        "--revoked-key",
        type=UserPath(),
        multiple=True,
        help="Revoked keys: a file of fingerprints, or a public key; repeatable. Added to those of "
        "EDGE_PIPELINE_REVOKED_KEYS and ./pipeline.toml.",
    )
    return public(revoked(command))


def trusted_keys(
    public_key: tuple[Path, ...], revoked_key: tuple[Path, ...], *, required: bool = True
) -> tuple[tuple[Path | str, ...], frozenset[str]]:
    """Return the public keys to verify with, and the fingerprints of the revoked ones.

    Public keys are those of the options, else of the environment, else of ``pipeline.toml``; revoked keys are
    those of all three together.

    Raises:
        ConfigError: there is no public key although one is ``required``, or ``pipeline.toml`` cannot be read.
        DeployError: a file of revoked keys cannot be read.
    """
    from deploy.keys import PUBLIC_KEY, REVOKED_KEYS, read_revoked
    from pipeline.errors import ConfigError

    section = _configured()
    known = os.environ.get(PUBLIC_KEY)
    keys = public_key or ((known,) if known else _configured_keys(section))
    if required and not keys:
        msg = (
            f"no public key; pass --public-key FILE, set {PUBLIC_KEY}, or write [release] public_key into "
            f"{DEFAULT_FILE}; keys are made by: pipeline keygen"
        )
        raise ConfigError(msg)
    named = (os.environ.get(REVOKED_KEYS), section.get("revoked_keys"))
    files = (*revoked_key, *(Path(path) for path in named if isinstance(path, str) and path))
    return keys, frozenset().union(*map(read_revoked, files))


def suggest_expiry(expires: date | None, option: str) -> None:
    """Print a hint on stderr where a release was signed without an expiry date; ``option`` sets one."""
    if expires is None:
        day = datetime.now(UTC).date() + timedelta(SUGGESTED_DAYS)
        click.echo(
            "hint: the release was signed without an expiry date and can be installed for ever; "
            f"set the last day with {option}{day}",
            err=True,
        )


def _configured() -> dict[str, Any]:
    """Return ``[release]`` of the settings in this folder; empty if there is none."""
    path = find_settings_file()
    if path is None:
        return {}
    from pipeline.settings import read_toml

    section = read_toml(path).get("release")
    return section if isinstance(section, dict) else {}


def _configured_keys(section: dict[str, Any]) -> tuple[Path, ...]:
    """Return the public keys of ``pipeline.toml``, one or a list; empty if there is none.

    Raises:
        ConfigError: it is not a path or list of paths.
    """
    from pipeline.errors import ConfigError

    given = section.get("public_key")
    if given is None:
        return ()
    listed = given if isinstance(given, list) else [given]
    paths = [path for path in listed if isinstance(path, str)]
    if paths != listed:
        msg = f"{DEFAULT_FILE}: release.public_key: got {given!r}; write the path of a public key, or a list"
        raise ConfigError(msg)
    return tuple(map(Path, paths))
