"""``pipeline release``: an old release under a new version, counter, expiry or signature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@click.command()
@click.argument("release", type=UserPath())
@click.option("--out", type=UserPath(), required=True, help="The folder to put the new release into.")
@click.option(
    "--key",
    type=UserPath(),
    help="The private key to sign with; default: EDGE_PIPELINE_SIGNING_KEY, its path or text.",
)
@click.option("--version", help="The new version; default: the old one.")
@click.option(
    "--counter",
    type=click.IntRange(0, 2**63 - 1),
    help="Devices take no lower one than they have; default: of the new version's numbers.",
)
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it may be installed."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def release(
    release: Path,
    out: Path,
    key: Path | None,
    version: str | None,
    counter: int | None,
    expires: datetime | None,
    as_json: bool,
) -> None:
    """Repack a release: the same model under another version, counter or expiry, signed anew.

    RELEASE is left as it is. The new one is called NAME-VERSION-TARGET again. A password of the key is taken
    from EDGE_PIPELINE_SIGNING_PASSWORD.
    """
    from deploy.keys import fingerprint_of, read_private, signer
    from deploy.manifest import read_release
    from pipeline.cli.keys import suggest_expiry
    from pipeline.cli.verify import describe, show
    from pipeline.release.repackage import repack

    signing, password = signer(key)
    # A key that cannot be used is told before anything is copied.
    signed_by = fingerprint_of(read_private(signing, password).public_key()) if signing else None
    folder = repack(
        release,
        out,
        version=version,
        counter=counter,
        expires=expires.date() if expires else None,
        key=signing,
        password=password,
    )
    made = read_release(folder)
    found = describe(made) | {"signed_by": signed_by}
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show("released", found)
    if signing is not None:
        suggest_expiry(made.manifest.expires, "--expires ")
