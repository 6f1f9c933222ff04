"""``pipeline cache``: the store of finished stages that builds share."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.groups import Group, examples
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.store import Entry, Store

DAY_S = 86_400.0
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(
    cls=Group,
    epilog=examples(
        "pipeline cache show",
        "pipeline cache prune --cache-size 5GB --unused-days 30",
        "pipeline cache verify --store /mnt/shared/store",
    ),
)
def cache() -> None:
    """Show, prune, clear and verify the store of finished stages, which all builds share."""


@cache.command(epilog=examples("pipeline cache show --json"))
@store_option
@as_json_option
def show(store: Path | None, as_json: bool) -> None:
    """Show where the store is, its size, and how many results of each stage it holds."""
    opened = _open(store)
    entries = opened.entries()
    stages = [_stage(name, entries) for name in sorted({_stage_of(entry) for entry in entries})]
    total = sum(entry.size_bytes for entry in entries)
    if as_json:
        click.echo(json.dumps({"store": str(opened.root), "size_bytes": total, "stages": stages}, indent=2))
        return
    from rich.table import Table

    from pipeline.terminal import Terminal

    table = Table(box=None, pad_edge=False)
    for column, justify in (("stage", "left"), ("results", "right"), ("MB", "right"), ("last used", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for each in stages:
        table.add_row(each["stage"], f"{each['results']}", _megabytes(each["size_bytes"]), each["last_used"])
    console = Terminal(highlight=False, markup=False)
    console.print(f"{opened.root}: {len(entries)} results, {_megabytes(total)} MB", soft_wrap=True)
    if stages:
        console.print(table)


@cache.command(epilog=examples("pipeline cache prune --cache-size 5GB"))
@store_option
@size_option
@click.option(
    "--unused-days",
    type=click.IntRange(min=0),
    help="Remove every result that was unused for so many days.",
)
@as_json_option
def prune(store: Path | None, cache_size: int, unused_days: int | None, as_json: bool) -> None:
    """Remove the least recently used results until the store is within --cache-size.

    Results that a running build uses stay.
    """
    since = None if unused_days is None else time.time() - unused_days * DAY_S
    opened = _open(store)
    _print_removed(opened, opened.prune(cache_size, since), as_json)


@cache.command(epilog=examples("pipeline cache clear"))
@store_option
@as_json_option
def clear(store: Path | None, as_json: bool) -> None:
    """Remove every result that no running build uses."""
    opened = _open(store)
    _print_removed(opened, opened.prune(), as_json)


@cache.command(epilog=examples("pipeline cache verify"))
@store_option
@as_json_option
def verify(store: Path | None, as_json: bool) -> None:
    """Hash every file in the store, and remove damaged results, which the next build makes again.

    A build compares only size, time stamp and inode. Exit code 6: a result was damaged.
    """
    from pipeline.errors import IntegrityError

    opened = _open(store)
    found = dict(opened.verify())
    damaged = [name for name, is_sound in found.items() if not is_sound]
    if as_json:
        click.echo(
            json.dumps({"store": str(opened.root), "results": len(found), "damaged": damaged}, indent=2)
        )
    else:
        click.echo(f"{opened.root}: {len(found)} results, {len(damaged)} damaged")
    if damaged:
        msg = f"damaged and removed: {', '.join(damaged)}; the next build makes them again"
        raise IntegrityError(msg)


def _open(store: Path | None) -> Store:
    from pipeline.store import Store

    return Store(store_at(store))


def _stage_of(entry: Entry) -> str:
    return entry.name.rpartition("-")[0]


def _stage(name: str, entries: list[Entry]) -> dict[str, Any]:
    of_stage = [entry for entry in entries if _stage_of(entry) == name]
    last = time.gmtime(max(entry.used for entry in of_stage))
    return {
        "stage": name,
        "results": len(of_stage),
        "size_bytes": sum(entry.size_bytes for entry in of_stage),
        "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", last),
    }


def _print_removed(store: Store, removed: list[Entry], as_json: bool) -> None:
    size = sum(entry.size_bytes for entry in removed)
    left = store.entries()
    if as_json:
        found = {
            "store": str(store.root),
            "removed": [entry.name for entry in removed],
            "removed_bytes": size,
            "size_bytes": sum(entry.size_bytes for entry in left),
        }
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{store.root}: removed {len(removed)} results, {_megabytes(size)} MB; {len(left)} are left")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f}"
