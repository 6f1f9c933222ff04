"""``pipeline release``: an old release under a new version, counter, expiry or signature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@click.command(
    epilog=examples(
        "pipeline release build/release/ripeness-1.0-arm64 --out signed --key release.key",
        "pipeline release signed/ripeness-1.0-arm64 --out next --version 1.0.1 --expires 2027-06-30",
    )
)
@click.argument("release", type=UserPath())
@click.option("--out", type=UserPath(), required=True, help="Folder for the new release.")
@click.option(
    "--key",
    type=UserPath(),
    help="Private key to sign with; default: EDGE_PIPELINE_SIGNING_KEY, as path or text.",
)
@click.option("--version", help="New version; default: unchanged.")
@click.option(
    "--counter",
    type=click.IntRange(0, 2**63 - 1),
    help="Rollback index; devices reject a lower one; default: derived from the new version.",
)
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), help="Last day on which the release can be installed."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table.")
def release(
    release: Path,
    out: Path,
    key: Path | None,
    version: str | None,
    counter: int | None,
    expires: datetime | None,
    as_json: bool,
) -> None:
    """Repackage a release: the same model with another version, rollback index, expiry date or signature.

    RELEASE is not changed. The new release is named NAME-VERSION-TARGET. The password of the private key is
    EDGE_PIPELINE_SIGNING_PASSWORD.
    """
    from deploy.keys import fingerprint_of, read_private, signer
    from deploy.manifest import read_release
    from pipeline.cli.keys import suggest_expiry
    from pipeline.cli.verify import describe, show
    from pipeline.release.repackage import repack

    signing, password = signer(key)
    # Check the key before anything is copied.
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
