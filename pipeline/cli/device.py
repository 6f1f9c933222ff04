"""``pipeline device``: the devices that models are validated on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli.groups import Group, examples
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.runtimes.runtime import Runtime

BOARD = "board"


@click.group(cls=Group, epilog=examples("pipeline device list", "pipeline device provision rpi5 board"))
def device() -> None:
    """List devices, provision emulators, and run the emulated board."""


@device.command("list", epilog=examples("pipeline device list", "pipeline device list --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_devices(*, as_json: bool) -> None:
    """List devices, their targets, and how they run on this machine."""
    from pipeline.emulation.board.provisioning import is_board_provisioned
    from pipeline.runtimes.runtime import runtime_of
    from pipeline.targets import load_devices, load_targets

    rows = [
        {
            "name": found.name,
            "title": found.title,
            "core": found.cpu,
            "arch": found.arch,
            "dot_product": found.has_dot_product,
            "targets": [target.name for target in load_targets().values() if found in target.devices],
            "memory_mib": found.memory_mib,
            "runtime": found.runtime,
            "runs": runtime_of(found).runs,
            "provisioned": _is_ready(runtime_of(found)),
        }
        for found in load_devices().values()
    ]
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
        missing = [str(row["name"]) for row in rows if not row["provisioned"]]
        if missing:
            click.echo(f"To provision: pipeline device provision {' '.join(missing)}")
        if not is_board_provisioned():
            click.echo("The emulated board, a whole machine: pipeline device provision board")


def _is_ready(runtime: Runtime) -> bool:
    from pipeline.errors import ToolchainError

    try:
        runtime.require()
    except ToolchainError:
        return False
    return True


@device.command(
    "provision", epilog=examples("pipeline device provision", "pipeline device provision armv7 board")
)
@click.argument("names", nargs=-1, metavar="[DEVICE|board]...")
def provision_devices(names: tuple[str, ...]) -> None:
    """Download emulated DEVICES into the user cache, without root; default: the 64-bit ones (90 MB).

    Emulated devices run single programs. `board` is a complete machine with its own kernel (150 MB, and 40 MB
    for an ssh used by the tests). 32-bit devices need another 24 MB.
    """
    from pipeline.emulation.board.provisioning import provision_image
    from pipeline.emulation.emulator import ARM64, provision
    from pipeline.emulation.provisioning import provision_openssh
    from pipeline.targets import get_device

    devices = [get_device(name) for name in names if name != BOARD]
    archs = [found.arch for found in devices if not found.is_host] if names else [ARM64]
    for arch in dict.fromkeys(archs):
        click.echo(provision(arch).folder)
    if BOARD in names:
        click.echo(provision_image().folder)
        click.echo(provision_openssh())


@device.command(
    "up",
    epilog=examples("pipeline device up", "pipeline device up --core rpi5 --memory 1024 --disk board.img"),
)
@click.option("--core", default="rpi4", show_default=True, help="Device whose core to emulate.")
@click.option(
    "--memory",
    type=click.IntRange(min=64),
    default=512,
    show_default=True,
    help="Memory in MiB, including the kernel.",
)
@click.option("--cores", type=click.IntRange(1, 8), default=2, show_default=True, help="Number of cores.")
@click.option("--adb", is_flag=True, help="Also start adbd.")
@click.option(
    "--disk",
    type=UserPath(dir_okay=False),
    metavar="FILE",
    help="Persistent disk for /opt and /data/local/tmp; created if missing.",
)
def start_board(core: str, memory: int, cores: int, adb: bool, disk: Path | None) -> None:
    """Start the emulated board in the background: a complete arm64 Linux machine with sshd."""
    import shlex

    from pipeline.emulation.board.board import up
    from pipeline.emulation.board.machine import board_device
    from pipeline.emulation.board.provisioning import find_image

    board = up(board_device(core), memory_mib=memory, cores=cores, adb=adb, disk=disk)
    click.echo(f"The board is up: {core}'s core, {cores} cores, {memory} MiB, {board.address}")
    click.echo("Log in with:   pipeline device shell")
    click.echo(f"or:            {shlex.join(board.address.shell)}")
    if board.adb_port is not None:
        click.echo(f"Over adb:      adb://127.0.0.1:{board.adb_port}, by {find_image().adb} or your own adb")
    click.echo("End it with:   pipeline device down")


@device.command("down", epilog=examples("pipeline device down"))
def end_board() -> None:
    """Stop the emulated board; everything written on it is lost, except with --disk."""
    from pipeline.emulation.board.board import down

    click.echo("The board is down." if down() else "No board was up.")


@device.command(
    "shell",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("pipeline device shell", "pipeline device shell df -h"),
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def open_shell(command: tuple[str, ...]) -> int:
    """Log in to the emulated board, or run COMMAND with its options on it and exit with its status."""
    import subprocess

    from pipeline.emulation.board.board import running
    from pipeline.errors import DeviceError

    board = running()
    if board is None:
        message = "no board is up; start one with: pipeline device up"
        raise DeviceError(message)
    argv = board.address.command(command) if command else board.address.shell
    return subprocess.run(argv, check=False).returncode


def _print_table(rows: list[dict[str, object]]) -> None:
    from rich.table import Table

    from pipeline.terminal import Terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "device", "core", "MiB", "runtime", "targets", "runs here", "ready"):
        table.add_column(heading)
    for row in rows:
        targets = row["targets"]
        assert isinstance(targets, list)
        table.add_row(
            str(row["name"]),
            str(row["title"]),
            f"{row['core']} ({row['arch']})",
            str(row["memory_mib"]),
            str(row["runtime"]),
            ", ".join(targets) or "-",
            str(row["runs"]),
            "yes" if row["provisioned"] else "no",
        )
    Terminal().print(table)
