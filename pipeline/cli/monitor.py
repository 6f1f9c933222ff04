"""``pipeline monitor``: what devices saw, against what the release was tested on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.groups import examples
from pipeline.cli.keys import trusted_keys, verifying
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.monitoring import Monitored


@click.command(
    epilog=examples(
        "pipeline monitor build/release/ripeness-1.0-arm64 --from ssh://pi@garden",
        "pipeline monitor build/release/ripeness-1.0-arm64 --from ssh://pi@garden --days 7 --save july.json",
    )
)
@click.argument("release", type=UserPath(file_okay=False))
@click.option(
    "--from",
    "sources",
    multiple=True,
    required=True,
    help="Device: ssh://user@host, adb://SERIAL or board; or a file of statistics; repeatable.",
)
@click.option(
    "--since",
    type=UserPath(),
    help="Evaluate only what was observed after these statistics from --save.",
)
@click.option(
    "--days",
    type=click.IntRange(min=0),
    help="Evaluate the last DAYS days; 0: since the installation; default: the latest with enough samples.",
)
@click.option(
    "--before",
    type=UserPath(),
    help="Same as --since, and compare latencies with these statistics.",
)
@click.option(
    "--save", type=UserPath(), help="Write what was seen, for build --set calibration.field_statistics=FILE."
)
@click.option("--root", help="Folder of the releases on the devices.")
@verifying
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of tables.")
def monitor(
    release: Path,
    sources: tuple[str, ...],
    public_key: tuple[Path, ...],
    revoked_key: tuple[Path, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Detect drift: compare statistics from devices with the test set of RELEASE, and recommend an action.

    With a public key, RELEASE is verified first.

    Exit with code 0 if there is no drift or not enough data, and with code 1 on drift.
    """
    from pipeline.errors import ConfigError, DeviceError, GateFailed
    from pipeline.monitoring import monitor as run
    from pipeline.terminal import harmless

    if given["days"] is not None and (given["since"] or given["before"]):
        msg = "--days cannot be combined with --since or --before; give one of them"
        raise ConfigError(msg)
    public_keys, revoked = trusted_keys(public_key, revoked_key, required=False)
    found = run(release, sources, public_keys=public_keys, revoked=revoked, **given)
    for note in found.notes:
        click.echo(harmless(f"note: {note}"), err=True)
    for _, problem in found.problems:
        click.echo(harmless(" ".join(problem.split())), err=True)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        _show(found)
    if found.drifted:
        alone = [one for device in found.devices for one in device.advice]
        actions = dict.fromkeys(
            one.action for one in (found.advice if found.drift.verdict == "drifted" else alone)
        )
        msg = f"{found.name}: drifted: {'; '.join(found.drifted)}; to do: {', '.join(actions)}"
        raise GateFailed(msg)
    if found.problems:
        silent = ", ".join(address for address, _ in found.problems)
        msg = f"{found.name}: nothing drifted on the others, but nothing is known of {silent}"
        raise DeviceError(msg)


def _show(found: Monitored) -> None:
    from pipeline.report.monitor import device_table, drift_lines, drift_table
    from pipeline.terminal import print_parts

    parts: list[Any] = [f"{found.name}  {found.digest[:16]}  {found.period}"]
    if found.drift.items:
        parts.append(drift_table(found.drift, found.baseline, found.seen))
    parts.append(device_table(found.devices))
    parts.append(drift_lines(found.drift, found.advice))
    if found.drift.verdict != "drifted":
        parts += [
            drift_lines(device.drift, device.advice, f"{device.address}: ")
            for device in found.devices
            if device.drift and device.advice
        ]
    print_parts(parts)
