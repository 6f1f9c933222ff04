"""``pipeline verify``: is a release what its signer made, and all of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.manifest import Release


@click.command()
@click.argument("release", type=UserPath())
@click.option(
    "--public-key",
    type=UserPath(),
    multiple=True,
    help="The signer's public key, a PEM file; may be repeated; default: EDGE_PIPELINE_PUBLIC_KEY.",
)
@click.option(
    "--revoked-key",
    type=UserPath(),
    multiple=True,
    help="A file of fingerprints, or a public key, that count no more; also EDGE_PIPELINE_REVOKED_KEYS.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def verify(release: Path, public_key: tuple[Path, ...], revoked_key: tuple[Path, ...], as_json: bool) -> None:
    """Check a release's signature, and that nothing in it was changed, added, removed or renamed.

    RELEASE is the folder that `pipeline build` made. Exit code 6: do not use it.
    """
    from deploy.keys import PUBLIC_KEY
    from deploy.signing import verify_release
    from pipeline.errors import ConfigError

    keys = public_keys(public_key)
    if not keys:
        msg = f"verify against which key? give --public-key, or set {PUBLIC_KEY}"
        raise ConfigError(msg)
    verified = verify_release(release, keys, revoked_keys(revoked_key))
    found = describe(verified) | {"signed_by": verified.signed_by}
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show("verified", found)


def public_keys(given: tuple[Path, ...]) -> tuple[Path | str, ...]:
    """Return the public keys that were given, else that of the environment; empty where there is none."""
    from deploy.keys import PUBLIC_KEY

    known = os.environ.get(PUBLIC_KEY)
    return given or ((known,) if known else ())


def revoked_keys(given: tuple[Path, ...], configured: object = None) -> frozenset[str]:
    """Return the fingerprints of all revoked keys: by options, environment and settings."""
    from pathlib import Path

    from deploy.keys import REVOKED_KEYS, read_revoked

    named = (os.environ.get(REVOKED_KEYS), configured)
    paths = (*given, *(Path(path) for path in named if isinstance(path, str) and path))
    return frozenset().union(*map(read_revoked, paths))


def describe(release: Release) -> dict[str, Any]:
    """Return what ``--json`` prints of a release."""
    from deploy.contents import list_files

    folder, manifest = release.folder, release.manifest
    return {
        "release": str(folder),
        "name": manifest.name,
        "version": manifest.version,
        "target": manifest.target,
        "counter": manifest.counter,
        "created": manifest.created,
        "expires": manifest.expires and manifest.expires.isoformat(),
        "machine": manifest.machine,
        "android_abi": manifest.android_abi,
        "runtimes": [need.model_dump() for need in manifest.runtimes],
        "digest": release.digest,
        "files": len(list_files(folder)),
    }


def show(done: str, found: dict[str, Any]) -> None:
    """Print a release's table under what was done with it."""
    from rich.table import Table
    from rich.text import Text

    from pipeline.terminal import Terminal

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    signer = found["signed_by"]
    needs = " or ".join(f"{need['package']} >= {need['least']}" for need in found["runtimes"])
    rows = {
        done: found["release"],
        "name": f"{found['name']} {found['version']} for {found['target']}",
        "counter": f"{found['counter']}",
        "expires": found["expires"] or "never",
        "runs on": f"{found['machine']}, Android {found['android_abi']}, with {needs}",
        "files": f"{found['files']}",
        "digest": found["digest"],
        "signed by": signer or "nobody; sign it with --key, or EDGE_PIPELINE_SIGNING_KEY",
    }
    for name, value in rows.items():
        style = "bold green" if name == done and signer else "yellow" if value.startswith("nobody") else ""
        text = value if value.isprintable() else repr(value)
        table.add_row(
            Text(name, style if name == done else "bold"), Text(text, "" if name == done else style)
        )
    Terminal(highlight=False).print(table)
