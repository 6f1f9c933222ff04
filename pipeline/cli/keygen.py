"""``pipeline keygen``: the keys that releases are signed and verified with."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath


@click.command(
    epilog=examples(
        "pipeline keygen",
        "pipeline keygen --out keys/release.key",
    )
)
@click.option(
    "--out",
    type=UserPath(),
    default=Path("release.key"),
    show_default=True,
    help="Private key file; the public key gets the suffix .pub.",
)
def keygen(out: Path) -> None:
    """Create an ECDSA P-256 key pair for signing and verifying releases.

    A password in EDGE_PIPELINE_SIGNING_PASSWORD encrypts the private key. Existing files are never replaced.
    """
    from rich.table import Table
    from rich.text import Text

    from deploy.keys import SIGNING_PASSWORD, generate_key, secret
    from pipeline.terminal import Terminal

    public = out.with_name(f"{out.name.removesuffix('.key')}.pub")
    password = secret(SIGNING_PASSWORD)
    fingerprint = generate_key(out, public, password)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    kept = "encrypted" if password else "not encrypted"
    table.add_row("private key", Text(f"{out}  ({kept}; keep it secret)"))
    table.add_row("public key", Text(f"{public}  (give it to everyone who deploys)"))
    table.add_row("fingerprint", Text(fingerprint))
    Terminal(highlight=False).print(table)
