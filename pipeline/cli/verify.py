"""``pipeline verify``: is a release what its signer made, and all of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.groups import examples
from pipeline.cli.keys import trusted_keys, verifying
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.manifest import Release


@click.command(
    epilog=examples(
        "pipeline verify build/release/ripeness-1.0-arm64 --public-key release.pub",
    )
)
@click.argument("release", type=UserPath())
@verifying
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table.")
def verify(release: Path, public_key: tuple[Path, ...], revoked_key: tuple[Path, ...], as_json: bool) -> None:
    """Verify the signature of a release, and that no file is missing, changed, added or renamed.

    RELEASE is a folder that `pipeline build` wrote. Exit code 6 means: do not use it.
    """
    from deploy.signing import verify_release

    verified = verify_release(release, *trusted_keys(public_key, revoked_key))
    found = describe(verified) | {"signed_by": verified.signed_by}
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show("verified", found)


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
        "signed by": signer or "no one; sign it with --key or EDGE_PIPELINE_SIGNING_KEY",
    }
    for name, value in rows.items():
        style = {done: "bold green" if signer else "", "signed by": "" if signer else "yellow"}.get(name, "")
        text = value if value.isprintable() else repr(value)
        table.add_row(
            Text(name, style if name == done else "bold"), Text(text, "" if name == done else style)
        )
    Terminal(highlight=False).print(table)
