"""``pipeline validate``: validate any .tflite file."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import (
    ALLOW_CHANCE_HELP,
    FLAGS,
    LABELS_HELP,
    flag_of,
    full_option,
    set_option,
    split_labels,
)
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.build_config import BuildConfig
    from pipeline.validation.report import Report

DEFAULT_TARGET = "arm64"
BOARD = "board"
"""The only device without a row in targets.toml: a whole emulated machine."""
NAMED = {key: flag_of(name) for name, key in FLAGS.items()} | {"gates.enabled": "--gate"}
"""Flags by the key that each sets."""


@click.command(
    epilog=examples(
        "pipeline validate model.tflite --data data.npz --baseline float.tflite --out report",
        "pipeline validate build/release/ripeness-1.0-arm64 --data photos --full",
        "pipeline validate new.tflite --against old.tflite --device rpi4,rpi5 --gate regression",
    )
)
@click.argument("file", type=UserPath())
@click.option("--target", help="Target to validate for; default: that of the release, else arm64.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="Devices to measure on, comma-separated names or ssh://user@host; default: those of the target.",
)
@click.option(
    "--data",
    type=UserSource(),
    help="Data: a file, a folder or module:function; see: pipeline help data.",
)
@click.option(
    "--shifted",
    multiple=True,
    metavar="NAME=SOURCE",
    help="Shifted data, in the formats of --data; repeatable.",
)
@click.option(
    "--task", multiple=True, help="Task of each output; repeatable; default: inferred from model and data."
)
@click.option("--labels", multiple=True, metavar="A,B,C", callback=split_labels, help=LABELS_HELP)
@click.option("--allow-chance", is_flag=True, help=ALLOW_CHANCE_HELP)
@click.option("--baseline", type=UserPath(), help="Float model to compare with.")
@click.option("--against", type=UserPath(), help="Reference model or release; fail if FILE is worse.")
@click.option(
    "--scale",
    type=float,
    help="Scale of raw values; the model's input is raw x scale + offset; default: detected.",
)
@click.option("--offset", type=float, help="Offset of raw values, with --scale; default: 0.")
@click.option(
    "--config",
    type=UserPath(),
    help="Settings file; uses [data], [preprocessing], [validate] and [gates].",
)
@click.option("--gate", "gates", multiple=True, help="Gate to evaluate; repeatable; default: all.")
@set_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed; default: that of the settings.")
@click.option(
    "--out",
    type=UserPath(file_okay=False),
    help="Folder for report.json, report.txt, report.html and junit.xml.",
)
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@full_option
def validate(
    file: Path,
    target: str | None,
    devices: tuple[str, ...],
    config: Path | None,
    settings: tuple[str, ...],
    shifted: tuple[str, ...],
    baseline: Path | None,
    against: Path | None,
    out: Path | None,
    store: Path | None,
    cache_size: int,
    as_json: bool,
    full: bool,
    **flags: Any,
) -> None:
    """Validate FILE on the devices of a target and evaluate the gates; without data, skip accuracy.

    FILE is a .tflite file, or a release folder with its preprocessing, tasks and labels.
    """
    from deploy.transports.ssh import split_addresses
    from pipeline.release.released import is_folder, model_file, open_release
    from pipeline.settings import read_validation
    from pipeline.standalone_validation import validate_file
    from pipeline.store import Store
    from pipeline.targets import chosen_devices, get_target

    released = open_release(file) if is_folder(file) else None
    chosen = get_target(target or (released.manifest.target if released else DEFAULT_TARGET))
    names, addresses = split_addresses([name for given in devices for name in given.split(",")])
    used = chosen_devices(chosen, [name for name in names if name != BOARD])
    recorded = released.data_settings if released else None
    validation = read_validation(
        config, _given(**flags), settings, shifted=shifted, recorded=recorded, flags=NAMED
    )
    inputs = _inputs(validation, baseline, against, BOARD in names)
    _require_used((*names, *map(str, addresses)), validation, inputs)
    with Store(store_at(store), cache_size) as opened:
        report = validate_file(
            released.model if released else file,
            target=chosen,
            devices=used,
            config=validation,
            store=opened,
            baseline=model_file(baseline) if baseline else None,
            against=model_file(against) if against else None,
            board=BOARD in names,
            addresses=addresses,
        )
    _write(report, out)
    _show(report, as_json, full)
    _require_passed(file, report)


def _inputs(config: BuildConfig, baseline: Path | None, against: Path | None, has_board: bool) -> set[str]:
    """Return which inputs are given, as ``Gate.inputs`` names them."""
    inputs = {
        "--data": config.data.source,
        "--baseline": baseline,
        "--against": against,
        "--device board": has_board,
        "[gates] min_runtime": config.gates.min_runtime,
        "[gates] download_bytes": config.gates.download_bytes,
    }
    return {name for name, value in inputs.items() if value}


def _require_used(devices: tuple[str, ...], config: BuildConfig, inputs: set[str]) -> None:
    """Refuse a device that the user names and no gate that applies uses, except the host, which all use.

    Args:
        devices: names and addresses.
        config: its enabled gates.
        inputs: given ones, as in ``Gate.inputs``.

    Raises:
        ConfigError: no enabled gate has its inputs; or names the device and the gates that would use it.
    """
    from pipeline.errors import ConfigError
    from pipeline.targets import load_devices
    from pipeline.validation.gates import GATES, plan, with_inputs

    planned, rows = plan(with_inputs(config.gates.enabled, inputs)), load_devices()
    for name in devices:
        measurement = "board" if name == BOARD else "devices"
        if measurement in planned or (name in rows and rows[name].is_host):
            continue
        using = {gate: row for gate, row in GATES.items() if measurement in row.needs}
        missing = {gate: " and ".join(sorted({*row.inputs} - inputs)) for gate, row in using.items()}
        gates = [f"{gate} with {what}" if what else gate for gate, what in missing.items()]
        msg = f"--device {name}: no enabled gate uses it; enable {' or '.join(gates)}, or omit the device"
        raise ConfigError(msg)


def _require_passed(file: Path, report: Report) -> None:
    from pipeline.errors import GateFailed

    if not report.passed:
        msg = f"{file}: gates not passed: {', '.join(map(shlex.quote, report.failed_gates))}"
        raise GateFailed(msg)


def _given(gates: tuple[str, ...], scale: float | None, offset: float | None, **flags: Any) -> dict[str, Any]:
    """Return the flags that are settings, by dotted key.

    Raises:
        ConfigError: an offset without a scale.
    """
    from pipeline.errors import ConfigError

    if scale is None and offset is not None:
        msg = f"--offset {offset:g} needs --scale; the model's input is raw x scale + offset"
        raise ConfigError(msg)
    scaling = {} if scale is None else {"preprocessing.scale": scale, "preprocessing.offset": offset or 0.0}
    return {FLAGS[name]: value for name, value in flags.items()} | {"gates.enabled": gates} | scaling


def _write(report: Report, out: Path | None) -> None:
    """Write the report and its views, if ``--out`` names a folder."""
    if out is not None:
        from pipeline.report.views import write_views

        write_views(report, out)


def _show(report: Report, as_json: bool, full: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    from pipeline.report.text import report_parts
    from pipeline.terminal import print_parts

    print_parts(report_parts(report, full=full))
