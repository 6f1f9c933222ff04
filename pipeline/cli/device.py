"""``pipeline device``: the devices that models are validated on."""

from __future__ import annotations

import click


@click.group()
def device() -> None:
    """List the devices that models are validated on, and provision their emulator."""


@device.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_devices(*, as_json: bool) -> None:
    """List the devices, their targets, and how they run here."""
    from pipeline.runtimes.emulator import is_provisioned
    from pipeline.targets import load_devices, load_targets

    provisioned = is_provisioned()
    rows = [
        {
            "name": found.name,
            "title": found.title,
            "core": found.cpu,
            "arch": found.arch,
            "dot_product": found.has_dot_product,
            "targets": [target.name for target in load_targets().values() if found in target.devices],
            "runs": "emulated by qemu-user",
            "provisioned": provisioned,
        }
        for found in load_devices().values()
    ]
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
        if not provisioned:
            click.echo("To provision: pipeline device provision")


@device.command("provision")
def provision_devices() -> None:
    """Provision the emulator in the user's cache: about 90 MB to download, no root needed."""
    from pipeline.runtimes.emulator import provision

    click.echo(provision().folder)


def _print_table(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "device", "core", "targets", "runs here", "provisioned"):
        table.add_column(heading)
    for row in rows:
        targets = row["targets"]
        assert isinstance(targets, list)
        table.add_row(
            str(row["name"]),
            str(row["title"]),
            f"{row['core']} ({row['arch']})",
            ", ".join(targets) or "-",
            str(row["runs"]),
            "yes" if row["provisioned"] else "no",
        )
    Console().print(table)
